using System.Collections.Concurrent;
using System.Text;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Decoding;

public sealed class SchedulerTests
{
    private static readonly GenerationRequest Story = new()
    {
        Turns = [new("user", "The state of the machine")],
        MaxTokens = 24,
        Sampling = new SamplingOptions { Seed = 7, Temperature = 1 },
    };

    [Test]
    public async Task TheSameRequestGivesTheSameTextAndAnotherSeedAnother()
    {
        using var scheduler = Open();
        var first = await scheduler.GenerateAsync(Story);
        await scheduler.GenerateAsync(Story with { MaxTokens = 3 });
        var again = await scheduler.GenerateAsync(Story);
        var other = await scheduler.GenerateAsync(Story with { Sampling = Story.Sampling with { Seed = 8 } });
        Assert.That(again.Text, Is.EqualTo(first.Text));
        Assert.That(other.Text, Is.Not.EqualTo(first.Text));
        Assert.That(first.GeneratedTokens, Is.EqualTo(24));
        Assert.That(first.FinishReason, Is.EqualTo(FinishReason.Length));
        Assert.That(first.PromptTokensPerSecond, Is.GreaterThan(0));
        Assert.That(first.DecodeTokensPerSecond, Is.GreaterThan(0));
        Assert.That(first.TimeToFirstToken, Is.GreaterThan(TimeSpan.Zero));
    }

    [Test]
    public async Task StreamedPiecesAreTheText()
    {
        using var scheduler = Open();
        var text = new StringBuilder();
        List<int> tokens = [];
        var result = await scheduler.GenerateAsync(Story with { Stop = ["qqqqq"] }, piece =>
        {
            text.Append(piece.Text);
            if (piece.Token >= 0)
            {
                tokens.Add(piece.Token);
            }
        });
        Assert.That(text.ToString(), Is.EqualTo(result.Text));
        Assert.That(tokens, Has.Count.EqualTo(result.GeneratedTokens));
    }

    [Test]
    public async Task AStopTextEndsTheGenerationAndIsLeftOut()
    {
        using var scheduler = Open();
        var whole = (await scheduler.GenerateAsync(Story)).Text;
        var stop = whole.Substring(whole.Length / 2, 3);
        var result = await scheduler.GenerateAsync(Story with { Stop = [stop] });
        Assert.That(result.FinishReason, Is.EqualTo(FinishReason.Stop));
        Assert.That(result.Text, Is.EqualTo(whole[..whole.IndexOf(stop, StringComparison.Ordinal)]));
    }

    [Test]
    public async Task CancellingEndsItBeforeTheNextStepWithWhatThereIs()
    {
        using var steps = new SteppedModel("mamba-f32");
        using var cancel = new CancellationTokenSource();
        var (all, tokens) = (0, 0);
        steps.Before = batch => (all, tokens) = (all + 1, tokens + batch.LogitsCount);
        var running = steps.Scheduler.GenerateAsync(Story with { MaxTokens = 100_000, Speculation = SpeculationMode.Off }, null, cancel.Token);
        steps.Run(11);
        steps.Await(12);
        await cancel.CancelAsync();
        steps.Run(1);
        var result = await running;
        Assert.That(result.FinishReason, Is.EqualTo(FinishReason.Cancelled));
        Assert.That(all, Is.EqualTo(12), "the step that was under way when it came is the last");
        Assert.That(result.GeneratedTokens, Is.EqualTo(tokens).And.GreaterThan(0));
    }

    [Test]
    public async Task TheDeadlineEndsItWithWhatThereIs()
    {
        var clock = new ManualClock();
        using var steps = new SteppedModel("mamba-f32", clock: clock);
        steps.After = batch => clock.Advance(TimeSpan.FromSeconds(batch.LogitsCount > 0 ? 2 : 0));
        steps.RunFreely();
        var result = await steps.Scheduler.GenerateAsync(
            Story with { MaxTokens = 100_000, Deadline = TimeSpan.FromSeconds(10), Speculation = SpeculationMode.Off });
        Assert.That(result.FinishReason, Is.EqualTo(FinishReason.Deadline));
        Assert.That(result.GeneratedTokens, Is.EqualTo(5));
        Assert.That(result.TimeToFirstToken, Is.EqualTo(TimeSpan.FromSeconds(2)), "the clock moves with the tokens only");
        Assert.That(result.DecodeTokensPerSecond, Is.EqualTo(0.5));
    }

    [Test]
    public async Task WaitingRequestsAreServedInOrderAndMayBeCancelledOrExpireMeanwhile()
    {
        var clock = new ManualClock();
        using var steps = new SteppedModel("mamba-f32", new() { MaxSequences = 1 }, clock);
        using var cancel = new CancellationTokenSource();
        ConcurrentDictionary<string, bool> spoke = [];
        var first = steps.Scheduler.GenerateAsync(Story with { MaxTokens = 2 }, _ => spoke["first"] = true);
        steps.Await(1);
        var cancelled = steps.Scheduler.GenerateAsync(Story, _ => spoke["cancelled"] = true, cancel.Token);
        var expired = steps.Scheduler.GenerateAsync(Story with { Deadline = TimeSpan.FromSeconds(3) }, _ => spoke["expired"] = true);
        var last = steps.Scheduler.GenerateAsync(Story with { MaxTokens = 1 }, _ => spoke["last"] = true);
        Assert.That(steps.Scheduler.Pending, Is.EqualTo(4));
        await cancel.CancelAsync();
        clock.Advance(TimeSpan.FromSeconds(3));
        Assert.That((await cancelled).FinishReason, Is.EqualTo(FinishReason.Cancelled), "while the model is held up");
        Assert.That((await expired).FinishReason, Is.EqualTo(FinishReason.Deadline));
        Assert.That(steps.Scheduler.Pending, Is.EqualTo(2));
        Assert.That(first.IsCompleted, Is.False);
        steps.After = _ => clock.Advance(TimeSpan.FromSeconds(1)); // a step takes a second
        steps.RunFreely();
        var served = await first;
        Assert.That(served.GeneratedTokens, Is.EqualTo(2));
        Assert.That((await last).GeneratedTokens, Is.EqualTo(1));
        Assert.That((await last).QueueTime, Is.GreaterThanOrEqualTo(served.QueueTime + served.PromptTime + served.DecodeTime), "its turn came behind the first");
        Assert.That(spoke.Keys, Is.EquivalentTo(new[] { "first", "last" }));
        Assert.That(steps.Scheduler.Pending, Is.Zero);
    }

    [Test]
    public async Task AFullQueueRefusesAndLaterAcceptsAgain()
    {
        using var steps = new SteppedModel("mamba-f32", new() { MaxSequences = 1, QueueLimit = 1 });
        var first = steps.Scheduler.GenerateAsync(Story with { MaxTokens = 1 });
        var second = steps.Scheduler.GenerateAsync(Story with { MaxTokens = 1 });
        Assert.That(
            () => steps.Scheduler.GenerateAsync(Story),
            Throws.InstanceOf<QueueFullException>().With.Message.Contains("Try again in 1 s").And.Property("RetryAfter").EqualTo(TimeSpan.FromSeconds(1)));
        steps.RunFreely();
        await first;
        await second;
        Assert.That((await steps.Scheduler.GenerateAsync(Story with { MaxTokens = 1 })).GeneratedTokens, Is.EqualTo(1));
    }

    [Test]
    public async Task ARequestThatCannotBeServedFailsAloneAndSaysWhy()
    {
        using var scheduler = Open("bitnet-b158-tq2_0");
        var tooLong = Story with { Turns = [new("user", string.Concat(Enumerable.Repeat("word ", 5000)))] };
        Assert.That(async () => await scheduler.GenerateAsync(tooLong), Throws.ArgumentException.With.Message.Contains("shorten the prompt"));
        Assert.That(() => scheduler.GenerateAsync(Story with { Sampling = new() { TopP = 7 } }), Throws.ArgumentException.With.Message.Contains("top_p"));
        Assert.That((await scheduler.GenerateAsync(Story)).PromptTokens, Is.GreaterThan(0));
    }

    [Test]
    public async Task AModelWithoutVocabularyRefusesText()
    {
        using var scheduler = Open("rwkv4-random");
        Assert.That(async () => await scheduler.GenerateAsync(Story), Throws.ArgumentException.With.Message.Contains("no vocabulary"));
    }

    [Test]
    public async Task DisposingEndsWhatRunsAndWhatWaits()
    {
        var scheduler = new Scheduler(Golden.Open("mamba-f32").Load(), new() { MaxSequences = 1 });
        using var started = new ManualResetEventSlim();
        var running = scheduler.GenerateAsync(Story with { MaxTokens = 10_000_000 }, _ => started.Set());
        var waiting = scheduler.GenerateAsync(Story);
        started.Wait();
        scheduler.Dispose();
        Assert.That((await running).FinishReason, Is.EqualTo(FinishReason.Cancelled));
        Assert.That((await waiting).FinishReason, Is.EqualTo(FinishReason.Cancelled));
        Assert.That(() => scheduler.GenerateAsync(Story), Throws.InstanceOf<ObjectDisposedException>());
    }

    private static Scheduler Open(string model = "mamba-f32") => new(Golden.Open(model).Load());
}
