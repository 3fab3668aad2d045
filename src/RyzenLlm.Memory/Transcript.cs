using System.Text.Json;
using System.Text.Json.Nodes;
using RyzenLlm.Memory.Evaluation;

namespace RyzenLlm.Memory;

/// <summary>Reads files to be stored: dialogue lines, chat messages, or plain text.</summary>
public static class Transcript
{
    /// <summary>
    /// The requests that store a file; those of dialogue turns with the name of their conversation, others with null. <c>.jsonl</c> holds dialogue turns
    /// (<c>conv</c>, <c>dia_id</c>, <c>text</c>) or messages (<c>role</c>, <c>content</c>), <c>.json</c> an array of messages or an
    /// object with <c>messages</c>; anything else is text.
    /// </summary>
    /// <exception cref="InvalidDataException">The file is in none of these forms; the message names the line.</exception>
    public static IEnumerable<(string? Conversation, StoreRequest Request)> Read(string path)
    {
        string name = Path.GetFileNameWithoutExtension(path);
        return Path.GetExtension(path).ToLowerInvariant() switch
        {
            ".jsonl" when File.ReadLines(path).FirstOrDefault(l => l.Trim().Length > 0)?.Contains("\"dia_id\"", StringComparison.Ordinal) == true =>
                Dialogues(DialogueTurn.Read(path)).Select(d => ((string?)d.Conversation, d.Request)),
            ".jsonl" => [(null, Messages(name, path, JsonLines.Read<JsonObject>(path)))],
            ".json" => [(null, Messages(name, path, Array(path)))],
            _ => [(null, new StoreRequest { Session = name, Items = [new Utterance { Text = File.ReadAllText(path), Source = Path.GetFileName(path), Ordinal = 0 }] })],
        };
    }

    /// <summary>One request for each session of each conversation; the source of a unit is <c>conversation/turn</c>.</summary>
    public static IEnumerable<(string Conversation, StoreRequest Request)> Dialogues(IEnumerable<DialogueTurn> turns)
    {
        // Room between turns, for those that are cut into several units.
        const long turnStep = 1000;
        long ordinal = 0;
        foreach (var session in turns.GroupBy(t => (t.Conversation, t.Session)))
        {
            Utterance[] items = [.. session.Select(t => new Utterance
            {
                Text = t.Text, Speaker = t.Speaker, At = t.At, Attachment = t.Caption, Source = $"{t.Conversation}/{t.Id}", Ordinal = turnStep * ordinal++,
            })];
            yield return (session.Key.Conversation, new StoreRequest { Items = items, Session = $"{session.Key.Conversation}/{session.Key.Session}" });
        }
    }

    private static IEnumerable<JsonObject> Array(string path)
    {
        try
        {
            JsonNode? root = JsonNode.Parse(File.ReadAllText(path));
            return (root as JsonArray ?? (root as JsonObject)?["messages"] as JsonArray)?.OfType<JsonObject>()
                ?? throw new InvalidDataException($"{path} holds neither an array of messages nor an object with \"messages\".");
        }
        catch (Exception e) when (e is JsonException || IsUnreadable(e))
        {
            throw new InvalidDataException($"{path}: {e.Message}", e);
        }
    }

    private static StoreRequest Messages(string session, string path, IEnumerable<JsonObject> messages)
    {
        var items = new List<Utterance>();
        foreach (JsonObject message in messages)
        {
            (string? text, string speaker) = Read(message);
            if (text is null)
            {
                throw new InvalidDataException($"{path}, message {items.Count + 1}: there is no \"content\" with text.");
            }

            if (text.Length > 0)
            {
                items.Add(new Utterance { Text = text, Speaker = speaker, Source = $"{Path.GetFileName(path)}#{items.Count + 1}", Ordinal = 1000L * items.Count });
            }
        }

        return new StoreRequest { Session = session, Items = items };

        (string? Text, string Speaker) Read(JsonObject message)
        {
            try
            {
                return (TextOf(message["content"]), Text(message["role"]) ?? "");
            }
            catch (Exception e) when (IsUnreadable(e))
            {
                throw new InvalidDataException($"{path}, message {items.Count + 1}: {e.Message}", e);
            }
        }
    }

    // What JsonNode throws, on access, for text that is not valid Unicode and for a name that occurs twice.
    private static bool IsUnreadable(Exception e) => e is InvalidOperationException or ArgumentException;

    private static string? Text(JsonNode? node) => node is JsonValue value && value.GetValueKind() == JsonValueKind.String ? (string?)value : null;

    /// <summary>A string, an MCP content object, or a list of content parts of which the texts count.</summary>
    private static string? TextOf(JsonNode? content) => content switch
    {
        JsonValue value => Text(value),
        JsonObject part => Text(part["text"]) ?? "",
        JsonArray parts => string.Join('\n', parts.Select(TextOf).Where(t => !string.IsNullOrEmpty(t))),
        _ => null,
    };
}
