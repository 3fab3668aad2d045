using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;
using RyzenLlm.Engine.Tests.Decoding;
using RyzenLlm.Engine.Tests.Files;
using RyzenLlm.Engine.Tests.Models;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Tests.Reuse;

/// <summary>Requests over kept states: the same texts as without, alone, together and after a restart, and none that would not fit.</summary>
public sealed class ReuseSchedulerTests
{
    private static readonly string[] Models = ["bitnet-b158-tq2_0", "mamba-f32", "rwkv6-q8_0", "rwkv7-f32"];

    private static readonly GenerationRequest Question = new()
    {
        Turns = [new("system", "You are a helpful machine that says little and thinks a lot."), new("user", "What is the state?")],
        MaxTokens = 12,
        Sampling = new SamplingOptions { Seed = 5, Temperature = 1 },
        Tenant = "ann",
    };

    [Test]
    public async Task AConversationSaysTheSameAndCostsItsNewTokens([ValueSource(nameof(Models))] string model, [Values] bool restart, [Values(SpeculationMode.Off, SpeculationMode.Auto)] SpeculationMode mode)
    {
        using var folder = new TemporaryFolder();
        using var files = new StateFolder(folder.Path("states"), 1 << 30);
        using var plain = Open(model, null);
        var scheduler = Open(model, files);
        var request = Question with { Reuse = StateReuse.Disk, Speculation = mode };
        for (var turn = 0; turn < 5; turn++)
        {
            var result = await scheduler.GenerateAsync(request);
            var expected = await plain.GenerateAsync(request with { Reuse = StateReuse.Off });

            Assert.That(result.Text, Is.EqualTo(expected.Text), $"turn {turn}");
            Assert.That(result.Tokens, Is.EqualTo(expected.Tokens));
            Assert.That(expected.ReusedTokens, Is.Zero);
            Assert.That(result.ReusedTokens, turn == 0 ? Is.Zero : Is.GreaterThanOrEqualTo(request.Said.Length - Question.MaxTokens - 2), $"turn {turn} of {result.PromptTokens}");
            request = request with { Turns = [.. request.Turns, new("assistant", result.Text), new("user", $"And turn {turn}?")], Said = result.Tokens };
            if (restart)
            {
                scheduler.Dispose();
                scheduler = Open(model, files);
            }
        }

        scheduler.Dispose();
    }

    [Test]
    public async Task ManyAtOnceSayWhatEachSaysAlone([ValueSource(nameof(Models))] string model)
    {
        using var plain = Open(model, null);
        using var scheduler = Open(model, null, new(Shortest: 4));
        var requests = Enumerable.Range(0, 16).Select(i => Question with
        {
            Turns = [Question.Turns[0], new("user", $"Question {i % 5} of many?")],
            Tenant = i % 3 == 0 ? "ann" : "bob",
            Sampling = Question.Sampling with { Seed = (ulong)i },
        }).ToList();
        for (var round = 0; round < 2; round++)
        {
            var results = await Task.WhenAll(requests.Select(r => scheduler.GenerateAsync(r)));
            for (var i = 0; i < results.Length; i++)
            {
                Assert.That(results[i].Text, Is.EqualTo((await plain.GenerateAsync(requests[i] with { Reuse = StateReuse.Off })).Text), $"round {round}, request {i}");
                Assert.That(results[i].ReusedTokens, round == 0 ? Is.LessThan(results[i].PromptTokens) : Is.EqualTo(results[i].PromptTokens - 1));
            }
        }
    }

    [Test]
    public async Task TheInstructionIsReadOnceForAllWhoShareIt([ValueSource(nameof(Models))] string model)
    {
        using var scheduler = Open(model, null, new(Shortest: 4));
        var first = await scheduler.GenerateAsync(Question);
        var second = await scheduler.GenerateAsync(Question with { Turns = [Question.Turns[0], new("user", "Something else?")] });
        var stranger = await scheduler.GenerateAsync(Question with { Tenant = "bob" });
        Assert.That(first.ReusedTokens, Is.Zero);
        Assert.That(second.ReusedTokens, Is.GreaterThan(20));
        Assert.That(stranger.ReusedTokens, Is.Zero);
    }

    [Test]
    public async Task WhatWasReadBeforeTheDeadlineIsNotReadAgain()
    {
        var clock = new ManualClock();
        var model = Golden.Open("mamba-f32").Load();
        var steps = 0;
        using var scheduler = new Scheduler(model, new() { Reuse = new(Shortest: 4) }, clock, batch =>
        {
            model.Forward(batch);
            clock.Advance(TimeSpan.FromSeconds(++steps == 1 ? 10 : 0));
        });
        var cut = await scheduler.GenerateAsync(Question with { Deadline = TimeSpan.FromSeconds(5) });
        Assert.That((cut.FinishReason, cut.GeneratedTokens), Is.EqualTo((FinishReason.Deadline, 0)));
        var again = await scheduler.GenerateAsync(Question);
        Assert.That(again.ReusedTokens, Is.InRange(8, again.PromptTokens - 1));
    }

    [Test]
    public async Task WhatFailedIsNotKept()
    {
        var model = Golden.Open("rwkv7-f32").Load();
        var fail = true;
        using var scheduler = new Scheduler(model, new() { Reuse = new(Shortest: 4) }, null, batch =>
        {
            model.Forward(batch);
            if (fail && batch.LogitsCount > 0)
            {
                throw new InvalidOperationException("broken");
            }
        });
        Assert.That(async () => await scheduler.GenerateAsync(Question), Throws.InstanceOf<StepFailedException>());
        fail = false;
        Assert.That((await scheduler.GenerateAsync(Question)).ReusedTokens, Is.Zero);
    }

    [Test]
    public async Task ARequestThatCannotFitIsRefusedWithTheNumbers()
    {
        var model = Golden.Open("bitnet-b158-tq2_0").Load();
        var needed = model.SessionBytes(100_000);
        var budget = new MemoryBudget(needed - 1);
        using var scheduler = new Scheduler(model, new() { Reuse = new(), Memory = budget });
        Assert.That(
            async () => await scheduler.GenerateAsync(Question with { MaxTokens = 99_000 }),
            Throws.InstanceOf<MemoryLimitException>().With.Message.Contains("MB are free").And.Message.Contains("lower max_tokens").And.Message.Contains("Engine:MemoryLimit"));
        Assert.That((await scheduler.GenerateAsync(Question)).GeneratedTokens, Is.GreaterThan(0), "a smaller one is served");
        Assert.That(budget.Used, Is.LessThanOrEqualTo(budget.Limit));
    }

    [Test]
    public async Task KeptStatesMakeRoomForRequests()
    {
        var model = Golden.Open("rwkv7-f32").Load();
        var one = model.SessionBytes(1);
        var budget = new MemoryBudget(one + (one / 2)); // a sequence and some states
        using var scheduler = new Scheduler(model, new() { Reuse = new(Shortest: 4), Memory = budget });
        for (var i = 0; i < 12; i++)
        {
            await scheduler.GenerateAsync(Question with { Turns = [new("user", $"Question {i} of many, all of them different?")] });
            Assert.That(budget.Used, Is.LessThanOrEqualTo(budget.Limit));
        }

        scheduler.ForgetStates("ann");
        Assert.That(budget.Used, Is.Zero, "all is returned");
    }

    private static Scheduler Open(string model, StateFolder? files, ReuseOptions? options = null) =>
        new(Golden.Open(model).Load(), new() { Reuse = options ?? new(Shortest: 4), States = files });
}
