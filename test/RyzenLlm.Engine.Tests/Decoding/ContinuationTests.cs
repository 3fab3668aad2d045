using System.Text;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Decoding;

/// <summary>A generation that its deadline stopped goes on as if nothing had happened.</summary>
public sealed class ContinuationTests
{
    private static readonly GenerationRequest Story = new()
    {
        Turns = [new("user", "The state of the machine")],
        MaxTokens = 40,
        Sampling = new SamplingOptions { Seed = 11, Temperature = 1.2f, RepetitionPenalty = 1.3f, FrequencyPenalty = 0.2f, PenaltyWindow = 16 },
    };

    [TestCase("mamba-f32", SpeculationMode.Off)]
    [TestCase("mamba-f32", SpeculationMode.Auto)]
    [TestCase("bitnet-b158-tq2_0", SpeculationMode.Off)]
    [TestCase("bitnet-b158-tq2_0", SpeculationMode.Auto)]
    [TestCase("rwkv7-f32", SpeculationMode.Off)]
    public Task ManyShortCallsGiveTheTextOfOneLongCall(string model, SpeculationMode speculation) =>
        AssertSameInPartsAsync(model, Story with { Speculation = speculation });

    [Test]
    public async Task AStopTextThatACallCutsInTwoIsStillFound()
    {
        // Cut after every token, so also in the middle of the stop text; none of its characters may have been given out before.
        using var scheduler = new Scheduler(Golden.Open("mamba-f32").Load());
        var whole = (await scheduler.GenerateAsync(Story)).Text;
        var stop = whole.Substring(whole.Length / 2, 6);
        await AssertSameInPartsAsync("mamba-f32", Story with { Stop = [stop, whole[^3..] + "\0"] });
    }

    [TestCase("""{"type":"object","properties":{"name":{"type":"string","maxLength":5},"count":{"type":"integer"}},"required":["name","count"]}""")]
    public Task AConstraintHoldsAcrossCalls(string schema) =>
        AssertSameInPartsAsync("mamba-f32", Story with { Constraint = OutputConstraint.JsonSchema(schema) });

    [Test]
    public async Task AWaitThatEndedBeforeThePromptWasReadLeavesNothingToContinue()
    {
        var clock = new ManualClock();
        using var scheduler = new Scheduler(Golden.Open("mamba-f32").Load(), clock: clock);
        var result = await scheduler.GenerateAsync(Story with { Deadline = TimeSpan.Zero });
        Assert.That((result.FinishReason, result.Stop), Is.EqualTo((FinishReason.Deadline, (GenerationStop?)null)));
    }

    // Every call has time for a few steps only: 1, 2, 3, 1, 2, 3...
    private static async Task AssertSameInPartsAsync(string model, GenerationRequest request)
    {
        var clock = new ManualClock();
        var network = Golden.Open(model).Load();
        using var scheduler = new Scheduler(network, null, clock, batch =>
        {
            network.Forward(batch);
            clock.Advance(TimeSpan.FromSeconds(1));
        });
        var whole = await scheduler.GenerateAsync(request);
        var text = new StringBuilder();
        var tokens = 0;
        GenerationResult part;
        var calls = 0;
        do
        {
            var left = (calls++ % 3) + 1;
            part = await scheduler.GenerateAsync(request with { Deadline = TimeSpan.FromSeconds(left) });
            text.Append(part.Text);
            tokens += part.GeneratedTokens;
            Assert.That(part.Stop is not null, Is.EqualTo(part.FinishReason == FinishReason.Deadline));
            Assert.That(part.PromptTokens, Is.EqualTo(whole.PromptTokens));
            request = request with { From = part.Stop };
        }
        while (part.FinishReason == FinishReason.Deadline && calls < 200);

        Assert.That(calls, Is.GreaterThan(3), "it was cut");
        Assert.That(text.ToString(), Is.EqualTo(whole.Text));
        Assert.That(part.FinishReason, Is.EqualTo(whole.FinishReason));
        Assert.That(tokens, Is.EqualTo(whole.GeneratedTokens));
    }
}
