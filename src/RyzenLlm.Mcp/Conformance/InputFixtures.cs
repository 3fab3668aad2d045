#pragma warning disable MCP9004, MCP9005 // deprecated features, here to prove that the protocol layer still has them

using System.Security.Cryptography;
using System.Text;
using ModelContextProtocol;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using static ModelContextProtocol.Protocol.ElicitRequestParams;

namespace RyzenLlm.Mcp.Conformance;

/// <summary>Tools and a prompt that need input from the client and are called again with it, as of 2026-07-28.</summary>
internal static class InputFixtures
{
    private const string Name = "user_name";

    private static readonly byte[] Key = RandomNumberGenerator.GetBytes(32);

    private static InputRequest AskName => Ask("What is your name?", "name", new StringSchema());

    private static InputRequest AskModel => InputRequest.ForSampling(Sampling("What is the capital of France?", 100));

    private static InputRequest AskRoots => InputRequest.ForRootsList(new());

    /// <summary>The tools.</summary>
    public static IEnumerable<McpServerTool> Tools()
    {
        yield return Tool("elicitation", call =>
            $"Hello, {Answer(call, Name, AskName).Deserialize(InputResponse.ElicitResultJsonTypeInfo)?.Content?["name"]}!");
        yield return Tool("sampling", call =>
            $"The model says: {Answer(call, "capital_question", AskModel).Deserialize(InputResponse.CreateMessageResultJsonTypeInfo)?.Content.OfType<TextContentBlock>().FirstOrDefault()?.Text}");
        yield return Tool("list_roots", call =>
            $"Roots: {string.Join(", ", Answer(call, "client_roots", AskRoots).Deserialize(InputResponse.ListRootsResultJsonTypeInfo)?.Roots.Select(r => r.Uri) ?? [])}");
        yield return Tool("request_state", call => call.RequestState is { } state
            ? $"state-ok: {Verified(state)}"
            : throw Required(("confirm", Ask("Please confirm", "ok", new BooleanSchema())), Signed("confirm")));
        yield return Tool("tampered_state", call => call.RequestState is { } state
            ? $"state-ok: {Verified(state)}"
            : throw Required(("confirm", Ask("Please confirm", "ok", new BooleanSchema())), Signed("confirm")));
        yield return Tool("multiple_inputs", call => call.InputResponses is { Count: >= 3 }
            ? "All inputs are there."
            : throw new InputRequiredException(
                new Dictionary<string, InputRequest> { [Name] = AskName, ["greeting"] = InputRequest.ForSampling(Sampling("Generate a greeting", 50)), ["client_roots"] = AskRoots },
                Signed("inputs")));
        yield return Tool("multi_round", call => (call.RequestState is { } state ? Verified(state) : "") switch
        {
            "" => throw Required(("step1", Ask("Step 1: What is your name?", "name", new StringSchema())), Signed("round 1")),
            "round 1" => throw Required(("step2", Ask("Step 2: What is your favorite color?", "color", new StringSchema())), Signed("round 2")),
            _ => "Both rounds are done.",
        });
        yield return Fixtures.Tool("test_input_required_result_capabilities", "Asks for what the client can give only.", (RequestContext<CallToolRequestParams> request) =>
        {
            var can = request.JsonRpcRequest.Context?.ClientCapabilities;
            var wanted = new Dictionary<string, InputRequest>();
            if (can?.Elicitation is not null)
            {
                wanted[Name] = AskName;
            }

            if (can?.Sampling is not null)
            {
                wanted["capital_question"] = AskModel;
            }

            return request.Params!.InputResponses is { Count: > 0 } || wanted.Count == 0 ? "done" : throw new InputRequiredException(wanted, null);
        });
    }

    /// <summary>The prompt.</summary>
    public static McpServerPrompt Prompt() => McpServerPrompt.Create(
        (RequestContext<GetPromptRequestParams> request) =>
            Answer(request.Params!, "user_context", Ask("What context should the prompt use?", "context", new StringSchema()))
                .Deserialize(InputResponse.ElicitResultJsonTypeInfo)?.Content?["context"].ToString() ?? "no context",
        new McpServerPromptCreateOptions { Name = "test_input_required_result_prompt", Description = "Needs a context from the user." });

    /// <summary>A question to the client's model.</summary>
    public static CreateMessageRequestParams Sampling(string question, int tokens) => new()
    {
        Messages = [new() { Role = Role.User, Content = [new TextContentBlock { Text = question }] }],
        MaxTokens = tokens,
    };

    private static McpServerTool Tool(string name, Func<CallToolRequestParams, string> call) => Fixtures.Tool(
        $"test_input_required_result_{name}", "Needs input from the client.", (RequestContext<CallToolRequestParams> request) => call(request.Params!));

    // Whatever else came along is ignored, and what is missing is asked for again.
    private static InputResponse Answer(RequestParams call, string key, InputRequest question) =>
        call.InputResponses?.TryGetValue(key, out var answer) is true ? answer : throw Required((key, question), null);

    private static InputRequiredException Required((string Key, InputRequest Question) input, string? state) =>
        new(new Dictionary<string, InputRequest> { [input.Key] = input.Question }, state);

    private static InputRequest Ask(string message, string field, PrimitiveSchemaDefinition schema) => InputRequest.ForElicitation(new()
    {
        Message = message,
        RequestedSchema = new() { Properties = new Dictionary<string, PrimitiveSchemaDefinition> { [field] = schema }, Required = [field] },
    });

    private static string Signed(string state) => $"{state}.{Signature(state)}";

    private static string Verified(string state)
    {
        var dot = state.LastIndexOf('.');
        return dot > 0 && CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(state[(dot + 1)..]), Encoding.UTF8.GetBytes(Signature(state[..dot])))
            ? state[..dot]
            : throw new McpProtocolException("requestState is not what this server gave out.", McpErrorCode.InvalidParams);
    }

    private static string Signature(string state) => Convert.ToHexString(HMACSHA256.HashData(Key, Encoding.UTF8.GetBytes(state)));
}
