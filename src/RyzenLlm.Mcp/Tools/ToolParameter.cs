using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace RyzenLlm.Mcp.Tools;

/// <summary>
/// One argument of a tool: what it is, how it appears in the schema, and how it is read. Schema and check come from the same
/// declaration, so what is advertised is what is enforced.
/// </summary>
internal abstract class ToolParameter(string name, string description, bool required)
{
    /// <summary>Name in snake_case.</summary>
    public string Name { get; } = name;

    /// <summary>For the model that calls.</summary>
    public string Description { get; } = description;

    /// <summary>Whether a call without it is wrong.</summary>
    public bool Required { get; } = required;

    /// <summary>What a value must be, to follow "must be".</summary>
    public abstract string Expected { get; }

    /// <summary>JSON Schema with a single type, as all hosts understand it.</summary>
    public abstract JsonObject Schema();

    /// <summary>The value as its own type, or null if it is not what is expected.</summary>
    public abstract object? Read(JsonElement value);
}

/// <summary>An argument of a known type.</summary>
internal abstract class ToolParameter<T>(string name, string description, bool required, T defaultValue) : ToolParameter(name, description, required)
    where T : notnull
{
    /// <summary>Value where the call gives none.</summary>
    public T Default { get; } = defaultValue;
}

/// <summary>A text, possibly one of a few.</summary>
internal sealed class TextParameter(string name, string description, string? defaultValue = null, string[]? choices = null, int maxLength = 1_000_000)
    : ToolParameter<string>(name, description, defaultValue is null, defaultValue ?? "")
{
    public override string Expected => choices is not null ? $"one of: {string.Join(", ", choices)}"
        : Required ? $"a text of 1 to {maxLength} characters" : $"a text of at most {maxLength} characters";

    public override JsonObject Schema()
    {
        var schema = new JsonObject { ["type"] = "string", ["description"] = Description };
        if (choices is not null)
        {
            schema["enum"] = new JsonArray([.. choices.Select(c => JsonValue.Create(c))]);
        }

        if (!Required)
        {
            schema["default"] = Default;
        }
        else
        {
            schema["minLength"] = 1;
        }

        return schema;
    }

    public override object? Read(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.String || value.GetString() is not { } text || text.Length > maxLength || (Required && text.Length == 0))
        {
            return null;
        }

        return choices is null ? text : choices.FirstOrDefault(c => c.Equals(text, StringComparison.OrdinalIgnoreCase));
    }
}

/// <summary>A list of texts, empty by default.</summary>
internal sealed class TextListParameter(string name, string description, int maxItems)
    : ToolParameter<string[]>(name, description, required: false, [])
{
    public override string Expected => $"a list of at most {maxItems} texts, none of them empty";

    public override JsonObject Schema() => new()
    {
        ["type"] = "array",
        ["description"] = Description,
        ["items"] = new JsonObject { ["type"] = "string", ["minLength"] = 1 },
        ["maxItems"] = maxItems,
        ["default"] = new JsonArray(),
    };

    public override object? Read(JsonElement value)
    {
        string?[]? texts = value.ValueKind switch
        {
            JsonValueKind.String => [value.GetString()], // one text instead of a list of one: its meaning is clear
            JsonValueKind.Array => [.. value.EnumerateArray().Select(item => item.ValueKind == JsonValueKind.String ? item.GetString() : null)],
            _ => null,
        };
        return texts is not null && texts.Length <= maxItems && !texts.Any(string.IsNullOrEmpty) ? texts : null;
    }
}

/// <summary>A number in a range; whole if T is long.</summary>
internal sealed class NumberParameter<T>(string name, string description, T low, T high, T defaultValue)
    : ToolParameter<T>(name, description, required: false, defaultValue)
    where T : struct, IComparable<T>, IParsable<T>, IFormattable
{
    private static readonly bool Whole = typeof(T) == typeof(long);

    public override string Expected => $"a {(Whole ? "whole " : "")}number from {Text(low)} to {Text(high)}";

    public override JsonObject Schema() => new()
    {
        ["type"] = Whole ? "integer" : "number",
        ["description"] = Description,
        ["minimum"] = Json(low),
        ["maximum"] = Json(high),
        ["default"] = Json(Default),
    };

    public override object? Read(JsonElement value)
    {
        // Models often quote numbers, and write whole ones as 40.0.
        var text = value.ValueKind switch
        {
            JsonValueKind.Number => value.GetRawText(),
            JsonValueKind.String => value.GetString(),
            _ => null,
        };
        if (Whole && decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) && number == decimal.Truncate(number))
        {
            text = decimal.Truncate(number).ToString("0", CultureInfo.InvariantCulture);
        }

        return T.TryParse(text, CultureInfo.InvariantCulture, out var parsed) && parsed.CompareTo(low) >= 0 && parsed.CompareTo(high) <= 0 ? parsed : null;
    }

    private static string Text(T value) => value.ToString(null, CultureInfo.InvariantCulture);

    // Without its type the value would be written by way of reflection.
    private static JsonValue Json(T value) => value is long whole ? JsonValue.Create(whole) : JsonValue.Create((double)(object)value);
}
