using System.Text.Json;
using System.Text.Json.Nodes;
using ModelContextProtocol;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>Long generations as tasks, for clients that have the extension.</summary>
public sealed class TaskTests
{
    [Test]
    public async Task ALongGenerationBecomesATaskWhoseResultIsThatOfACall()
    {
        await using var server = await StartAsync(TimeSpan.Zero);
        Assert.That(server.Client.ServerCapabilities.Extensions, Does.ContainKey(CallTasks.Extension));
        var created = await SendAsync(server, "tools/call", Call(max: 1500, ("deadline_seconds", 600)));
        Assert.That((string?)created["resultType"], Is.EqualTo("task"));
        Assert.That((string?)created["status"], Is.EqualTo("working"));
        Assert.That((long)created["ttlMs"]!, Is.GreaterThan(60_000));
        var ended = await EndOfAsync(server, (string)created["taskId"]!);
        Assert.That((string?)ended["status"], Is.EqualTo("completed"));
        Assert.That((string?)ended["resultType"], Is.EqualTo("complete"));
        var result = ended["result"].Deserialize<CallToolResult>(McpJsonUtilities.DefaultOptions)!;
        await using var plain = await InProcessServer.StartAsync("2026-07-28");
        var expected = await plain.Client.CallToolAsync("generate", Arguments(1500, ("deadline_seconds", 600)));
        Assert.That(Text(result), Is.EqualTo(Text(expected)).And.Not.Empty);
    }

    [Test]
    public async Task ATaskSaysHowFarItIsAndEndsWhenCancelled()
    {
        await using var server = await StartAsync(TimeSpan.Zero);
        var id = (string)(await SendAsync(server, "tools/call", Call(max: 1_000_000)))["taskId"]!;
        JsonNode state;
        do
        {
            state = await SendAsync(server, "tasks/get", new() { ["taskId"] = id });
            Assert.That((string?)state["status"], Is.EqualTo("working"), "without a deadline of its own it has an hour");
        }
        while (((string?)state["statusMessage"])?.Contains("tokens") is not true);

        await SendAsync(server, "tasks/update", new() { ["taskId"] = id, ["inputResponses"] = new JsonObject() });
        await SendAsync(server, "tasks/cancel", new() { ["taskId"] = id });
        Assert.That((string?)(await EndOfAsync(server, id))["status"], Is.EqualTo("cancelled"));

        // Not only its name: the generation itself.
        JsonNode metrics;
        do
        {
            var read = await server.Client.ReadResourceAsync("metrics://now");
            metrics = JsonNode.Parse(((TextResourceContents)read.Contents.Single()).Text)!;
        }
        while ((int)metrics["answers"]!["cancelled"]! != 1);
    }

    [Test]
    public async Task AQuickCallIsAnsweredAtOnce()
    {
        await using var server = await StartAsync(TimeSpan.FromMinutes(5));
        var answer = await SendAsync(server, "tools/call", Call(max: 3));
        Assert.That((string?)answer["resultType"], Is.EqualTo("complete").Or.Null);
        Assert.That((int)answer["structuredContent"]!["completion_tokens"]!, Is.EqualTo(3));
    }

    [Test]
    public async Task OnlyTheClientsThatAskedForTasksGetThem()
    {
        await using var server = await InProcessServer.StartAsync("2026-07-28");
        var answer = await SendAsync(server, "tools/call", Call(max: 3));
        Assert.That(answer["taskId"], Is.Null);
        Assert.That(
            async () => await SendAsync(server, "tasks/get", new() { ["taskId"] = "x" }),
            Throws.InstanceOf<McpProtocolException>().With.Property("ErrorCode").EqualTo(McpErrorCode.MissingRequiredClientCapability));
        await using var able = await StartAsync(TimeSpan.Zero);
        Assert.That(
            async () => await SendAsync(able, "tasks/get", new() { ["taskId"] = "x" }),
            Throws.InstanceOf<McpProtocolException>().With.Property("ErrorCode").EqualTo(McpErrorCode.InvalidParams));
    }

    private static Task<InProcessServer> StartAsync(TimeSpan patience) => InProcessServer.StartAsync(
        "2026-07-28",
        client: new McpClientOptions { Capabilities = new() { Extensions = new Dictionary<string, object> { [CallTasks.Extension] = new JsonObject() } } },
        tasks: tasks => tasks.Tools["generate"] = patience);

    private static Dictionary<string, object?> Arguments(int max, params (string Name, object? Value)[] more) => new Dictionary<string, object?>(
        [new("prompt", "The wheel"), new("model", Repository.EndlessModel), new("max_tokens", max), .. more.Select(m => KeyValuePair.Create(m.Name, m.Value))]);

    private static JsonObject Call(int max, params (string Name, object? Value)[] more) =>
        new() { ["name"] = "generate", ["arguments"] = JsonSerializer.SerializeToNode(Arguments(max, more)) };

    private static async Task<JsonNode> SendAsync(InProcessServer server, string method, JsonObject parameters) =>
        (await server.Client.SendRequestAsync(new JsonRpcRequest { Method = method, Params = parameters })).Result!;

    private static async Task<JsonNode> EndOfAsync(InProcessServer server, string id)
    {
        while (true)
        {
            var state = await SendAsync(server, "tasks/get", new() { ["taskId"] = id });
            if ((string?)state["status"] != "working")
            {
                return state;
            }
        }
    }

    private static string Text(CallToolResult result) => string.Concat(result.Content.OfType<TextContentBlock>().Select(block => block.Text));
}
