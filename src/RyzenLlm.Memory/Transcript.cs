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
        JsonNode? root;
        try
        {
            root = JsonNode.Parse(File.ReadAllText(path));
        }
        catch (JsonException e)
        {
            throw new InvalidDataException($"{path}: {e.Message}", e);
        }

        return (root as JsonArray ?? root?["messages"] as JsonArray)?.OfType<JsonObject>()
            ?? throw new InvalidDataException($"{path} holds neither an array of messages nor an object with \"messages\".");
    }

    private static StoreRequest Messages(string session, string path, IEnumerable<JsonObject> messages)
    {
        var items = new List<Utterance>();
        foreach (JsonObject message in messages)
        {
            if (TextOf(message["content"]) is not { } text)
            {
                throw new InvalidDataException($"{path}, message {items.Count + 1}: there is no \"content\" with text.");
            }

            if (text.Length > 0)
            {
                items.Add(new Utterance { Text = text, Speaker = (string?)message["role"] ?? "", Source = $"{Path.GetFileName(path)}#{items.Count + 1}", Ordinal = 1000L * items.Count });
            }
        }

        return new StoreRequest { Session = session, Items = items };
    }

    /// <summary>A string, an MCP content object, or a list of content parts of which the texts count.</summary>
    private static string? TextOf(JsonNode? content) => content switch
    {
        JsonValue value when value.GetValueKind() == JsonValueKind.String => (string)value!,
        JsonObject part => (string?)part["text"] ?? "",
        JsonArray parts => string.Join('\n', parts.Select(TextOf).Where(t => !string.IsNullOrEmpty(t))),
        _ => null,
    };
}
