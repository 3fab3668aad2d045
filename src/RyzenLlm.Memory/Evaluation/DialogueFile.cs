using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace RyzenLlm.Memory.Evaluation;

/// <summary>One turn of a dialogue file: one JSON object in a line.</summary>
public sealed record DialogueTurn
{
    private static readonly string[] DateForms = ["h:mm tt 'on' d MMMM, yyyy", "yyyy-MM-dd'T'HH:mm:ssK", "yyyy-MM-dd HH:mm", "yyyy-MM-dd"];

    /// <summary>The conversation; its own tenant when measured.</summary>
    [JsonPropertyName("conv")]
    public required string Conversation { get; init; }

    /// <summary>Session number inside the conversation.</summary>
    [JsonPropertyName("session")]
    public int Session { get; init; }

    /// <summary>When the session took place.</summary>
    [JsonPropertyName("date")]
    public string Date { get; init; } = "";

    /// <summary>Name of the turn inside the conversation.</summary>
    [JsonPropertyName("dia_id")]
    public required string Id { get; init; }

    /// <summary>Who speaks.</summary>
    [JsonPropertyName("speaker")]
    public string Speaker { get; init; } = "";

    /// <summary>The words.</summary>
    [JsonPropertyName("text")]
    public string Text { get; init; } = "";

    /// <summary>What a shared picture shows.</summary>
    [JsonPropertyName("caption")]
    public string Caption { get; init; } = "";

    /// <summary><see cref="Date"/> as a time in UTC, or null when it is in no known form.</summary>
    public DateTimeOffset? At => DateTimeOffset.TryParseExact(
        Date, DateForms, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out DateTimeOffset at) ? at : null;

    /// <summary>Reads the turns of a file.</summary>
    /// <exception cref="InvalidDataException">A line is not such an object; the message names the line.</exception>
    public static IReadOnlyList<DialogueTurn> Read(string path) => JsonLines.Read<DialogueTurn>(path);
}

/// <summary>One question of a question file, with the turns that hold its answer.</summary>
public sealed record Question
{
    /// <summary>Name of the question.</summary>
    [JsonPropertyName("qid")]
    public required string Id { get; init; }

    /// <summary>The conversation that it is about.</summary>
    [JsonPropertyName("conv")]
    public required string Conversation { get; init; }

    /// <summary>The question.</summary>
    [JsonPropertyName("question")]
    public required string Text { get; init; }

    /// <summary>Kind of question: 1 multi-hop, 2 temporal, 3 open-domain, 4 single-hop, 5 adversarial.</summary>
    [JsonPropertyName("category")]
    public int Category { get; init; }

    /// <summary>The expected answer: a text or a number.</summary>
    [JsonPropertyName("answer")]
    public JsonElement Answer { get; init; }

    /// <summary>Turns that hold the answer; questions without any are not scored.</summary>
    [JsonPropertyName("evidence")]
    public IReadOnlyList<string> Evidence { get; init; } = [];

    /// <summary>Reads the questions of a file.</summary>
    /// <exception cref="InvalidDataException">A line is not such an object; the message names the line.</exception>
    public static IReadOnlyList<Question> Read(string path) => JsonLines.Read<Question>(path);
}

/// <summary>The ranking of one question.</summary>
/// <param name="Id">Name of the question.</param>
/// <param name="Retrieved">Turns as <c>conversation/turn</c>, best first.</param>
public sealed record RunLine([property: JsonPropertyName("qid")] string Id, [property: JsonPropertyName("retrieved")] IReadOnlyList<string> Retrieved);

/// <summary>Files with one JSON value in each line.</summary>
public static class JsonLines
{
    private static readonly JsonSerializerOptions Options = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Reads every line that is not blank.</summary>
    /// <exception cref="InvalidDataException">A line does not fit; the message names it.</exception>
    public static IReadOnlyList<T> Read<T>(string path)
    {
        var values = new List<T>();
        int number = 0;
        foreach (string line in File.ReadLines(path))
        {
            number++;
            if (string.IsNullOrWhiteSpace(line))
            {
                continue;
            }

            try
            {
                values.Add(JsonSerializer.Deserialize<T>(line, Options) ?? throw new JsonException("null is not a value here."));
            }
            catch (JsonException e)
            {
                throw new InvalidDataException($"{path}, line {number}: {e.Message}", e);
            }
        }

        return values;
    }

    /// <summary>Writes one line for each value.</summary>
    public static void Write<T>(string path, IEnumerable<T> values) =>
        File.WriteAllLines(path, values.Select(v => JsonSerializer.Serialize(v, Options)));
}
