using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace RyzenLlm.Mcp.Tools;

/// <summary>Yes or no.</summary>
internal sealed class FlagParameter(string name, string description, bool defaultValue = false)
    : ToolParameter<bool>(name, description, required: false, defaultValue)
{
    public override string Expected => "true or false";

    public override JsonObject Schema() => new() { ["type"] = "boolean", ["description"] = Description, ["default"] = Default };

    public override object? Read(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        JsonValueKind.String when bool.TryParse(value.GetString(), out var flag) => flag, // models quote them
        _ => null,
    };
}

/// <summary>A point in time; the earliest one stands for none. A date alone is its first or its last moment, in UTC.</summary>
internal sealed class TimeParameter(string name, string description, bool endOfDay)
    : ToolParameter<DateTimeOffset>(name, $"{description}: 2026-03-31 or 2026-03-31T18:00:00Z.", required: false, default)
{
    private static readonly string[] Forms =
        ["yyyy-MM-dd'T'HH:mm:ss.FFFFFFFK", "yyyy-MM-dd'T'HH:mmK", "yyyy-MM-dd HH:mm:ssK", "yyyy-MM-dd HH:mmK"];

    public override string Expected => "a date such as 2026-03-31 or a time such as 2026-03-31T18:00:00Z";

    public override JsonObject Schema() => new() { ["type"] = "string", ["description"] = Description, ["default"] = "" };

    public override object? Read(JsonElement value) => value.ValueKind == JsonValueKind.String ? Read(value.GetString()!) : null;

    private object? Read(string text)
    {
        const DateTimeStyles utc = DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal | DateTimeStyles.AllowWhiteSpaces;
        if (text.Length == 0)
        {
            return Default;
        }

        if (DateTimeOffset.TryParseExact(text, "yyyy-MM-dd", CultureInfo.InvariantCulture, utc, out var day))
        {
            return endOfDay ? day.AddTicks(TimeSpan.TicksPerDay - 1) : day;
        }

        return DateTimeOffset.TryParseExact(text, Forms, CultureInfo.InvariantCulture, utc, out var time) ? time : null;
    }
}

/// <summary>One turn of a conversation, as a call gives it.</summary>
internal sealed record Turn(string Role, string Text);

/// <summary>Turns of a conversation, none by default.</summary>
internal sealed class TurnListParameter(string name, string description, int maxItems, int maxLength)
    : ToolParameter<Turn[]>(name, description, required: false, [])
{
    public override string Expected =>
        $"a list of at most {maxItems} turns, each {{\"role\": who, \"text\": what was said}} with 1 to {maxLength} characters of text";

    public override JsonObject Schema() => new()
    {
        ["type"] = "array",
        ["description"] = Description,
        ["items"] = new JsonObject
        {
            ["type"] = "object",
            ["properties"] = new JsonObject
            {
                ["role"] = new JsonObject { ["type"] = "string", ["description"] = "Who says it: user, assistant, or a name.", ["default"] = "" },
                ["text"] = new JsonObject { ["type"] = "string", ["description"] = "What was said.", ["minLength"] = 1 },
            },
            ["required"] = new JsonArray("text"),
        },
        ["maxItems"] = maxItems,
        ["default"] = new JsonArray(),
    };

    public override object? Read(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() > maxItems)
        {
            return null;
        }

        var turns = value.EnumerateArray().Select(ReadTurn).ToArray();
        return turns.Contains(null) ? null : turns;
    }

    // Transcripts of other programs say speaker and content, or give the bare text.
    private Turn? ReadTurn(JsonElement item)
    {
        var (role, text) = item.ValueKind switch
        {
            JsonValueKind.String => ("", item.GetString()),
            JsonValueKind.Object => (TextOf(item, "role") ?? TextOf(item, "speaker") ?? "", TextOf(item, "text") ?? TextOf(item, "content")),
            _ => ("", null),
        };
        return string.IsNullOrWhiteSpace(text) || text.Length > maxLength ? null : new(role, text);
    }

    private static string? TextOf(JsonElement item, string name) =>
        item.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}

/// <summary>Whether a generation remembers: off, true for everything, or the name of a scope. A boolean is understood too.</summary>
internal sealed class RememberParameter(string name, string description) : ToolParameter<string>(name, description, required: false, Off)
{
    /// <summary>Without memory.</summary>
    public const string Off = "off";

    /// <summary>With all of it.</summary>
    public const string All = "true";

    public override string Expected => "off, true, or the name of a scope";

    public override JsonObject Schema() => new() { ["type"] = "string", ["description"] = Description, ["default"] = Default };

    public override object? Read(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.True => All,
        JsonValueKind.False => Off,
        JsonValueKind.String => value.GetString()!.Trim() switch
        {
            "" => Off,
            var text when text.Equals("false", StringComparison.OrdinalIgnoreCase) || text.Equals(Off, StringComparison.OrdinalIgnoreCase) => Off,
            var text when text.Equals(All, StringComparison.OrdinalIgnoreCase) => All,
            var scope => scope,
        },
        _ => null,
    };
}
