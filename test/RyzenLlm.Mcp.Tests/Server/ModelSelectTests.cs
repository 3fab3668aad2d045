using System.Text.Json;
using ModelContextProtocol.Protocol;
using RyzenLlm.Engine.Profiles;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>Choosing a model through the tools, from profiles made up for the test.</summary>
public sealed class ModelSelectTests
{
    private InProcessServer _server = null!;
    private AppSettings _settings = null!;

    [SetUp]
    public async Task StartAsync()
    {
        var folder = Repository.Scratch("profiles");
        _server = await InProcessServer.StartAsync("2025-11-25", s => _settings = s with { Models = s.Models with { ProfileFolder = folder } });
        var library = new ModelLibrary(_settings.Models, [Repository.Models]);
        var store = new ProfileStore(_settings);
        store.Save(library.Resolve("mamba-f32"), Profile("mamba-f32", bits: 1.5, rate: 1000, recurrent: true));
        store.Save(library.Resolve("bitnet-b158-tq2_0"), Profile("bitnet-b158-tq2_0", bits: 1.45, rate: 100, recurrent: false));
    }

    [TearDown]
    public async Task StopAsync() => await _server.DisposeAsync();

    [Test]
    public async Task AListShowsWhatWasMeasured()
    {
        var models = (await CallAsync("model-select")).GetProperty("models").EnumerateArray().ToDictionary(m => m.GetProperty("name").GetString()!);
        Assert.That(models["mamba-f32"].GetProperty("measured").GetProperty("prompt_tokens_per_second").GetDouble(), Is.EqualTo(1000).Within(1));
        Assert.That(models["mamba-f32"].GetProperty("measured").GetProperty("bits_per_byte").GetDouble(), Is.EqualTo(1.5));
        Assert.That(models.Values.Count(m => m.TryGetProperty("measured", out _)), Is.EqualTo(2));
    }

    [Test]
    public async Task ARecommendationFollowsTheRequestAndGivesNumbers()
    {
        var relaxed = await CallAsync("model-select", ("action", "recommend"), ("answer_tokens", 20), ("latency_target_seconds", 60));
        Assert.That(relaxed.GetProperty("recommended").GetString(), Is.EqualTo("bitnet-b158-tq2_0"));
        Assert.That(relaxed.GetProperty("reason").GetString(), Does.Match(@"^bitnet-b158-tq2_0: [\d.]+ s expected for 200 prompt and 20 answer tokens .* next mamba-f32"));
        Assert.That(relaxed.GetProperty("front").GetArrayLength(), Is.EqualTo(2));
        Assert.That(relaxed.GetProperty("unmeasured").EnumerateArray().Select(e => e.GetString()), Does.Not.Contain("mamba-f32").And.Contains("rwkv7-f32"));
        var tight = await CallAsync("model-select", ("action", "recommend"), ("answer_tokens", 200), ("latency_target_seconds", 1));
        Assert.That(tight.GetProperty("recommended").GetString(), Is.EqualTo("mamba-f32"));
        var floor = await CallAsync("model-select", ("action", "recommend"), ("most_bits_per_byte", 1));
        Assert.That(floor.TryGetProperty("recommended", out _), Is.False);
        Assert.That(floor.GetProperty("ruled_out").GetArrayLength(), Is.EqualTo(2));
        var drafting = await CallAsync("model-select", ("action", "recommend"), ("draft_for", "bitnet-b158-tq2_0"));
        Assert.That(drafting.GetProperty("ruled_out").EnumerateArray().Single().GetProperty("why").GetString(), Is.EqualTo("it has another vocabulary"));
    }

    [Test]
    public async Task FeedbackShiftsTheChoiceForItsTaskUntilReset()
    {
        const string Best = "bitnet-b158-tq2_0", Other = "mamba-f32";
        Assert.That(await RecommendedAsync("chat"), Is.EqualTo(Best));
        for (var i = 1; i <= 3; i++)
        {
            var noted = await CallAsync("model-select", ("action", "feedback"), ("model", Best), ("task", "Chat"), ("outcome", "bad"));
            Assert.That(noted.GetProperty("bad").GetInt64(), Is.EqualTo(i));
        }

        Assert.That(await RecommendedAsync("chat"), Is.EqualTo(Other));
        Assert.That(await RecommendedAsync("code"), Is.EqualTo(Best), "another task");
        var generated = await CallAsync("generate", ("prompt", "The wheel"), ("max_tokens", 4), ("model", "auto"), ("task", "chat"), ("latency_target_seconds", 60));
        Assert.That(generated.GetProperty("model").GetString(), Is.EqualTo(Other));
        Assert.That((await CallAsync("model-select", ("action", "reset_feedback"))).GetProperty("forgotten").GetInt32(), Is.EqualTo(1));
        Assert.That(await RecommendedAsync("chat"), Is.EqualTo(Best));

        async Task<string?> RecommendedAsync(string task) => (await CallAsync(
            "model-select", ("action", "recommend"), ("answer_tokens", 20), ("latency_target_seconds", 60), ("task", task))).GetProperty("recommended").GetString();
    }

    [Test]
    public async Task GenerateWithAutoSaysWhy()
    {
        var generated = await CallAsync("generate", ("prompt", "The wheel"), ("max_tokens", 4), ("model", "auto"), ("latency_target_seconds", 60));
        Assert.That(generated.GetProperty("model").GetString(), Is.EqualTo("bitnet-b158-tq2_0"));
        Assert.That(generated.GetProperty("model_reason").GetString(), Does.StartWith("bitnet-b158-tq2_0: ").And.Contain("4 answer tokens"));
        var named = await CallAsync("generate", ("prompt", "The wheel"), ("max_tokens", 4));
        Assert.That(named.TryGetProperty("model_reason", out _), Is.False);
    }

    [TestCase("4GB")]
    [TestCase("0")]
    public async Task AutoWeighsWhatWasSaidBeforeInTheSession(string disk)
    {
        await StopAsync();
        _server = await InProcessServer.StartAsync("2025-11-25", s => _settings = s with
        {
            Models = _settings.Models,
            States = new() { Disk = disk, Folder = Repository.Scratch("states") },
        });
        var before = string.Join(' ', Enumerable.Repeat("The wheel turns.", 60));
        await CallAsync("generate", ("prompt", before), ("max_tokens", 4), ("model", "mamba-f32"), ("session", "talk"));
        Assert.That(await PromptTokensAsync("talk"), Is.GreaterThan(200), "4 bytes each, as the profiles say");
        Assert.That(await PromptTokensAsync("another"), Is.LessThan(20));

        async Task<int> PromptTokensAsync(string session)
        {
            var generated = await CallAsync("generate", ("prompt", "On."), ("max_tokens", 4), ("model", "auto"), ("session", session), ("latency_target_seconds", 600));
            return int.Parse(System.Text.RegularExpressions.Regex.Match(generated.GetProperty("model_reason").GetString()!, "for ([0-9]+) prompt").Groups[1].Value);
        }
    }

    [Test]
    public async Task WithoutAnyProfileAutoIsTheDefaultAndSaysSo()
    {
        await using var server = await InProcessServer.StartAsync("2025-11-25");
        var result = await server.Client.CallToolAsync("generate", new Dictionary<string, object?> { ["prompt"] = "The wheel", ["max_tokens"] = 4, ["model"] = "auto" });
        Assert.That(result.StructuredContent!.Value.GetProperty("model").GetString(), Is.EqualTo("mamba-f32"));
        Assert.That(result.StructuredContent!.Value.GetProperty("model_reason").GetString(), Does.Contain("no model has been measured").And.Contain("models profile"));
    }

    [TestCase("feedback without outcome", "outcome is missing")]
    [TestCase("feedback without model", "model is missing")]
    [TestCase("feedback for an unknown model", "There is no model named 'nobody'")]
    [TestCase("a task that is none", "such as summarise")]
    [TestCase("a draft for what was not measured", "has not been measured yet")]
    public async Task WhatCannotBeDoneIsSaidAtOnce(string what, string message)
    {
        (string, object?)[] arguments = what switch
        {
            "feedback without outcome" => [("action", "feedback"), ("model", "mamba-f32")],
            "feedback without model" => [("action", "feedback"), ("outcome", "good")],
            "feedback for an unknown model" => [("action", "feedback"), ("outcome", "good"), ("model", "nobody")],
            "a task that is none" => [("action", "recommend"), ("task", "../x")],
            _ => [("action", "recommend"), ("draft_for", "rwkv7-f32")],
        };
        var result = await _server.Client.CallToolAsync("model-select", arguments.ToDictionary(a => a.Item1, a => a.Item2));
        Assert.That(result.IsError, Is.True);
        Assert.That(result.Content.OfType<TextContentBlock>().Single().Text, Does.Contain(message));
    }

    private async Task<JsonElement> CallAsync(string tool, params (string Name, object? Value)[] arguments)
    {
        var result = await _server.Client.CallToolAsync(tool, arguments.ToDictionary(a => a.Name, a => a.Value));
        Assert.That(result.IsError, Is.Not.True, result.Content.OfType<TextContentBlock>().FirstOrDefault()?.Text);
        return result.StructuredContent!.Value;
    }

    private static ModelProfile Profile(string name, double bits, double rate, bool recurrent) => new()
    {
        Model = name,
        Architecture = recurrent ? "mamba" : "bitnet",
        IsRecurrent = recurrent,
        ContextLength = 4096,
        Vocabulary = name,
        BytesPerToken = 4,
        BitsPerByte = bits,
        Prompt = [new(256, 256 / rate)],
        Decode = [new(64, 10 / rate)],
        MemoryBytes = 1000,
    };
}
