using System.Collections;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Reflection;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Configuration.EnvironmentVariables;
using Microsoft.Extensions.Configuration.Json;

namespace RyzenLlm.Mcp.Settings;

/// <summary>Reads <see cref="AppSettings"/> strictly: what it does not know is an error, not a silent nothing.</summary>
public static class SettingsReader
{
    /// <summary>Prefix of environment variables; the rest is the key with __ for the colon.</summary>
    public const string EnvironmentPrefix = "RYZENLLM__";

    /// <summary>Reads all sources.</summary>
    /// <param name="commandLine">Keys and values from the command line, which win.</param>
    /// <param name="folder">Folder of appsettings.json; the program's own if null.</param>
    /// <exception cref="SettingsException">A key is unknown or a value not allowed.</exception>
    public static AppSettings Read(IEnumerable<KeyValuePair<string, string?>>? commandLine = null, string? folder = null)
    {
        var file = Path.Combine(folder ?? AppContext.BaseDirectory, "appsettings.json");
        try
        {
            var configuration = new ConfigurationBuilder()
                .AddJsonFile(file, optional: true, reloadOnChange: false)
                .AddEnvironmentVariables(EnvironmentPrefix)
                .AddInMemoryCollection(commandLine ?? [])
                .Build();
            return (AppSettings)ReadRecord(typeof(AppSettings), configuration, configuration);
        }
        catch (InvalidDataException e)
        {
            throw new SettingsException($"{file} is not valid: {e.InnerException?.Message ?? e.Message}");
        }
    }

    /// <summary>All keys with their default values, as in appsettings.json; lists appear once, without index.</summary>
    public static IEnumerable<(string Key, object? Default)> Keys() => Values(new AppSettings());

    /// <summary>All keys with the values that these settings give them.</summary>
    public static IEnumerable<(string Key, object? Value)> Values(AppSettings settings) => Keys(settings, "");

    /// <summary>What the value of a key must be, to follow "must be".</summary>
    /// <param name="key">A key of <see cref="Keys()"/>.</param>
    public static string Allowed(string key)
    {
        var type = typeof(AppSettings);
        PropertyInfo? property = null;
        foreach (var name in key.Split(':'))
        {
            property = type.GetProperty(name) ?? throw new ArgumentException($"There is no setting {key}.", nameof(key));
            type = property.PropertyType;
        }

        return property is null ? throw new ArgumentException($"There is no setting {key}.", nameof(key))
            : property.GetCustomAttribute<AllowedValuesAttribute>() is { } allowed ? $"one of: {string.Join(", ", allowed.Values)}"
            : property.GetCustomAttribute<MemorySizeAttribute>() is not null ? MemorySize.Expected
            : property.GetCustomAttribute<RegularExpressionAttribute>() is { } pattern ? pattern.ErrorMessage!
            : type == typeof(string) ? "a text"
            : type == typeof(string[]) ? "a list of texts"
            : Describe(property);
    }

    private static IEnumerable<(string Key, object? Default)> Keys(object record, string prefix)
    {
        foreach (var property in Properties(record.GetType()))
        {
            var value = property.GetValue(record);
            if (IsRecord(property.PropertyType))
            {
                foreach (var inner in Keys(value!, prefix + property.Name + ":"))
                {
                    yield return inner;
                }
            }
            else
            {
                yield return (prefix + property.Name, value);
            }
        }
    }

    private static object ReadRecord(Type type, IConfiguration section, IConfigurationRoot root)
    {
        var record = Activator.CreateInstance(type)!;
        foreach (var child in section.GetChildren())
        {
            var property = Properties(type).FirstOrDefault(p => p.Name.Equals(child.Key, StringComparison.OrdinalIgnoreCase))
                ?? throw new SettingsException(
                    $"Unknown setting {child.Path} ({Source(child, root)}). "
                    + $"{(type == typeof(AppSettings) ? "Sections" : "Settings here")} are: {string.Join(", ", Properties(type).Select(p => p.Name))}.");
            property.SetValue(record, ReadValue(property, property.GetValue(record), child, root));
        }

        return record;
    }

    private static object ReadValue(PropertyInfo property, object? usual, IConfigurationSection section, IConfigurationRoot root)
    {
        var type = property.PropertyType;
        if (IsRecord(type))
        {
            return string.IsNullOrEmpty(section.Value) ? ReadRecord(type, section, root) : throw Invalid(section, root, "a section with settings, not a value");
        }

        if (type == typeof(string[]))
        {
            return string.IsNullOrEmpty(section.Value)
                ? section.GetChildren().Select(item => item.Value ?? throw Invalid(item, root, "a text")).ToArray()
                : throw Invalid(section, root, $"a list: {section.Path}:0, {section.Path}:1 and so on");
        }

        if (section.Value is null || section.GetChildren().Any())
        {
            throw Invalid(section, root, "a single value");
        }

        object? value = type switch
        {
            _ when type == typeof(string) => section.Value,
            _ when type == typeof(int) => int.TryParse(section.Value, NumberStyles.Integer, CultureInfo.InvariantCulture, out var i) ? i : null,
            _ when type == typeof(long) => long.TryParse(section.Value, NumberStyles.Integer, CultureInfo.InvariantCulture, out var l) ? l : null,
            _ when type == typeof(float) => float.TryParse(section.Value, NumberStyles.Float, CultureInfo.InvariantCulture, out var f) ? f : null,
            _ when type == typeof(bool) => bool.TryParse(section.Value, out var b) ? b : null,
            { IsEnum: true } => Enum.GetNames(type).FirstOrDefault(n => n.Equals(section.Value, StringComparison.OrdinalIgnoreCase)) is { } name ? Enum.Parse(type, name) : null,
            _ when type == typeof(double) => double.TryParse(section.Value, NumberStyles.Float, CultureInfo.InvariantCulture, out var d) ? d : null,
            _ => throw new NotSupportedException($"{property} has a type that settings cannot have."),
        };

        // Most of the file that ships says what holds anyway. Attributes, and the regular expressions in them, take longer than all else here.
        if (value is not null && value.Equals(usual))
        {
            return value;
        }

        switch (property.GetCustomAttribute<ValidationAttribute>())
        {
            case AllowedValuesAttribute allowed:
                return allowed.Values.FirstOrDefault(v => ((string)v!).Equals(section.Value, StringComparison.OrdinalIgnoreCase))
                    ?? throw Invalid(section, root, $"one of: {string.Join(", ", allowed.Values)}");
            case MemorySizeAttribute size:
                return size.IsValid(value) ? value! : throw Invalid(section, root, MemorySize.Expected);
            case RegularExpressionAttribute pattern:
                return pattern.IsValid(value) ? value! : throw Invalid(section, root, pattern.ErrorMessage!);
            case var other:
                return value is not null && (other is not RangeAttribute range || range.IsValid(Widen(value))) ? value : throw Invalid(section, root, Describe(property));
        }
    }

    // The range of a float is given in doubles, and 0.95f widened is not 0.95: go through its shortest text.
    private static object Widen(object value) => value switch
    {
        float f => double.Parse(f.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture),
        long l => (double)l,
        _ => value,
    };

    private static string Describe(PropertyInfo property)
    {
        if (property.PropertyType == typeof(bool))
        {
            return "true or false";
        }

        if (property.PropertyType.IsEnum)
        {
            return $"one of: {string.Join(", ", Enum.GetNames(property.PropertyType))}";
        }

        var number = property.PropertyType == typeof(int) || property.PropertyType == typeof(long) ? "a whole number" : "a number";
        if (property.GetCustomAttribute<RangeAttribute>() is not { } range)
        {
            return number;
        }

        var low = range.MinimumIsExclusive ? $"above {Text(range.Minimum)}" : $"from {Text(range.Minimum)}";
        var high = range.MaximumIsExclusive ? $"below {Text(range.Maximum)}" : $"at most {Text(range.Maximum)}";
        return range.Maximum is int.MaxValue ? $"{number} {low}" : $"{number} {low}, {high}";

        static string Text(object bound) => Convert.ToString(bound, CultureInfo.InvariantCulture)!;
    }

    private static SettingsException Invalid(IConfigurationSection section, IConfigurationRoot root, string expected) =>
        new($"Setting {section.Path} ({Source(section, root)}) is '{section.Value}' but must be {expected}.");

    private static string Source(IConfigurationSection section, IConfigurationRoot root)
    {
        var provider = root.Providers.Reverse().FirstOrDefault(p => p.TryGet(section.Path, out _) || p.GetChildKeys([], section.Path).Any());
        return provider switch
        {
            JsonConfigurationProvider => "in appsettings.json",
            EnvironmentVariablesConfigurationProvider => $"environment variable {EnvironmentPrefix}{section.Path.Replace(":", "__").ToUpperInvariant()}",
            _ => "on the command line",
        };
    }

    private static PropertyInfo[] Properties(Type type) => type.GetProperties(BindingFlags.Public | BindingFlags.Instance);

    private static bool IsRecord(Type type) => type != typeof(string) && !type.IsPrimitive && !type.IsEnum && !typeof(IEnumerable).IsAssignableFrom(type);
}
