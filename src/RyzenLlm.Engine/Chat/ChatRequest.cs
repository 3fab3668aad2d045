using System.Text;
using System.Text.Json;
using Microsoft.Extensions.AI;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Chat;

/// <summary>A conversation and options of Microsoft.Extensions.AI in the engine's own terms.</summary>
internal static class ChatRequest
{
    /// <summary>The request.</summary>
    /// <param name="messages">Conversation, oldest first.</param>
    /// <param name="options">Options, or null.</param>
    /// <param name="model">Name of the model that is asked.</param>
    /// <param name="raw">A request to start from; null takes the defaults.</param>
    /// <exception cref="ArgumentException">Something cannot be served; the message says what to change.</exception>
    public static GenerationRequest Of(IEnumerable<ChatMessage> messages, ChatOptions? options, string model, Func<GenerationRequest?> raw)
    {
        if (options?.ModelId is { Length: > 0 } wanted && wanted != model)
        {
            throw new ArgumentException($"This client serves {model}, not '{wanted}': leave the model out or make a client of that one.");
        }

        var functions = Functions(options);
        var request = raw() ?? new GenerationRequest { Turns = [] };
        var sampling = request.Sampling;
        return request with
        {
            Turns = Turns(messages, options, functions),
            MaxTokens = options?.MaxOutputTokens ?? request.MaxTokens,
            Stop = options?.StopSequences is { Count: > 0 } stop ? [.. stop] : request.Stop,
            Constraint = Constraint(options, functions) ?? request.Constraint,
            Sampling = sampling with
            {
                Temperature = options?.Temperature ?? sampling.Temperature,
                TopP = options?.TopP ?? sampling.TopP,
                TopK = options?.TopK ?? sampling.TopK,
                FrequencyPenalty = options?.FrequencyPenalty ?? sampling.FrequencyPenalty,
                PresencePenalty = options?.PresencePenalty ?? sampling.PresencePenalty,
                Seed = options?.Seed is { } seed ? unchecked((ulong)seed) : sampling.Seed,
            },
        };
    }

    /// <summary>Functions that the model may call now.</summary>
    public static IReadOnlyList<AIFunctionDeclaration> Functions(ChatOptions? options) =>
        options?.Tools is not { Count: > 0 } tools || options.ToolMode is NoneChatToolMode ? [] : [.. tools.OfType<AIFunctionDeclaration>()];

    private static List<ChatTurn> Turns(IEnumerable<ChatMessage> messages, ChatOptions? options, IReadOnlyList<AIFunctionDeclaration> functions)
    {
        var turns = new List<ChatTurn>();
        var system = new StringBuilder(options?.Instructions);
        foreach (var message in messages)
        {
            var text = Text(message);
            if (message.Role == ChatRole.System)
            {
                Paragraph(system, text); // several become one: models were trained on one, at the beginning
            }
            else
            {
                turns.Add(new(message.Role == ChatRole.Assistant ? "assistant" : "user", text));
            }
        }

        if (functions.Count > 0)
        {
            Paragraph(system, ToolText.Offer(functions));
        }

        if (system.Length > 0)
        {
            turns.Insert(0, new("system", system.ToString()));
        }

        return turns.Count > 0 ? turns : throw new ArgumentException("The conversation has no messages: give at least one.");
    }

    private static string Text(ChatMessage message)
    {
        var text = new StringBuilder();
        foreach (var content in message.Contents)
        {
            switch (content)
            {
                case TextContent plain:
                    text.Append(plain.Text);
                    break;
                case FunctionCallContent call:
                    Line(text, ToolText.Call(call));
                    break;
                case FunctionResultContent result:
                    Line(text, ToolText.Result(result));
                    break;
                case TextReasoningContent or UsageContent:
                    break; // about an answer, not part of it
                default:
                    throw new ArgumentException($"A message holds {content.GetType().Name}; this model reads text and function calls only.");
            }
        }

        return text.ToString();
    }

    private static OutputConstraint? Constraint(ChatOptions? options, IReadOnlyList<AIFunctionDeclaration> functions)
    {
        if (options?.ToolMode is RequiredChatToolMode required)
        {
            var callable = required.RequiredFunctionName is { } name ? [.. functions.Where(f => f.Name == name)] : functions;
            return callable.Count > 0
                ? OutputConstraint.JsonSchema(ToolText.CallSchema(callable))
                : throw new ArgumentException($"A call of {required.RequiredFunctionName ?? "a function"} is required, but it is not among the tools: {string.Join(", ", functions.Select(f => f.Name))}.");
        }

        return options?.ResponseFormat is ChatResponseFormatJson json
            ? json.Schema is { } schema ? OutputConstraint.JsonSchema(schema) : OutputConstraint.JsonSchema(AnyObject)
            : null;
    }

    private static readonly JsonElement AnyObject = JsonElement.Parse("""{"type": "object"}""");

    private static void Paragraph(StringBuilder text, string more) => text.Append(text.Length > 0 ? "\n\n" : "").Append(more);

    private static void Line(StringBuilder text, string more) => text.Append(text.Length > 0 ? "\n" : "").Append(more);
}
