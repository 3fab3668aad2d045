using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.AI;

namespace RyzenLlm.Engine.Chat;

/// <summary>
/// Functions, calls and results as text. The form is the one that most small models with function calling were trained on (Hermes, Qwen):
/// a JSON object with name and arguments between <c>&lt;tool_call&gt;</c> and <c>&lt;/tool_call&gt;</c>.
/// </summary>
internal static class ToolText
{
    public const string Open = "<tool_call>";
    public const string Close = "</tool_call>";

    private static readonly JsonSerializerOptions Json = new(AIJsonUtilities.DefaultOptions) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, WriteIndented = false };

    /// <summary>Tells the model which functions there are and how to call one.</summary>
    public static string Offer(IReadOnlyList<AIFunctionDeclaration> functions) =>
        "You can call these functions, one JSON object each:\n"
        + string.Join('\n', functions.Select(f => new JsonObject
        {
            ["name"] = f.Name,
            ["description"] = f.Description,
            ["parameters"] = JsonNode.Parse(f.JsonSchema.GetRawText()),
        }.ToJsonString(Json)))
        + $"\nTo call one, answer with nothing but {Open}{{\"name\": \"NAME\", \"arguments\": {{...}}}}{Close}. The result comes with the next message.";

    /// <summary>A call that the model made earlier.</summary>
    public static string Call(FunctionCallContent call) => Open + new JsonObject
    {
        ["name"] = call.Name,
        ["arguments"] = JsonSerializer.SerializeToNode(call.Arguments ?? new Dictionary<string, object?>(), Json),
    }.ToJsonString(Json) + Close;

    /// <summary>What a call gave.</summary>
    public static string Result(FunctionResultContent result) =>
        $"<tool_response>{(result.Exception is { } e ? e.Message : result.Result as string ?? JsonSerializer.Serialize(result.Result, Json))}</tool_response>";

    /// <summary>JSON schema of a call of one of these functions.</summary>
    public static JsonElement CallSchema(IReadOnlyList<AIFunctionDeclaration> functions)
    {
        var calls = new JsonArray();
        for (var i = 0; i < functions.Count; i++)
        {
            var parameters = JsonNode.Parse(functions[i].JsonSchema.GetRawText())!;
            (parameters as JsonObject)?.Remove("condition"); // no keyword of JSON Schema: Semantic Kernel repeats the description there
            Rebase(parameters, $"#/anyOf/{i}/properties/arguments");
            calls.Add(new JsonObject
            {
                ["type"] = "object",
                ["properties"] = new JsonObject { ["name"] = new JsonObject { ["const"] = functions[i].Name }, ["arguments"] = parameters },
                ["required"] = new JsonArray("name", "arguments"),
                ["additionalProperties"] = false,
            });
        }

        return JsonSerializer.SerializeToElement(new JsonObject { ["anyOf"] = calls }, Json);
    }

    /// <summary>Reads a call of one of these functions; null for any other text.</summary>
    public static FunctionCallContent? ReadCall(string text, IReadOnlyList<AIFunctionDeclaration> functions)
    {
        try
        {
            return JsonNode.Parse(text) is JsonObject call
                && call["name"] is JsonValue value && value.TryGetValue<string>(out var name)
                && functions.Any(f => f.Name == name)
                && (call["arguments"] ?? call["parameters"]) is JsonObject arguments
                ? new FunctionCallContent($"call_{Guid.NewGuid():N}", name, arguments.ToDictionary(a => a.Key, a => (object?)a.Value?.Deserialize<JsonElement>(Json)))
                : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    // References within a schema start at its root, which is no longer the root.
    private static void Rebase(JsonNode? node, string root)
    {
        if (node is JsonArray items)
        {
            foreach (var item in items)
            {
                Rebase(item, root);
            }
        }
        else if (node is JsonObject members)
        {
            foreach (var (name, value) in members.ToList())
            {
                if (name == "$ref" && value is JsonValue text && text.TryGetValue<string>(out var reference) && reference.StartsWith('#'))
                {
                    members[name] = root + reference[1..];
                }
                else
                {
                    Rebase(value, root);
                }
            }
        }
    }
}
