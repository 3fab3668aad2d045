using System.ComponentModel.DataAnnotations;
using System.Globalization;

namespace RyzenLlm.Mcp.Settings;

/// <summary>Sizes as settings write them: a number of bytes, KB, MB, GB, TB, KiB, MiB, GiB or TiB, or a percentage.</summary>
public static class MemorySize
{
    /// <summary>What a text that is no size should have been.</summary>
    public const string Expected = "a size such as 500MB or 2GB, or a share such as 80%";

    private static readonly Dictionary<string, double> Units = new(StringComparer.OrdinalIgnoreCase)
    {
        [""] = 1,
        ["B"] = 1,
        ["KB"] = 1e3,
        ["MB"] = 1e6,
        ["GB"] = 1e9,
        ["TB"] = 1e12,
        ["KiB"] = 1L << 10,
        ["MiB"] = 1L << 20,
        ["GiB"] = 1L << 30,
        ["TiB"] = 1L << 40,
    };

    /// <summary>The bytes that a text means.</summary>
    /// <param name="text">The text.</param>
    /// <param name="whole">What a percentage is of.</param>
    /// <exception cref="FormatException">It is no size.</exception>
    public static long Parse(string text, long whole) => TryParse(text, whole) ?? throw new FormatException($"'{text}' must be {Expected}.");

    /// <summary>The bytes that a text means, or null if it is no size.</summary>
    public static long? TryParse(string text, long whole)
    {
        var digits = text.AsSpan().TrimEnd().LastIndexOfAnyInRange('0', '9') + 1;
        if (!double.TryParse(text.AsSpan(0, digits), NumberStyles.AllowDecimalPoint | NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture, out var number))
        {
            return null;
        }

        var unit = text[digits..].Trim();
        return unit == "%"
            ? number <= 100 ? (long)(whole / 100.0 * number) : null
            : Units.TryGetValue(unit, out var factor) && number * factor < long.MaxValue ? (long)(number * factor) : null;
    }
}

/// <summary>A setting that is a <see cref="MemorySize"/>.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class MemorySizeAttribute : ValidationAttribute
{
    /// <inheritdoc/>
    public override bool IsValid(object? value) => value is string text && MemorySize.TryParse(text, 1) is not null;
}
