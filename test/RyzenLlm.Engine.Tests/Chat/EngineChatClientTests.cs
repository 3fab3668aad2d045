using System.Text.Json;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using RyzenLlm.Engine.Chat;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Samples;

namespace RyzenLlm.Engine.Tests.Chat;

public sealed class EngineChatClientTests
{
    private static readonly ChatOptions Short = new() { MaxOutputTokens = 16, Seed = 5, Temperature = 0.9f };

    private Scheduler _scheduler = null!;
    private EngineChatClient _client = null!;

    [OneTimeSetUp]
    public void Load()
    {
        _scheduler = new(ModelLoader.Load(Tales, new() { Threads = 1 }));
        _client = new(_scheduler);
    }

    [OneTimeTearDown]
    public void Unload()
    {
        _client.Dispose();
        _scheduler.Dispose();
    }

    [Test]
    public async Task AnswersLikeTheEngineWithTheSameOptions()
    {
        var direct = await _scheduler.GenerateAsync(new GenerationRequest
        {
            Turns = [new("system", "Be brief."), new("user", "Once upon a time")],
            MaxTokens = 16,
            Sampling = new SamplingOptions { Temperature = 0.9f, Seed = 5 },
        });
        var response = await _client.GetResponseAsync([new(ChatRole.System, "Be brief."), new(ChatRole.User, "Once upon a time")], Short);
        Assert.That(response.Text, Is.EqualTo(direct.Text));
        Assert.That(response.Usage!.InputTokenCount, Is.EqualTo(direct.PromptTokens));
        Assert.That(response.Usage.OutputTokenCount, Is.EqualTo(16));
        Assert.That(response.FinishReason, Is.EqualTo(ChatFinishReason.Length));
        Assert.That(response.ModelId, Is.EqualTo(_scheduler.Model.Info.Name));
    }

    [Test]
    public async Task StreamedUpdatesMakeUpTheSameAnswer()
    {
        var whole = await _client.GetResponseAsync("Once upon a time", Short);
        var updates = await _client.GetStreamingResponseAsync("Once upon a time", Short).ToListAsync();
        Assert.That(string.Concat(updates.Select(u => u.Text)), Is.EqualTo(whole.Text));
        Assert.That(updates.Count(u => u.Text.Length > 0), Is.GreaterThan(5), "it did not stream");
    }

    [Test]
    public async Task EveryOptionReachesTheEngine()
    {
        var plain = (await _client.GetResponseAsync("Once upon a time", Short)).Text;
        ChatOptions[] changed =
        [
            With(o => o.Seed = 6), With(o => o.TopK = 1), With(o => o.TopP = 0.01f), With(o => o.Temperature = 0), With(o => o.MaxOutputTokens = 3),
            With(o => o.StopSequences = [plain[3..5]]), With(o => o.Instructions = "Speak of bears."), With(o => o.FrequencyPenalty = 2), With(o => o.PresencePenalty = 2),
            With(o => o.RawRepresentationFactory = _ => new GenerationRequest { Turns = [], Sampling = new SamplingOptions { RepetitionPenalty = 5 } }),
        ];
        foreach (var options in changed)
        {
            Assert.That((await _client.GetResponseAsync("Once upon a time", options)).Text, Is.Not.EqualTo(plain));
        }

        static ChatOptions With(Action<ChatOptions> change)
        {
            var options = Short.Clone();
            options.MaxOutputTokens = 60;
            change(options);
            return options;
        }
    }

    [Test]
    public async Task JsonSchemaIsHeld()
    {
        var schema = JsonElement.Parse("""{"type":"object","properties":{"n":{"type":"integer","minimum":1,"maximum":9},"who":{"enum":["fox","crow"]}},"required":["n","who"],"additionalProperties":false}""");
        var response = await _client.GetResponseAsync("Who?", new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(schema), MaxOutputTokens = 60 });
        var answer = JsonElement.Parse(response.Text);
        Assert.That(answer.GetProperty("n").GetInt32(), Is.InRange(1, 9));
        Assert.That(answer.GetProperty("who").GetString(), Is.EqualTo("fox").Or.EqualTo("crow"));
        Assert.That(JsonElement.Parse((await _client.GetResponseAsync("Who?", new ChatOptions { ResponseFormat = ChatResponseFormat.Json, MaxOutputTokens = 60 })).Text).ValueKind, Is.EqualTo(JsonValueKind.Object));
    }

    [Test]
    public async Task ARequiredCallIsACallOfThatFunctionWithItsArguments()
    {
        var options = new ChatOptions
        {
            Tools = [AIFunctionFactory.Create((bool loud) => loud, "sing"), AIFunctionFactory.Create((FunctionCalling.Animal animal) => animal, "feed")],
            ToolMode = ChatToolMode.RequireSpecific("feed"),
            MaxOutputTokens = 60,
        };
        var response = await _client.GetResponseAsync("Do something.", options);
        var call = response.Messages.SelectMany(m => m.Contents).OfType<FunctionCallContent>().Single();
        Assert.That(call.Name, Is.EqualTo("feed"));
        Assert.That(Enum.TryParse<FunctionCalling.Animal>($"{call.Arguments!["animal"]}", out _), $"{call.Arguments["animal"]}");
        Assert.That(response.FinishReason, Is.EqualTo(ChatFinishReason.ToolCalls));
    }

    [Test]
    public async Task ListenersWhoLeaveEndTheGeneration()
    {
        var options = new ChatOptions { MaxOutputTokens = 1_000_000 };
        await foreach (var update in _client.GetStreamingResponseAsync("Once upon a time", options))
        {
            if (update.Text.Length > 0)
            {
                break; // a million tokens would take longer than this suite may
            }
        }

        using var cancel = new CancellationTokenSource();
        await cancel.CancelAsync();
        Assert.That(async () => await _client.GetResponseAsync("Once", options, cancel.Token), Throws.InstanceOf<OperationCanceledException>());
    }

    [Test]
    public void WhatCannotBeServedIsRefusedWithTheReason()
    {
        Assert.That(() => _client.GetResponseAsync([]), Throws.ArgumentException.With.Message.Contains("no messages"));
        Assert.That(() => _client.GetResponseAsync("x", new ChatOptions { ModelId = "gpt" }), Throws.ArgumentException.With.Message.Contains("gpt"));
        Assert.That(() => _client.GetResponseAsync(new ChatMessage(ChatRole.User, [new DataContent("data:image/png;base64,AA==")])), Throws.ArgumentException.With.Message.Contains("DataContent"));
        Assert.That(() => _client.GetResponseAsync("x", new ChatOptions { ToolMode = ChatToolMode.RequireSpecific("none") }), Throws.ArgumentException.With.Message.Contains("none"));
        Assert.That(() => _client.GetResponseAsync("x", new ChatOptions { Temperature = -1 }), Throws.InstanceOf<ArgumentException>());
    }

    [Test]
    public async Task ServicesOfAHostShareOneModelAndUnloadIt()
    {
        Scheduler scheduler;
        await using (var host = new ServiceCollection().AddRyzenLlm(Tales).AddRyzenLlm(Tales, new() { Threads = 1 }, key: "second").BuildServiceProvider())
        {
            scheduler = host.GetRequiredService<Scheduler>();
            Assert.That(host.GetRequiredService<IChatClient>().GetService<Scheduler>(), Is.SameAs(scheduler));
            Assert.That(host.GetRequiredKeyedService<IChatClient>("second").GetService<Scheduler>(), Is.Not.SameAs(scheduler));
            Assert.That((await host.GetRequiredService<IChatClient>().GetResponseAsync("Once", Short)).Text, Is.Not.Empty);
        }

        Assert.That(() => scheduler.GenerateAsync(new GenerationRequest { Turns = [new("user", "x")] }), Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public async Task SampleOfFunctionCallingCallsItsFunctionAndAnswers()
    {
        var output = new StringWriter();
        var messages = await FunctionCalling.RunAsync(_client, output);
        var contents = messages.SelectMany(m => m.Contents).ToList();
        var call = contents.OfType<FunctionCallContent>().Single();
        var result = contents.OfType<FunctionResultContent>().Single();
        Assert.That(result.CallId, Is.EqualTo(call.CallId));
        Assert.That($"{result.Result}", Does.StartWith("The "));
        Assert.That(messages[^1].Text, Is.Not.Empty);
        Assert.That($"{output}", Does.Contain("call:   describe_animal("));
    }

    [Test]
    public async Task SampleOfSemanticKernelUsesItsPlugin()
    {
        var output = new StringWriter();
        var history = await KernelAgent.RunAsync(_client, output);
        Assert.That($"{output}", Does.Contain("call:  look("));
        Assert.That(history.Select(m => m.Role.Label), Is.EqualTo(new[] { "system", "user", "assistant", "tool", "assistant", "user", "assistant" }));
        Assert.That(history[^1].Content, Is.Not.Empty);
    }

    private static string Tales => Fixtures.File("../../models/tales-mamba/model.gguf");
}
