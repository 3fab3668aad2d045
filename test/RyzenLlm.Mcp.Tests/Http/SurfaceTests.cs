#pragma warning disable MCPEXP002 // to send the messages of an extension by hand

using System.Text.Json;
using System.Text.Json.Nodes;
using ModelContextProtocol;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Tests.Http;

/// <summary>What is more than one call or less than a tool, over HTTP, with the built program.</summary>
[TestFixture("2025-11-25", false)]
[TestFixture("2026-07-28", false)]
[TestFixture("2025-11-25", true)]
public sealed class SurfaceTests(string era, bool sse)
{
    private HttpProgram _program = null!;

    [OneTimeSetUp]
    public async Task Start() => _program = await HttpProgram.StartAsync($"Models:Folders:1={Path.GetDirectoryName(Repository.EndlessModel)}");

    [OneTimeTearDown]
    public async Task Stop() => await _program.DisposeAsync();

    [Test]
    public async Task AnotherConnectionOfTheTenantContinuesAndNoOtherTenantDoes()
    {
        string handle;
        string first;
        await using (var client = await _program.ConnectAsync(era, sse: sse))
        {
            await CallAsync(client, "generate", new() { ["prompt"] = "The", ["model"] = "endless", ["max_tokens"] = 1, ["deadline_seconds"] = 600 }); // loads the model
            var part = await CallAsync(client, "generate", new() { ["prompt"] = "The wheel", ["model"] = "endless", ["max_tokens"] = 1500, ["deadline_seconds"] = 0.1 });
            (handle, first) = (part.GetProperty("continue_from").GetString()!, part.GetProperty("text").GetString()!);
        }

        await using var again = await _program.ConnectAsync(era, sse: sse);
        await using var guest = await _program.ConnectAsync(era, HttpProgram.Guest, sse);
        var refused = await guest.CallToolAsync("generate", new Dictionary<string, object?> { ["continue"] = handle });
        Assert.That(refused.IsError, Is.True);
        var rest = await CallAsync(again, "generate", new() { ["continue"] = handle, ["deadline_seconds"] = 600 });
        var whole = await CallAsync(again, "generate", new() { ["prompt"] = "The wheel", ["model"] = "endless", ["max_tokens"] = 1500, ["deadline_seconds"] = 600 });
        Assert.That(first + rest.GetProperty("text").GetString(), Is.EqualTo(whole.GetProperty("text").GetString()));
    }

    [Test]
    public async Task ResourcesAreReadByScope()
    {
        await using var owner = await _program.ConnectAsync(era, sse: sse);
        await using var reader = await _program.ConnectAsync(era, HttpProgram.Reader, sse);
        await using var writer = await _program.ConnectAsync(era, HttpProgram.Writer, sse);
        await using var guest = await _program.ConnectAsync(era, HttpProgram.Guest, sse);
        var stored = await CallAsync(owner, "store-context", new() { ["text"] = $"A note of {era} {sse}." });
        var unit = $"rsu://{stored.GetProperty("ids")[0].GetString()}";
        foreach (var client in new[] { owner, reader })
        {
            Assert.That(((TextResourceContents)(await client.ReadResourceAsync(unit)).Contents.Single()).Text, Does.Contain("A note of"));
            Assert.That((await client.ListResourcesAsync()).Select(r => r.Uri), Has.Member("model://mamba-f32"));
        }

        Assert.That((await writer.ListResourcesAsync()).Select(r => r.Uri), Has.None.StartsWith("model://"));
        foreach (var (client, uri) in new[] { (guest, unit), (writer, unit), (writer, "model://mamba-f32"), (writer, "metrics://now"), (reader, "result://x") })
        {
            Assert.That(async () => await client.ReadResourceAsync(uri), Throws.InstanceOf<McpException>(), uri);
        }

        var units = new ResourceTemplateReference { Uri = "rsu://{id}" };
        Assert.That((await reader.CompleteAsync(units, "id", "")).Completion.Values, Is.Not.Empty);
        Assert.That((await writer.CompleteAsync(units, "id", "")).Completion.Values, Is.Empty);
    }

    [Test]
    public async Task TheUserIsAskedBeforeForgetting()
    {
        var questions = 0;
        var options = new McpClientOptions
        {
            Handlers = new()
            {
                ElicitationHandler = (_, _) => ValueTask.FromResult(new ElicitResult { Action = ++questions == 1 ? "decline" : "accept" }),
            },
        };
        await using var client = await _program.ConnectAsync(era, sse: sse, options: options);
        await CallAsync(client, "store-context", new() { ["text"] = $"Something to forget, {era} {sse}.", ["session"] = "forgettable" });
        var forget = new Dictionary<string, object?> { ["session"] = "forgettable", ["dry_run"] = false };
        Assert.That((await CallAsync(client, "forget-context", forget)).GetProperty("deleted").GetInt32(), Is.Zero);
        Assert.That((await CallAsync(client, "forget-context", forget)).GetProperty("deleted").GetInt32(), Is.EqualTo(1));
        Assert.That(questions, Is.EqualTo(2));
    }

    [Test]
    public async Task ATaskOutlivesTheConnectionThatStartedIt()
    {
        string id;
        await using (var client = await ConnectAsync(HttpProgram.Owner))
        {
            var call = new JsonObject
            {
                ["name"] = "generate",
                ["arguments"] = new JsonObject { ["prompt"] = "The wheel", ["model"] = "endless", ["max_tokens"] = 1_000_000 },
            };
            id = (string)(await SendAsync(client, "tools/call", call))["taskId"]!;
        }

        await using var other = await ConnectAsync(HttpProgram.Owner);
        await using var guest = await ConnectAsync(HttpProgram.Guest);
        Assert.That((string?)(await SendAsync(other, "tasks/get", new() { ["taskId"] = id }))["status"], Is.EqualTo("working"));
        Assert.That(async () => await SendAsync(guest, "tasks/get", new() { ["taskId"] = id }), Throws.InstanceOf<McpProtocolException>());
        Assert.That(async () => await SendAsync(guest, "tasks/cancel", new() { ["taskId"] = id }), Throws.InstanceOf<McpProtocolException>());
        await SendAsync(other, "tasks/cancel", new() { ["taskId"] = id });
        Assert.That((string?)(await SendAsync(other, "tasks/get", new() { ["taskId"] = id }))["status"], Is.EqualTo("cancelled"));

        Task<McpClient> ConnectAsync(string token) => _program.ConnectAsync("2026-07-28", token, options: new() // older protocols have no tasks
        {
            Capabilities = new() { Extensions = new Dictionary<string, object> { [CallTasks.Extension] = new JsonObject() } },
        });
    }

    [Test]
    public async Task ListenersAreToldOfModelsThatComeAndGo()
    {
        var folder = Directory.CreateTempSubdirectory("ryzenllm-listen-").FullName;
        await using var program = await HttpProgram.StartAsync($"Models:Folders:1={folder}");
        await using var client = await program.ConnectAsync(era, sse: sse);
        var (told, begun) = (new SemaphoreSlim(0), new TaskCompletionSource());
        await using var heard = client.RegisterNotificationHandler(NotificationMethods.ResourceListChangedNotification, (_, _) =>
        {
            told.Release();
            return ValueTask.CompletedTask;
        });
        if (era == "2026-07-28")
        {
            await using var acknowledged = client.RegisterNotificationHandler(NotificationMethods.SubscriptionsAcknowledgedNotification, (_, _) =>
            {
                begun.TrySetResult();
                return ValueTask.CompletedTask;
            });
            _ = client.SendRequestAsync<SubscriptionsListenRequestParams, EmptyResult>(
                RequestMethods.SubscriptionsListen, new() { Notifications = new() { ResourcesListChanged = true } }).AsTask();
            await begun.Task.WaitAsync(TimeSpan.FromMinutes(1));
        }

        File.Copy(Path.Combine(Repository.Models, "mamba-f32.gguf"), Path.Combine(folder, "new.gguf"));
        Assert.That(await told.WaitAsync(TimeSpan.FromMinutes(1)), Is.True, "come");
        Assert.That((await client.ListResourcesAsync()).Select(r => r.Uri), Has.Member("model://new"));
        Directory.Delete(folder, recursive: true);
        Assert.That(await told.WaitAsync(TimeSpan.FromMinutes(1)), Is.True, "gone");
        Assert.That((await client.ListResourcesAsync()).Select(r => r.Uri), Has.No.Member("model://new"));
    }

    private static async Task<JsonNode> SendAsync(McpClient client, string method, JsonObject parameters) =>
        (await client.SendRequestAsync(new JsonRpcRequest
        {
            Method = method,
            Params = parameters,
            Context = new() { RoutingName = (string?)parameters["taskId"] }, // the header that names what a request is about
        })).Result!;

    private static async Task<JsonElement> CallAsync(McpClient client, string tool, Dictionary<string, object?> arguments)
    {
        var result = await client.CallToolAsync(tool, arguments);
        Assert.That(result.IsError, Is.Not.True, () => string.Join('\n', result.Content.OfType<TextContentBlock>().Select(t => t.Text)));
        return result.StructuredContent!.Value;
    }
}
