using System.Collections;
using System.Diagnostics.CodeAnalysis;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Sampling;

namespace RyzenLlm.Engine.Tests.Decoding;

/// <summary>What goes wrong in one request stays in it; what goes wrong in a step ends those that were part of it, and nobody else.</summary>
public sealed class FaultTests
{
    private static readonly GenerationRequest Story = new()
    {
        Turns = [new("user", "The state of the machine")],
        MaxTokens = 24,
        Sampling = new SamplingOptions { Seed = 7, Temperature = 1 },
        Speculation = SpeculationMode.Off,
    };

    [Test]
    public async Task ASamplerThatThrowsTakesOnlyItsOwnRequestWithIt([Values("bitnet-b158-tq2_0", "mamba-f32", "rwkv7-f32")] string model)
    {
        using var steps = new SteppedModel(model);
        steps.RunFreely();
        var alone = await steps.Scheduler.GenerateAsync(Story);
        var broken = steps.Scheduler.GenerateAsync(Story with { Sampling = Story.Sampling with { LogitBias = new FaultyBias(after: 6) } });
        var others = Enumerable.Range(0, 5).Select(_ => steps.Scheduler.GenerateAsync(Story)).ToArray();

        Assert.That(async () => await broken, Throws.TypeOf<TimeZoneNotFoundException>());
        foreach (var other in await Task.WhenAll(others))
        {
            Assert.That(other.Text, Is.EqualTo(alone.Text));
        }

        Assert.That(steps.Model.OpenSessions, Is.Zero);
        Assert.That(steps.Scheduler.Pending, Is.Zero);
    }

    [Test]
    public async Task ASinkThatThrowsEndsItsOwnRequestWithThatException()
    {
        using var steps = new SteppedModel("mamba-f32");
        steps.RunFreely();
        var calls = 0;
        var broken = steps.Scheduler.GenerateAsync(Story with { MaxTokens = 1_000_000 }, _ => throw new TimeZoneNotFoundException($"{++calls}"));
        var other = await steps.Scheduler.GenerateAsync(Story);

        Assert.That(async () => await broken, Throws.TypeOf<TimeZoneNotFoundException>().With.Message.EqualTo("1"));
        Assert.That(calls, Is.EqualTo(1));
        Assert.That(other.GeneratedTokens, Is.EqualTo(24));
        Assert.That(steps.Model.OpenSessions, Is.Zero);
    }

    [Test]
    public async Task ASinkThatWaitsHoldsUpNobodyElse()
    {
        using var steps = new SteppedModel("mamba-f32");
        steps.RunFreely();
        using var hold = new ManualResetEventSlim();
        List<string> pieces = [];
        var slow = steps.Scheduler.GenerateAsync(Story, piece =>
        {
            hold.Wait();
            pieces.Add(piece.Text.ToString());
        });
        var other = await steps.Scheduler.GenerateAsync(Story with { MaxTokens = 60 });

        Assert.That(other.GeneratedTokens, Is.EqualTo(60));
        Assert.That(slow.IsCompleted, Is.False, "the answer follows the text");
        hold.Set();
        Assert.That((await slow).Text, Is.EqualTo(string.Concat(pieces)).And.EqualTo(other.Text[..(await slow).Text.Length]));
    }

    [Test]
    public async Task AFailedStepEndsThoseWithRowsInItAndNobodyElse([Values("bitnet-b158-tq2_0", "mamba-f32", "rwkv7-f32")] string model)
    {
        using var steps = new SteppedModel(model, new() { MaxSequences = 3 });
        var failed = false;
        steps.Before = batch =>
        {
            if (batch.Sessions.Count == 3 && !failed)
            {
                failed = true;
                throw new TimeZoneNotFoundException("broken weights");
            }
        };
        var first = Enumerable.Range(0, 3).Select(_ => steps.Scheduler.GenerateAsync(Story with { MaxTokens = 1000 })).ToArray();
        steps.Await(1);
        var waiting = steps.Scheduler.GenerateAsync(Story);
        steps.RunFreely();

        foreach (var request in first)
        {
            Assert.That(
                async () => await request,
                Throws.TypeOf<StepFailedException>().With.Message.Contains("broken weights").And.InnerException.TypeOf<TimeZoneNotFoundException>());
        }

        var later = await steps.Scheduler.GenerateAsync(Story);
        Assert.That((await waiting).Text, Is.EqualTo(later.Text));
        Assert.That(later.GeneratedTokens, Is.EqualTo(24));
        Assert.That(steps.Model.OpenSessions, Is.Zero);
        Assert.That(steps.Scheduler.Pending, Is.Zero);
    }

    [Test]
    public async Task WhatCannotStartTakesNoPlace()
    {
        using var steps = new SteppedModel("bitnet-b158-tq2_0", new() { MaxSequences = 1, QueueLimit = 1 });
        steps.RunFreely();
        for (var i = 0; i < 5; i++)
        {
            // Found out when it is read, and when it is taken up.
            Assert.That(async () => await steps.Scheduler.GenerateAsync(Story with { Turns = [new("user", new string('x', 20_000))] }), Throws.ArgumentException);
            Assert.That(async () => await steps.Scheduler.GenerateAsync(Story with { Speculation = SpeculationMode.Draft }), Throws.ArgumentException);
        }

        Assert.That((await steps.Scheduler.GenerateAsync(Story)).GeneratedTokens, Is.EqualTo(24));
        Assert.That(steps.Model.OpenSessions, Is.Zero);
    }

    /// <summary>Biases nothing, and throws when it is read for the token after so many.</summary>
    private sealed class FaultyBias(int after) : IReadOnlyDictionary<int, float>
    {
        private int _reads = -1; // the first check of the options reads it too

        public int Count => 1;

        public IEnumerable<int> Keys => [0];

        public IEnumerable<float> Values => [0];

        public float this[int key] => 0;

        public bool ContainsKey(int key) => key == 0;

        public bool TryGetValue(int key, [MaybeNullWhen(false)] out float value)
        {
            value = 0;
            return key == 0;
        }

        public IEnumerator<KeyValuePair<int, float>> GetEnumerator() =>
            ++_reads > after + 1 ? throw new TimeZoneNotFoundException() : Enumerable.Repeat(new KeyValuePair<int, float>(0, 0), 1).GetEnumerator();

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
    }
}
