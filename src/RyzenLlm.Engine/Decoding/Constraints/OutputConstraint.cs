using System.Text.Json;

namespace RyzenLlm.Engine.Decoding.Constraints;

/// <summary>What a generated text must be, independent of any vocabulary. Made, and if need be refused, before anything is generated.</summary>
public sealed class OutputConstraint
{
    private OutputConstraint(string key, string description, Pattern pattern) => (Key, Description, Pattern) = (key, description, pattern);

    /// <summary>What it is, for messages.</summary>
    public string Description { get; }

    /// <summary>Equal for equal constraints.</summary>
    internal string Key { get; }

    internal Pattern Pattern { get; }

    /// <summary>A JSON text that satisfies a schema (draft 2020-12, a subset; see docs/speculation.md).</summary>
    /// <exception cref="ArgumentException">The schema is malformed or has a keyword that is not supported; the message names it and its place.</exception>
    public static OutputConstraint JsonSchema(JsonElement schema)
    {
        try
        {
            return new("schema " + schema.GetRawText(), "the JSON schema", JsonSchemaPattern.Of(schema));
        }
        catch (InvalidOperationException e)
        {
            // What JsonElement throws on reading a string with half a surrogate pair, or bytes that are not UTF-8.
            throw new ArgumentException($"The JSON schema holds text that is not valid Unicode: {e.Message}", e);
        }
    }

    /// <summary>As <see cref="JsonSchema(JsonElement)"/>, from text.</summary>
    /// <exception cref="ArgumentException">As there, or the text is no JSON.</exception>
    public static OutputConstraint JsonSchema(string schema)
    {
        try
        {
            using var document = JsonDocument.Parse(schema);
            return JsonSchema(document.RootElement);
        }
        catch (JsonException e)
        {
            throw new ArgumentException($"The JSON schema is no JSON: {e.Message}", e);
        }
    }

    /// <summary>A text that a regular expression matches as a whole.</summary>
    /// <exception cref="ArgumentException">The expression is malformed or has what is not supported; the message names it and its place.</exception>
    public static OutputConstraint Regex(string expression) =>
        new("regex " + expression, "the regular expression", RegexPattern.WholeText(expression));

    /// <summary>One of these texts.</summary>
    /// <exception cref="ArgumentException">There is none, or one is empty.</exception>
    public static OutputConstraint Choices(IReadOnlyCollection<string> choices) =>
        choices.Count == 0 || choices.Any(string.IsNullOrEmpty)
            ? throw new ArgumentException("Choices must be a list of at least one text, none of them empty.")
            : new("choices " + JsonSerializer.Serialize(choices), "the list of choices", Pattern.Either([.. choices.Select(Pattern.Literal)]));
}
