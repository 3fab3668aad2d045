using System.Text.Json;
using ModelContextProtocol;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>Resources, prompts and completions as a client sees them, in both eras of the protocol.</summary>
[TestFixture("2025-11-25")]
[TestFixture("2026-07-28")]
public sealed class ResourceTests(string era)
{
    private string _folder = null!;
    private string _models = null!;

    [SetUp]
    public void Create()
    {
        _folder = Directory.CreateTempSubdirectory("ryzenllm-resources-").FullName;
        _models = Directory.CreateDirectory(Path.Combine(_folder, "models")).FullName;
    }

    [TearDown]
    public void Delete() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task ModelsAreResourcesWithTheirFacts()
    {
        await using var server = await StartAsync();
        var listed = await server.Client.ListResourcesAsync();
        Assert.That(listed.Select(r => r.Uri), Has.Member("model://mamba-f32").And.Member("metrics://now"));
        var model = await ReadAsync(server, "model://mamba-f32");
        Assert.That(model.GetProperty("architecture").GetString(), Is.EqualTo("mamba"));
        Assert.That(model.GetProperty("default").GetBoolean(), Is.True);
        Assert.That(await TemplatesAsync(server), Is.EqualTo(new[] { "model://{name}", "rsu://{id}", "result://{name}" }));
        foreach (var missing in new[] { "model://gpt-9", "model:///etc/passwd", "model://" + Uri.EscapeDataString(Path.Combine(Repository.Models, "mamba-f32.gguf")), "rsu://0123456", "other://x" })
        {
            Assert.That(async () => await server.Client.ReadResourceAsync(missing), Throws.InstanceOf<McpProtocolException>(), missing);
        }
    }

    [Test]
    public async Task ClientsAreToldOfModelsThatComeAndGo()
    {
        await using var server = await StartAsync();
        var told = new SemaphoreSlim(0);
        await using var heard = server.Client.RegisterNotificationHandler(NotificationMethods.ResourceListChangedNotification, (_, _) =>
        {
            told.Release();
            return ValueTask.CompletedTask;
        });
        await using var listening = era == "2026-07-28" ? await ListenAsync(server) : null;
        Assert.That(server.Client.ServerCapabilities.Resources?.ListChanged, Is.True);
        var file = Path.Combine(_models, "a new one.gguf");
        File.Copy(Path.Combine(Repository.Models, "mamba-f32.gguf"), file);
        Assert.That(await told.WaitAsync(TimeSpan.FromMinutes(1)), Is.True, "come");
        Assert.That((await server.Client.ListResourcesAsync()).Select(r => r.Uri), Has.Member("model://a%20new%20one"));
        Assert.That((await ReadAsync(server, "model://a%20new%20one")).GetProperty("name").GetString(), Is.EqualTo("a new one"));
        File.Delete(file);
        Assert.That(await told.WaitAsync(TimeSpan.FromMinutes(1)), Is.True, "gone");
        Assert.That((await server.Client.ListResourcesAsync()).Select(r => r.Uri), Has.No.Member("model://a%20new%20one"));
    }

    [Test]
    public async Task UnitsAreReadAndCompletedByTheirTenantOnly()
    {
        await using var ann = await StartAsync("ann");
        await using var ben = await StartAsync("ben");
        var stored = await ann.Client.CallToolAsync("store-context", new Dictionary<string, object?> { ["text"] = "The ferry leaves at nine.", ["scope"] = "travel" });
        var id = stored.StructuredContent!.Value.GetProperty("ids")[0].GetString()!;
        foreach (var name in new[] { id, id[..8] })
        {
            var unit = await ReadAsync(ann, $"rsu://{name}");
            Assert.That((unit.GetProperty("text").GetString(), unit.GetProperty("scope").GetString()), Is.EqualTo(("The ferry leaves at nine.", "travel")));
            Assert.That(async () => await ben.Client.ReadResourceAsync($"rsu://{name}"), Throws.InstanceOf<McpProtocolException>());
        }

        var unitId = new ResourceTemplateReference { Uri = "rsu://{id}" };
        Assert.That(await CompleteAsync(ann, unitId, "id", id[..2]), Is.EqualTo(new[] { id }));
        Assert.That(await CompleteAsync(ben, unitId, "id", id[..2]), Is.Empty);
        var prompt = new PromptReference { Name = "answer-with-memory" };
        Assert.That(await CompleteAsync(ann, prompt, "scope", "tr"), Is.EqualTo(new[] { "travel" }));
        Assert.That(await CompleteAsync(ben, prompt, "scope", ""), Is.Empty);
    }

    [Test]
    public async Task NamesOfModelsAreCompleted()
    {
        await using var server = await StartAsync();
        Assert.That(
            await CompleteAsync(server, new ResourceTemplateReference { Uri = "model://{name}" }, "name", "RWKV7"),
            Is.EqualTo(new[] { "rwkv7-f16", "rwkv7-f32", "rwkv7-q8_0" }));
        Assert.That(
            await CompleteAsync(server, new PromptReference { Name = "compare-models" }, "models", "mamba-f32, rwkv6"),
            Is.EqualTo(new[] { "mamba-f32, rwkv6-f32", "mamba-f32, rwkv6-q8_0" }));
        Assert.That(await CompleteAsync(server, new PromptReference { Name = "compare-models" }, "task", "x"), Is.Empty);
    }

    [Test]
    public async Task MetricsCountWhatTheServerDid()
    {
        await using var server = await StartAsync();
        Assert.That((await ReadAsync(server, "metrics://now")).GetProperty("models").GetArrayLength(), Is.Zero);
        await server.Client.CallToolAsync("generate", new Dictionary<string, object?> { ["prompt"] = "The", ["max_tokens"] = 7 });
        await server.Client.CallToolAsync("generate");
        var now = await ReadAsync(server, "metrics://now");
        Assert.That((now.GetProperty("calls").GetInt32(), now.GetProperty("failures").GetInt32()), Is.EqualTo((2, 1)));
        Assert.That(now.GetProperty("generated_tokens").GetInt32(), Is.EqualTo(7));
        Assert.That(now.GetProperty("prompt_tokens").GetInt32(), Is.GreaterThan(0));
        Assert.That(now.GetProperty("answers").GetProperty("length").GetInt32(), Is.EqualTo(1));
        Assert.That(now.GetProperty("models")[0].GetProperty("name").GetString(), Is.EqualTo("mamba-f32"));
    }

    [Test]
    public async Task PromptsTakeTheirArguments()
    {
        await using var server = await StartAsync();
        var prompts = await server.Client.ListPromptsAsync();
        Assert.That(prompts.Select(p => p.Name), Is.EqualTo(new[] { "answer-with-memory", "summarise-into-memory", "compare-models" }));
        var filled = await server.Client.GetPromptAsync("answer-with-memory", new Dictionary<string, object?> { ["question"] = "Who has the key? ${arguments.scope}", ["Scope"] = "boat" });
        var text = ((TextContentBlock)filled.Messages.Single().Content).Text;
        Assert.That(text, Does.StartWith("Answer this question: Who has the key? ${arguments.scope}\n").And.Contain("\"boat\" as scope").And.Contain("recall-context"));
        Assert.That(async () => await server.Client.GetPromptAsync("compare-models"), Throws.InstanceOf<McpProtocolException>().With.Message.Contains("task must be"));
    }

    [Test]
    public async Task ListsAndReadsSayHowLongTheyHold()
    {
        await using var server = await StartAsync();
        var tools = await server.Client.ListToolsAsync(new ListToolsRequestParams());
        Assert.That((tools.TimeToLive, tools.CacheScope), Is.EqualTo(((TimeSpan?)TimeSpan.FromHours(1), (CacheScope?)CacheScope.Private)));
        var resources = await server.Client.ListResourcesAsync(new ListResourcesRequestParams());
        Assert.That(resources.TimeToLive, Is.EqualTo(TimeSpan.FromMinutes(1)));
        var metrics = await server.Client.ReadResourceAsync("metrics://now");
        Assert.That(metrics.TimeToLive, Is.EqualTo(TimeSpan.Zero));
    }

    private Task<InProcessServer> StartAsync(string tenant = "ann") => InProcessServer.StartAsync(era, s => s with
    {
        Models = s.Models with { Folders = [_models] },
        Memory = s.Memory with { Store = $"sqlite:{Path.Combine(_folder, "memory.db")}", Tenant = tenant },
    });

    // The newer era tells only those who listen, and says when it has begun.
    private static async Task<IAsyncDisposable> ListenAsync(InProcessServer server)
    {
        var begun = new TaskCompletionSource();
        var acknowledged = server.Client.RegisterNotificationHandler(NotificationMethods.SubscriptionsAcknowledgedNotification, (_, _) =>
        {
            begun.TrySetResult();
            return ValueTask.CompletedTask;
        });
        var wanted = new SubscriptionsListenRequestParams { Notifications = new() { ResourcesListChanged = true } };
        _ = server.Client.SendRequestAsync<SubscriptionsListenRequestParams, EmptyResult>(RequestMethods.SubscriptionsListen, wanted).AsTask();
        await begun.Task.WaitAsync(TimeSpan.FromMinutes(1));
        return acknowledged;
    }

    private static async Task<JsonElement> ReadAsync(InProcessServer server, string uri)
    {
        var contents = (TextResourceContents)(await server.Client.ReadResourceAsync(uri)).Contents.Single();
        Assert.That((contents.Uri, contents.MimeType), Is.EqualTo((uri, "application/json")));
        return JsonDocument.Parse(contents.Text).RootElement;
    }

    private static async Task<IEnumerable<string>> TemplatesAsync(InProcessServer server) =>
        (await server.Client.ListResourceTemplatesAsync()).Select(t => t.UriTemplate);

    private static async Task<IList<string>> CompleteAsync(InProcessServer server, Reference reference, string argument, string typed) =>
        (await server.Client.CompleteAsync(reference, argument, typed)).Completion.Values;
}
