using System.Text.Json;
using System.Text.Json.Nodes;

namespace RyzenLlm.Mcp.Tools;

/// <summary>Arguments of one call, read by the declarations of its tool.</summary>
internal sealed class ToolArguments
{
    private readonly Dictionary<ToolParameter, object> _values = [];

    private ToolArguments()
    {
    }

    /// <summary>Reads all arguments. camelCase and dashes are understood, null counts as absent.</summary>
    /// <exception cref="ArgumentException">Arguments are missing, unknown or wrong; one message names all of them and what is expected.</exception>
    public static ToolArguments Read(IReadOnlyList<ToolParameter> parameters, IEnumerable<KeyValuePair<string, JsonElement>>? given)
    {
        var arguments = new ToolArguments();
        var problems = new List<string>();
        foreach (var (name, value) in given ?? [])
        {
            if (parameters.FirstOrDefault(p => Plain(p.Name) == Plain(name)) is not { } parameter)
            {
                problems.Add($"There is no argument '{name}'; arguments are: {string.Join(", ", parameters.Select(p => p.Name))}.");
            }
            else if (value.ValueKind is not (JsonValueKind.Null or JsonValueKind.Undefined))
            {
                arguments.Take(parameter, value, problems);
            }
        }

        var wrong = problems.Count > 0;
        foreach (var missing in parameters.Where(p => p.Required && !arguments._values.ContainsKey(p)))
        {
            if (!wrong || !problems.Any(p => p.StartsWith(missing.Name + " is ", StringComparison.Ordinal)))
            {
                problems.Add($"{missing.Name} is missing: it must be {missing.Expected}.");
            }
        }

        return problems.Count == 0 ? arguments : throw new ArgumentException(string.Join(" ", problems));
    }

    /// <summary>Whether the call gives a value.</summary>
    public bool Has(ToolParameter parameter) => _values.ContainsKey(parameter);

    /// <summary>The value given, or the default.</summary>
    public T Get<T>(ToolParameter<T> parameter)
        where T : notnull => _values.TryGetValue(parameter, out var value) ? (T)value : parameter.Default;

    /// <summary>The text given, or null where there is none or an empty one.</summary>
    public string? GetOptional(TextParameter parameter) => _values.TryGetValue(parameter, out var value) && value is string { Length: > 0 } text ? text : null;

    /// <summary>The time given, or null.</summary>
    public DateTimeOffset? GetOptional(TimeParameter parameter) => Get(parameter) is var time && time != default ? time : null;

    /// <summary>Names of the arguments given beside these.</summary>
    public string[] Others(params ReadOnlySpan<ToolParameter> expected)
    {
        var left = new HashSet<ToolParameter>(_values.Keys);
        foreach (var parameter in expected)
        {
            left.Remove(parameter);
        }

        return [.. left.Select(p => p.Name)];
    }

    /// <summary>Input schema of a tool.</summary>
    public static JsonElement Schema(IReadOnlyList<ToolParameter> parameters)
    {
        var properties = new JsonObject();
        foreach (var parameter in parameters)
        {
            properties[parameter.Name] = parameter.Schema();
        }

        return Element(new JsonObject
        {
            ["type"] = "object",
            ["properties"] = properties,
            ["required"] = new JsonArray([.. parameters.Where(p => p.Required).Select(p => JsonValue.Create(p.Name))]),
        });
    }

    /// <summary>A JSON tree as an element.</summary>
    public static JsonElement Element(JsonNode node)
    {
        using var document = JsonDocument.Parse(node.ToJsonString());
        return document.RootElement.Clone();
    }

    /// <summary>A name without case, dashes and underscores.</summary>
    public static string Plain(string name) => name.Replace("_", "", StringComparison.Ordinal).Replace("-", "", StringComparison.Ordinal).ToLowerInvariant();

    private void Take(ToolParameter parameter, JsonElement value, List<string> problems)
    {
        try
        {
            if (parameter.Read(value) is not { } read)
            {
                problems.Add($"{parameter.Name} is {Shown(value)} but must be {parameter.Expected}.");
            }
            else if (!_values.TryAdd(parameter, read))
            {
                problems.Add($"{parameter.Name} is given twice.");
            }
        }
        catch (InvalidOperationException)
        {
            // What JsonElement throws on reading a string with half a surrogate pair, or bytes that are not UTF-8.
            problems.Add($"{parameter.Name} holds text that is not valid Unicode; it must be {parameter.Expected}.");
        }
    }

    private static string Shown(JsonElement value)
    {
        var text = value.GetRawText();
        return text.Length <= 60 ? text : string.Concat(text.AsSpan(0, 60), "...");
    }
}
