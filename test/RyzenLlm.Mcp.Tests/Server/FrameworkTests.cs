using System.Text.Json;
using Microsoft.Extensions.AI;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;
using ModelContextProtocol.Client;
using RyzenLlm.Mcp.Tests.Http;
using FunctionCallContent = Microsoft.Extensions.AI.FunctionCallContent;
using FunctionResultContent = Microsoft.Extensions.AI.FunctionResultContent;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>
/// Agents of Microsoft.Extensions.AI and Semantic Kernel that use the tools of the built program, over each transport. What a model would decide is written down: it
/// stores a fact, recalls it and has a text generated, each call after the result of the one before.
/// </summary>
[TestFixture("stdio")]
[TestFixture("shared")]
[TestFixture("http")]
[TestFixture("sse")]
public sealed class FrameworkTests(string transport)
{
    private static readonly (string Tool, Dictionary<string, object?> Arguments)[] Calls =
    [
        ("store-context", new() { ["text"] = "The lamp of the lighthouse at Brimhaven is green.", ["session"] = "frameworks" }),
        ("recall-context", new() { ["query"] = "colour of the lamp of the lighthouse" }),
        ("generate", new() { ["prompt"] = "The wheel", ["max_tokens"] = 5 }),
    ];

    private SharedProgram _place = null!;
    private HttpProgram? _http;
    private McpClient _client = null!;

    [SetUp]
    public async Task Start()
    {
        _place = new();
        if (transport is "http" or "sse")
        {
            _http = await HttpProgram.StartAsync();
            _client = await _http.ConnectAsync("2025-11-25", sse: transport == "sse");
            return;
        }

        _client = transport == "shared" ? await _place.ConnectAsync("2025-11-25") : await McpClient.CreateAsync(new StdioClientTransport(new StdioClientTransportOptions
        {
            Command = BuiltProgram.Path,
            Arguments = ["serve"],
            EnvironmentVariables = _place.Environment(),
        }));
    }

    [TearDown]
    public async Task Stop()
    {
        await _client.DisposeAsync();
        await _place.DisposeAsync();
        await (_http?.DisposeAsync() ?? ValueTask.CompletedTask);
    }

    [Test]
    public async Task AFunctionInvokingClientCallsTheTools()
    {
        var model = new ScriptedModel();
        using var client = model.AsBuilder().UseFunctionInvocation().Build();
        var response = await client.GetResponseAsync("What colour is the lamp?", new ChatOptions { Tools = [.. await _client.ListToolsAsync()] });
        Assert.That(response.Text, Is.EqualTo("Green."));
        AssertWereCalled(model);
    }

    [Test]
    public async Task AKernelInvokesTheToolsAsFunctions()
    {
        var kernel = Kernel.CreateBuilder().Build();
        kernel.Plugins.AddFromFunctions("ryzenllm", (await _client.ListToolsAsync()).Select(tool => tool.WithName(tool.Name.Replace('-', '_')).AsKernelFunction()));
        List<string> results = [];
        foreach (var (tool, arguments) in Calls)
        {
            var result = await kernel.InvokeAsync("ryzenllm", tool.Replace('-', '_'), new KernelArguments(arguments));
            results.Add(JsonSerializer.Serialize(result.GetValue<object>()));
        }

        Assert.That(results[1], Does.Contain("lighthouse at Brimhaven is green"));
        Assert.That(results[2], Does.Contain("completion_tokens").And.Not.Contain("\"isError\":true"));
    }

    [Test]
    public async Task AnAgentOfSemanticKernelCallsTheTools()
    {
        var model = new ScriptedModel();
        using var client = model.AsBuilder().UseKernelFunctionInvocation().Build();
        var kernel = Kernel.CreateBuilder().Build();
        kernel.Plugins.AddFromFunctions("ryzenllm", (await _client.ListToolsAsync()).Select(tool => tool.WithName(tool.Name.Replace('-', '_')).AsKernelFunction()));
        var settings = new PromptExecutionSettings { FunctionChoiceBehavior = FunctionChoiceBehavior.Auto() };
        var answer = await client.AsChatCompletionService().GetChatMessageContentAsync(new ChatHistory("What colour is the lamp?"), settings, kernel);
        Assert.That(answer.Content, Is.EqualTo("Green."));
        AssertWereCalled(model);
    }

    private static void AssertWereCalled(ScriptedModel model)
    {
        Assert.That(model.Results, Has.Count.EqualTo(Calls.Length));
        Assert.That(model.Results, Has.None.Contains("isError\":true").And.None.StartsWith("Error"));
        Assert.That(model.Results[0], Does.Contain("ids"));
        Assert.That(model.Results[1], Does.Contain("lighthouse at Brimhaven is green"));
        Assert.That(model.Results[2], Does.Contain("completion_tokens"));
    }

    /// <summary>Makes the calls one after the other, then answers.</summary>
    private sealed class ScriptedModel : IChatClient
    {
        /// <summary>What the calls gave, as JSON.</summary>
        public List<string> Results { get; } = [];

        public Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
        {
            var results = messages.SelectMany(m => m.Contents).OfType<FunctionResultContent>().ToList();
            Results.Clear();
            Results.AddRange(results.Select(r => JsonSerializer.Serialize(r.Result)));
            if (results.Count == Calls.Length)
            {
                return Task.FromResult(new ChatResponse(new ChatMessage(ChatRole.Assistant, "Green.")));
            }

            var (tool, arguments) = Calls[results.Count];
            var name = options!.Tools!.Single(t => t.Name.Replace('_', '-').EndsWith(tool, StringComparison.Ordinal)).Name;
            return Task.FromResult(new ChatResponse(new ChatMessage(ChatRole.Assistant, [new FunctionCallContent($"call{results.Count}", name, arguments)])));
        }

        public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
            IEnumerable<ChatMessage> messages, ChatOptions? options = null, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            foreach (var update in (await GetResponseAsync(messages, options, cancellationToken)).ToChatResponseUpdates())
            {
                yield return update;
            }
        }

        public object? GetService(Type serviceType, object? serviceKey = null) => null;

        public void Dispose()
        {
        }
    }
}
