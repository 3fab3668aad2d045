using System.Collections.Concurrent;
using System.Text.Json;
using ModelContextProtocol;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>What a client sees, in both eras of the protocol.</summary>
[TestFixture("2025-11-25")]
[TestFixture("2026-07-28")]
public sealed class ToolTests(string era)
{
    /// <summary>Names of all tools, in the order of the list.</summary>
    public static readonly string[] Tools = ["generate", "model-select", "recall-context", "store-context", "forget-context", "share-context"];

    private InProcessServer _server = null!;

    [OneTimeSetUp]
    public async Task Start() => _server = await InProcessServer.StartAsync(era);

    [OneTimeTearDown]
    public async Task Stop() => await _server.DisposeAsync();

    [Test]
    public async Task ToolsAreListedWithWhatHostsShow()
    {
        Assert.That(_server.Client.NegotiatedProtocolVersion, Is.EqualTo(era));
        Assert.That(_server.Client.ServerInfo?.Name, Is.EqualTo("ryzenllm"));
        Assert.That(_server.Client.ServerInstructions, Has.Length.LessThan(2048), "hosts cut longer ones");
        Assert.That(_server.Client.ServerInstructions, Does.Contain("generate").And.Contain("model-select").And.Contain("recall-context").And.Contain("store-context"));
        var tools = await _server.Client.ListToolsAsync();
        Assert.That(tools.Select(t => t.Name), Is.EqualTo(Tools));
        foreach (var tool in tools.Select(t => t.ProtocolTool))
        {
            Assert.That(tool.Title, Is.Not.Empty);
            Assert.That(tool.Description, Has.Length.InRange(20, 2048), "hosts cut longer ones");
            Assert.That(tool.Annotations?.DestructiveHint, Is.EqualTo(tool.Name == "forget-context"), tool.Name);
            Assert.That(tool.Annotations?.OpenWorldHint, Is.False);
            Assert.That(tool.OutputSchema?.GetProperty("type").GetString(), Is.EqualTo("object"));
        }
    }

    [Test]
    public async Task SchemasAreFlatAndOfSingleTypes()
    {
        foreach (var tool in await _server.Client.ListToolsAsync())
        {
            AssertPlain(tool.ProtocolTool.InputSchema, tool.Name);
            AssertPlain(tool.ProtocolTool.OutputSchema!.Value, tool.Name);
            foreach (var argument in tool.ProtocolTool.InputSchema.GetProperty("properties").EnumerateObject())
            {
                Assert.That(argument.Name, Does.Match("^[a-z_]+$"));
                Assert.That(argument.Value.GetProperty("type").GetString(), Is.Not.EqualTo("object"), argument.Name);
                Assert.That(argument.Value.GetProperty("description").GetString(), Is.Not.Empty, argument.Name);
            }
        }
    }

    [Test]
    public async Task GenerateGivesTheTextInBothFormsAndTheSameOneAgain()
    {
        var arguments = Arguments(("prompt", "The state of the machine"), ("max_tokens", 20), ("seed", 4));
        var first = await _server.Client.CallToolAsync("generate", arguments);
        var second = await _server.Client.CallToolAsync("generate", arguments);
        Assert.That(first.IsError, Is.Not.True, Text(first));
        var content = first.StructuredContent!.Value;
        Assert.That(content.GetProperty("text").GetString(), Is.EqualTo(Text(first)).And.Not.Empty);
        Assert.That(content.GetProperty("model").GetString(), Is.EqualTo("mamba-f32"));
        Assert.That(content.GetProperty("stop_reason").GetString(), Is.EqualTo("length"));
        Assert.That(content.GetProperty("completion_tokens").GetInt32(), Is.EqualTo(20));
        Assert.That(Text(second), Is.EqualTo(Text(first)));
        await AssertFollowsOutputSchema("generate", first);
    }

    [Test]
    public async Task OtherSpellingsOfNamesAreUnderstood()
    {
        var expected = await _server.Client.CallToolAsync("generate", Arguments(("prompt", "The"), ("max_tokens", 5), ("top_k", 3)));
        var camel = await _server.Client.CallToolAsync("Generate", Arguments(("prompt", "The"), ("maxTokens", "5"), ("topK", 3.0)));
        Assert.That(Text(camel), Is.EqualTo(Text(expected)));
        foreach (var name in new[] { "model_select", "modelSelect" })
        {
            var result = await _server.Client.CallToolAsync(name, Arguments(("action", "LIST"), ("model", null)));
            Assert.That(Text(result), Does.Contain("mamba-f32 (default)"), name);
        }
    }

    [TestCase("generate", "{}", "prompt is missing")]
    [TestCase("generate", """{"prompt":""}""", "prompt is missing: it must be a text of at least 1")]
    [TestCase("generate", """{"prompt":"x","temprature":1}""", "no argument 'temprature'; arguments are: prompt, model")]
    [TestCase("generate", """{"prompt":"x","temperature":11,"top_p":"high"}""", "temperature is 11 but must be a number from 0 to 10. top_p is \"high\"")]
    [TestCase("generate", """{"prompt":"x","max_tokens":1.5}""", "max_tokens is 1.5 but must be a whole number")]
    [TestCase("generate", """{"prompt":"x","stop":[""]}""", "stop is [\"\"] but must be a list")]
    [TestCase("generate", """{"prompt":"x","template":"alpaca"}""", "template is \"alpaca\" but must be one of: auto, plain")]
    [TestCase("generate", """{"prompt":"x","top_k":1,"topK":2}""", "top_k is given twice")]
    [TestCase("generate", """{"prompt":"x","model":"gpt-9"}""", "no model named 'gpt-9'. Models found: bitnet")]
    [TestCase("generate", """{"prompt":"x","model":"rwkv4-random"}""", "no vocabulary")]
    [TestCase("model-select", """{"action":"choose"}""", "model is missing")]
    [TestCase("model-select", """{"action":"choose","model":"nope"}""", "no model named 'nope'")]
    [TestCase("model-select", """{"action":"delete"}""", "one of: list, inspect, choose")]
    [TestCase("recall-context", "{}", "query is missing")]
    [TestCase("recall-context", """{"query":"x","budget":3}""", "budget is 3 but must be a whole number from 16 to 4000")]
    [TestCase("recall-context", """{"query":"x","since":"yesterday"}""", "since is \"yesterday\" but must be a date such as 2026-03-31")]
    [TestCase("recall-context", """{"query":"x","tenant":"other"}""", "no argument 'tenant'")]
    [TestCase("store-context", "{}", "text is missing: give the text to keep, or turns")]
    [TestCase("store-context", """{"text":"a","turns":["b"]}""", "Give text or turns, not both")]
    [TestCase("store-context", """{"turns":[{"role":"user"}]}""", "must be a list of at most 1000 turns")]
    [TestCase("store-context", """{"text":"a","supersedes":"zz"}""", "'zz' is no id of a unit")]
    [TestCase("forget-context", "{}", "Say what to forget")]
    [TestCase("share-context", "{}", "Say which units")]
    [TestCase("forget-context", """{"everything":true,"session":"s"}""", "not both")]
    [TestCase("forget-context", """{"ids":["0123456"]}""", "There is no unit 0123456")]
    [TestCase("generate", """{"prompt":"x","memory":1}""", "memory is 1 but must be off, true, or the name of a scope")]
    public async Task WrongArgumentsAreAnsweredWithWhatToChange(string tool, string arguments, string message)
    {
        var result = await _server.Client.CallToolAsync(tool, JsonSerializer.Deserialize<Dictionary<string, object?>>(arguments));
        Assert.That(result.IsError, Is.True);
        Assert.That(Text(result), Does.Contain(message));
    }

    [Test]
    public void AnUnknownToolIsAProtocolError() =>
        Assert.That(
            async () => await _server.Client.CallToolAsync("translate"),
            Throws.InstanceOf<McpProtocolException>().With.Property("ErrorCode").EqualTo(McpErrorCode.InvalidParams));

    [Test]
    public async Task ProgressIsReportedAndEndsBeforeTheResult()
    {
        var progress = new RecordedProgress();
        var result = await _server.Client.CallToolAsync(
            "generate", Arguments(("prompt", "The wheel"), ("model", Repository.EndlessModel), ("max_tokens", 1500)), progress);
        Assert.That(result.IsError, Is.Not.True, Text(result));
        var values = progress.Values.ToList();
        Assert.That(values, Is.Not.Empty);
        Assert.That(values.Select(v => v.Progress), Is.Unique);
        Assert.That(values.Select(v => v.Total), Is.All.EqualTo(1500));
        Assert.That(values.Any(v => v.Message!.Contains("tokens")), Is.True);
        await _server.Client.CallToolAsync("model-select", Arguments());
        Assert.That(progress.Values, Has.Count.EqualTo(values.Count), "nothing after the result");
    }

    [Test]
    public async Task TheDeadlineGivesWhatThereIs()
    {
        var result = await _server.Client.CallToolAsync(
            "generate", Arguments(("prompt", "The wheel"), ("model", Repository.EndlessModel), ("max_tokens", 1_000_000), ("deadline_seconds", 0.5)));
        Assert.That(result.IsError, Is.Not.True);
        Assert.That(result.StructuredContent!.Value.GetProperty("stop_reason").GetString(), Is.EqualTo("deadline"));
        await AssertFollowsOutputSchema("generate", result);
    }

    [Test]
    public async Task ModelsAreListedInspectedAndChosen()
    {
        await using var server = await InProcessServer.StartAsync(era);
        var list = await server.Client.CallToolAsync("model-select");
        Assert.That(list.StructuredContent!.Value.GetProperty("default").GetString(), Is.EqualTo("mamba-f32"));
        Assert.That(list.StructuredContent.Value.GetProperty("models").GetArrayLength(), Is.EqualTo(Directory.GetFiles(Repository.Models, "*", SearchOption.AllDirectories).Count(f => Path.GetExtension(f) is ".gguf" or ".safetensors")));
        await AssertFollowsOutputSchema("model-select", list);

        var inspected = await server.Client.CallToolAsync("model-select", Arguments(("action", "inspect"), ("model", "rwkv7-f32")));
        var model = inspected.StructuredContent!.Value.GetProperty("models")[0];
        Assert.That(model.GetProperty("architecture").GetString(), Is.EqualTo("rwkv7"));
        Assert.That(model.GetProperty("parameters").GetInt64(), Is.GreaterThan(100_000));

        var chosen = await server.Client.CallToolAsync("model-select", Arguments(("action", "choose"), ("model", "rwkv7-f32")));
        Assert.That(Text(chosen), Does.Contain("Default model is now rwkv7-f32"));
        var generated = await server.Client.CallToolAsync("generate", Arguments(("prompt", "The"), ("max_tokens", 3)));
        Assert.That(generated.StructuredContent!.Value.GetProperty("model").GetString(), Is.EqualTo("rwkv7-f32"));
    }

    [Test]
    public async Task NothingIsLoadedBeforeItIsNeeded()
    {
        var broken = Path.Combine(TestContext.CurrentContext.WorkDirectory, $"broken-{era}.gguf");
        await File.WriteAllTextAsync(broken, "not a model");
        await using var server = await InProcessServer.StartAsync(era, s => s with { Models = s.Models with { Default = broken } });
        Assert.That(await server.Client.ListToolsAsync(), Has.Count.EqualTo(Tools.Length));
        var result = await server.Client.CallToolAsync("generate", Arguments(("prompt", "x")));
        Assert.That(result.IsError, Is.True);
        Assert.That(Text(result), Does.Contain(broken));
        var other = await server.Client.CallToolAsync("generate", Arguments(("prompt", "The"), ("model", "mamba-f32"), ("max_tokens", 1)));
        Assert.That(other.IsError, Is.Not.True, Text(other));
    }

    private async Task AssertFollowsOutputSchema(string tool, CallToolResult result)
    {
        var tools = await _server.Client.ListToolsAsync();
        AssertFollows(tools.Single(t => t.Name == tool).ProtocolTool.OutputSchema!.Value, result.StructuredContent!.Value, tool);
    }

    // The part of JSON Schema that the tools use: types, properties, required, items.
    private static void AssertFollows(JsonElement schema, JsonElement value, string path)
    {
        var type = schema.GetProperty("type").GetString();
        var kinds = type switch
        {
            "object" => [JsonValueKind.Object],
            "array" => [JsonValueKind.Array],
            "string" => [JsonValueKind.String],
            "boolean" => [JsonValueKind.True, JsonValueKind.False],
            "integer" or "number" => new[] { JsonValueKind.Number },
            _ => throw new AssertionException($"{path} has type {type}"),
        };
        Assert.That(kinds, Does.Contain(value.ValueKind), path);
        if (type == "object")
        {
            foreach (var required in schema.GetProperty("required").EnumerateArray())
            {
                Assert.That(value.TryGetProperty(required.GetString()!, out _), Is.True, $"{path}.{required} is required");
            }

            foreach (var member in value.EnumerateObject())
            {
                Assert.That(schema.GetProperty("properties").TryGetProperty(member.Name, out var declared), Is.True, $"{path}.{member.Name} is declared");
                AssertFollows(declared, member.Value, $"{path}.{member.Name}");
            }
        }
        else if (type == "array")
        {
            foreach (var item in value.EnumerateArray())
            {
                AssertFollows(schema.GetProperty("items"), item, $"{path}[]");
            }
        }
    }

    private static void AssertPlain(JsonElement schema, string path)
    {
        switch (schema.ValueKind)
        {
            case JsonValueKind.Object:
                foreach (var member in schema.EnumerateObject())
                {
                    var where = $"{path}.{member.Name}";
                    if (member.Name == "type" && member.Value.ValueKind != JsonValueKind.Object)
                    {
                        Assert.That(member.Value.ValueKind, Is.EqualTo(JsonValueKind.String), where);
                    }
                    else if (member.Name is "properties")
                    {
                        foreach (var property in member.Value.EnumerateObject())
                        {
                            Assert.That(property.Value.ValueKind, Is.EqualTo(JsonValueKind.Object), $"{where}.{property.Name}");
                        }
                    }

                    AssertPlain(member.Value, where);
                }

                break;
            case JsonValueKind.Array:
                foreach (var item in schema.EnumerateArray())
                {
                    AssertPlain(item, path);
                }

                break;
        }
    }

    private static string Text(CallToolResult result) => string.Concat(result.Content.OfType<TextContentBlock>().Select(block => block.Text));

    private static Dictionary<string, object?> Arguments(params (string Name, object? Value)[] arguments) => arguments.ToDictionary(a => a.Name, a => a.Value);

    private sealed class RecordedProgress : IProgress<ProgressNotificationValue>
    {
        public ConcurrentQueue<ProgressNotificationValue> Values { get; } = [];

        public void Report(ProgressNotificationValue value) => Values.Enqueue(value);
    }
}
