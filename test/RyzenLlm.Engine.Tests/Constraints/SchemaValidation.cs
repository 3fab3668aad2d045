using System.Globalization;
using System.Net;
using System.Net.Mail;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace RyzenLlm.Engine.Tests.Constraints;

/// <summary>
/// Validation by JSON Schema 2020-12, straight from the text of the specification: written for the tests, shares nothing with the generator.
/// Keywords that it does not know fail the test.
/// </summary>
internal sealed class SchemaValidation(JsonElement root)
{
    private static readonly HashSet<string> Ignored = ["$schema", "$defs", "title", "description", "default"];

    /// <summary>Whether a text parses and satisfies a schema.</summary>
    public static bool IsValid(string schema, string text)
    {
        using var document = JsonDocument.Parse(schema);
        using var instance = JsonDocument.Parse(text);
        return new SchemaValidation(document.RootElement).Holds(document.RootElement, instance.RootElement);
    }

    private bool Holds(JsonElement schema, JsonElement value) => schema.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => schema.EnumerateObject().All(keyword => Ignored.Contains(keyword.Name) || Holds(keyword.Name, keyword.Value, schema, value)),
    };

    private bool Holds(string keyword, JsonElement argument, JsonElement schema, JsonElement value) => keyword switch
    {
        "$ref" => Holds(argument.GetString()!.Split('/').Skip(1).Aggregate(root, (place, step) => place.GetProperty(step)), value),
        "type" => argument.ValueKind == JsonValueKind.String ? IsOf(argument.GetString()!, value) : argument.EnumerateArray().Any(t => IsOf(t.GetString()!, value)),
        "const" => JsonElement.DeepEquals(argument, value),
        "enum" => argument.EnumerateArray().Any(e => JsonElement.DeepEquals(e, value)),
        "anyOf" => argument.EnumerateArray().Any(s => Holds(s, value)),
        "oneOf" => argument.EnumerateArray().Count(s => Holds(s, value)) == 1,
        "minimum" => value.ValueKind != JsonValueKind.Number || Number(value) >= Number(argument),
        "maximum" => value.ValueKind != JsonValueKind.Number || Number(value) <= Number(argument),
        "exclusiveMinimum" => value.ValueKind != JsonValueKind.Number || Number(value) > Number(argument),
        "exclusiveMaximum" => value.ValueKind != JsonValueKind.Number || Number(value) < Number(argument),
        "minLength" => value.ValueKind != JsonValueKind.String || value.GetString()!.EnumerateRunes().Count() >= argument.GetInt32(),
        "maxLength" => value.ValueKind != JsonValueKind.String || value.GetString()!.EnumerateRunes().Count() <= argument.GetInt32(),
        "pattern" => value.ValueKind != JsonValueKind.String || Regex.IsMatch(value.GetString()!, argument.GetString()!),
        "format" => value.ValueKind != JsonValueKind.String || IsFormat(argument.GetString()!, value.GetString()!),
        "minItems" => value.ValueKind != JsonValueKind.Array || value.GetArrayLength() >= argument.GetInt32(),
        "maxItems" => value.ValueKind != JsonValueKind.Array || value.GetArrayLength() <= argument.GetInt32(),
        "prefixItems" => value.ValueKind != JsonValueKind.Array || argument.EnumerateArray().Zip(value.EnumerateArray(), Holds).All(holds => holds),
        "items" => value.ValueKind != JsonValueKind.Array || value.EnumerateArray().Skip(Length(schema, "prefixItems")).All(item => Holds(argument, item)),
        "required" => value.ValueKind != JsonValueKind.Object || argument.EnumerateArray().All(name => value.TryGetProperty(name.GetString()!, out _)),
        "properties" => value.ValueKind != JsonValueKind.Object || argument.EnumerateObject().All(p => !value.TryGetProperty(p.Name, out var member) || Holds(p.Value, member)),
        "additionalProperties" => value.ValueKind != JsonValueKind.Object || value.EnumerateObject().All(member => Declares(schema, member.Name) || Holds(argument, member.Value)),
        _ => throw new AssertionException($"The validation of the tests does not know the keyword {keyword}."),
    };

    private static decimal Number(JsonElement value) =>
        value.TryGetDecimal(out var number) ? number : value.GetDouble() is var far && Math.Abs(far) < 1 ? 0 : far < 0 ? decimal.MinValue : decimal.MaxValue;

    private static bool Declares(JsonElement schema, string name) => schema.TryGetProperty("properties", out var properties) && properties.TryGetProperty(name, out _);

    private static int Length(JsonElement schema, string keyword) => schema.TryGetProperty(keyword, out var list) ? list.GetArrayLength() : 0;

    private static bool IsOf(string type, JsonElement value) => type switch
    {
        "object" => value.ValueKind == JsonValueKind.Object,
        "array" => value.ValueKind == JsonValueKind.Array,
        "string" => value.ValueKind == JsonValueKind.String,
        "boolean" => value.ValueKind is JsonValueKind.True or JsonValueKind.False,
        "null" => value.ValueKind == JsonValueKind.Null,
        "number" => value.ValueKind == JsonValueKind.Number,
        "integer" => value.ValueKind == JsonValueKind.Number && value.GetDouble() is var number && number == Math.Floor(number),
        _ => throw new AssertionException($"There is no type {type}."),
    };

    private static bool IsFormat(string format, string text) => format switch
    {
        "date" => DateOnly.TryParseExact(text, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out _),
        "time" => DateTimeOffset.TryParse("2000-01-01T" + text, CultureInfo.InvariantCulture, DateTimeStyles.None, out _),
        "date-time" => DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.None, out _),
        "uuid" => Guid.TryParseExact(text, "D", out _),
        "ipv4" => IPAddress.TryParse(text, out var address) && address.ToString() == text,
        "email" => MailAddress.TryCreate(text, out var mail) && mail.Address == text,
        _ => throw new AssertionException($"The validation of the tests does not know the format {format}."),
    };
}
