using System.Text;
using RyzenLlm.Engine.Decoding;
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
        using var scheduler = Open();
        using var cancel = new CancellationTokenSource();
        var tokens = 0;
        var result = await scheduler.GenerateAsync(
            Story with { MaxTokens = 100_000 },
            piece =>
            {
                if (piece.Token >= 0 && ++tokens == 5)
                {
                    cancel.Cancel();
                }
            },
            cancel.Token);
        Assert.That(result.FinishReason, Is.EqualTo(FinishReason.Cancelled));
        Assert.That(result.GeneratedTokens, Is.EqualTo(5));
    }

    [Test]
    public async Task TheDeadlineEndsItWithWhatThereIs()
    {
        var clock = new ManualClock();
        using var scheduler = Open(clock: clock);
        var tokens = 0;
        var result = await scheduler.GenerateAsync(Story with { MaxTokens = 100_000, Deadline = TimeSpan.FromSeconds(10) }, piece =>
        {
            tokens += piece.Token >= 0 ? 1 : 0;
            clock.Advance(TimeSpan.FromSeconds(2));
        });
        Assert.That(result.FinishReason, Is.EqualTo(FinishReason.Deadline));
        Assert.That(result.GeneratedTokens, Is.EqualTo(5));
        Assert.That(result.TimeToFirstToken, Is.EqualTo(TimeSpan.Zero), "the clock moved after the first token only");
        Assert.That(result.DecodeTokensPerSecond, Is.EqualTo(0.5));
        Assert.That(tokens, Is.EqualTo(5));
    }

    [Test]
    public async Task WaitingRequestsAreServedInOrderAndMayBeCancelledOrExpireMeanwhile()
    {
        var clock = new ManualClock();
        using var scheduler = Open(clock: clock);
        using var hold = new ManualResetEventSlim();
        using var started = new ManualResetEventSlim();
        using var cancel = new CancellationTokenSource();
        List<string> order = [];
        var first = scheduler.GenerateAsync(Story with { MaxTokens = 2 }, _ =>
        {
            order.Add("first");
            started.Set();
            hold.Wait();
        });
        started.Wait();
        var cancelled = scheduler.GenerateAsync(Story, _ => order.Add("cancelled"), cancel.Token);
        var expired = scheduler.GenerateAsync(Story with { Deadline = TimeSpan.FromSeconds(3) }, _ => order.Add("expired"));
        var last = scheduler.GenerateAsync(Story with { MaxTokens = 1 }, _ => order.Add("last"));
        Assert.That(scheduler.Pending, Is.EqualTo(4));
        await cancel.CancelAsync();
        clock.Advance(TimeSpan.FromSeconds(3));
        Assert.That((await cancelled).FinishReason, Is.EqualTo(FinishReason.Cancelled));
        Assert.That((await expired).FinishReason, Is.EqualTo(FinishReason.Deadline));
        Assert.That(first.IsCompleted, Is.False);
        hold.Set();
        Assert.That((await first).GeneratedTokens, Is.EqualTo(2));
        Assert.That((await last).GeneratedTokens, Is.EqualTo(1));
        Assert.That(order.Distinct(), Is.EqualTo(new[] { "first", "last" }));
        Assert.That(scheduler.Pending, Is.Zero);
    }

    [Test]
    public async Task AFullQueueRefusesAndLaterAcceptsAgain()
    {
        using var scheduler = Open(queueLimit: 1);
        using var hold = new ManualResetEventSlim();
        using var started = new ManualResetEventSlim();
        var first = scheduler.GenerateAsync(Story with { MaxTokens = 1 }, _ =>
        {
            started.Set();
            hold.Wait();
        });
        started.Wait();
        var second = scheduler.GenerateAsync(Story with { MaxTokens = 1 });
        Assert.That(() => scheduler.GenerateAsync(Story), Throws.InstanceOf<QueueFullException>());
        hold.Set();
        await first;
        await second;
        Assert.That((await scheduler.GenerateAsync(Story with { MaxTokens = 1 })).GeneratedTokens, Is.EqualTo(1));
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
        var scheduler = Open();
        using var started = new ManualResetEventSlim();
        var running = scheduler.GenerateAsync(Story with { MaxTokens = 10_000_000 }, _ => started.Set());
        var waiting = scheduler.GenerateAsync(Story);
        started.Wait();
        scheduler.Dispose();
        Assert.That((await running).FinishReason, Is.EqualTo(FinishReason.Cancelled));
        Assert.That((await waiting).FinishReason, Is.EqualTo(FinishReason.Cancelled));
        Assert.That(() => scheduler.GenerateAsync(Story), Throws.InstanceOf<ObjectDisposedException>());
    }

    private static Scheduler Open(string model = "mamba-f32", int queueLimit = 64, TimeProvider? clock = null) =>
        new(Golden.Open(model).Load(), queueLimit, clock);
}
