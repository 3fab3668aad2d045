using RyzenLlm.Engine.Sampling;

namespace RyzenLlm.Engine.Tests.Sampling;

public sealed class SamplerTests
{
    private static readonly SamplingOptions Open = new() { Temperature = 1, TopK = 0, TopP = 1, MinP = 0 };

    [Test]
    public void SameArgumentsGiveTheSameTokenWhateverWasSampledBetween()
    {
        var logits = Logits(1000, 1);
        var sampler = new Sampler(new SamplingOptions { Seed = 9, RepetitionPenalty = 1.3f, TypicalP = 0.9f }, 1000);
        int[] history = [1, 5, 5, 999];
        var first = sampler.Sample(logits, history, 4);
        for (var position = 0; position < 50; position++)
        {
            sampler.Sample(Logits(1000, position), [3, 4], position);
        }

        var fresh = new Sampler(new SamplingOptions { Seed = 9, RepetitionPenalty = 1.3f, TypicalP = 0.9f }, 1000);
        Assert.That(sampler.Sample(logits, history, 4), Is.EqualTo(first));
        Assert.That(fresh.Sample(logits, history, 4), Is.EqualTo(first));
    }

    [Test]
    public void SeedAndPositionBothChangeTheDraws()
    {
        var logits = new float[64];
        var a = Draws(logits, Open with { Seed = 1 }, 0, 200);
        var b = Draws(logits, Open with { Seed = 2 }, 0, 200);
        var c = Draws(logits, Open with { Seed = 1 }, 1, 200);
        Assert.That(a, Is.Not.EqualTo(b));
        Assert.That(a[1..], Is.EqualTo(c[..^1]), "position alone names the draw");
        Assert.That(a.Distinct().Count(), Is.GreaterThan(40));
    }

    [Test]
    public void DrawsFollowTheSoftmax([Values(0.5f, 1f, 2f)] float temperature)
    {
        float[] logits = [0.0f, 1.0f, -1.5f, 2.0f, 0.5f, -0.3f, float.NegativeInfinity, 1.7f];
        const int draws = 40_000;
        var counts = new int[logits.Length];
        foreach (var token in Draws(logits, Open with { Temperature = temperature, Seed = 77 }, 0, draws))
        {
            counts[token]++;
        }

        var weights = logits.Select(l => Math.Exp(l / temperature)).ToArray();
        var statistic = 0.0;
        for (var i = 0; i < logits.Length; i++)
        {
            var expected = draws * weights[i] / weights.Sum();
            statistic += expected > 0 ? Math.Pow(counts[i] - expected, 2) / expected : counts[i];
        }

        // 6 degrees of freedom: 27.9 would be exceeded by chance once in 10,000 seeds; this seed is fixed.
        Assert.That(statistic, Is.LessThan(27.9));
        Assert.That(counts[6], Is.Zero);
    }

    [Test]
    public void FiltersKeepExactlyWhatTheirDefinitionsKeep(
        [Values(0, 1, 7, 300)] int topK, [Values(1f, 0.5f, 0.97f)] float topP, [Values(0f, 0.02f)] float minP, [Values(1f, 0.4f)] float typicalP)
    {
        const int vocabulary = 700;
        var options = new SamplingOptions { Temperature = 1.3f, TopK = topK, TopP = topP, MinP = minP, TypicalP = typicalP, Seed = 5 };
        var sampler = new Sampler(options, vocabulary);
        for (var position = 0; position < 30; position++)
        {
            var logits = Logits(vocabulary, position);
            logits[position] = float.NaN;
            logits[position + 100] = float.NegativeInfinity;
            var expected = NaiveSampler.Sample(logits, options, position);
            Assert.That(sampler.Sample(logits, [], position), Is.EqualTo(expected), $"position {position}");
        }
    }

    [Test]
    public void ANucleusWiderThanTheFirstSelectionIsStillExact()
    {
        var options = Open with { TopP = 0.999f, Seed = 3 };
        var sampler = new Sampler(options, 5000);
        for (var position = 0; position < 10; position++)
        {
            var logits = Logits(5000, position, 0.1f);
            Assert.That(sampler.Sample(logits, [], position), Is.EqualTo(NaiveSampler.Sample(logits, options, position)));
        }
    }

    [Test]
    public void PeakedLargeVocabularyDrawsAsTheDefinitionSays()
    {
        var options = Open with { Temperature = 1.5f, Seed = 21 };
        var sampler = new Sampler(options, 20_000);
        for (var position = 0; position < 40; position++)
        {
            var logits = Logits(20_000, position, 4);
            Assert.That(sampler.Sample(logits, [], position), Is.EqualTo(NaiveSampler.Sample(logits, options, position)));
        }
    }

    [Test]
    public void GreedyTakesTheLowestOfEquals()
    {
        var sampler = new Sampler(SamplingOptions.Greedy, 40);
        var logits = new float[40];
        logits[17] = logits[33] = 2;
        logits[3] = float.NaN;
        Assert.That(sampler.Sample(logits, [], 0), Is.EqualTo(17));
    }

    [Test]
    public void EqualLogitsAtTheEdgeOfTopKKeepTheLowestIds()
    {
        var logits = new float[100];
        var seen = Draws(logits, Open with { TopK = 5 }, 0, 500).ToHashSet();
        Assert.That(seen, Is.EquivalentTo(new[] { 0, 1, 2, 3, 4 }));
    }

    [Test]
    public void RepetitionPenaltyDividesPositiveAndMultipliesNegativeLogits()
    {
        float[] logits = [3, 2.5f, -1, -1.5f];
        var sampler = new Sampler(SamplingOptions.Greedy with { RepetitionPenalty = 2 }, 4);
        Assert.That(sampler.Sample(logits, [0], 1), Is.EqualTo(1), "3 / 2 < 2.5");
        Assert.That(sampler.Sample([-1, -1.5f, -9, -9], [0], 1), Is.EqualTo(1), "-1 * 2 < -1.5");
        Assert.That(sampler.Sample([-1, -1.5f, -9, -9], [], 1), Is.EqualTo(0));
    }

    [Test]
    public void FrequencyCountsAndPresenceDoesNot()
    {
        float[] logits = [2, 1.2f];
        var frequency = new Sampler(SamplingOptions.Greedy with { FrequencyPenalty = 0.5f }, 2);
        Assert.That(frequency.Sample(logits, [0], 1), Is.EqualTo(0), "2 - 0.5");
        Assert.That(frequency.Sample(logits, [0, 0], 2), Is.EqualTo(1), "2 - 1.0");
        var presence = new Sampler(SamplingOptions.Greedy with { PresencePenalty = 0.5f }, 2);
        Assert.That(presence.Sample(logits, [0, 0, 0], 3), Is.EqualTo(0), "2 - 0.5");
    }

    [Test]
    public void PenaltiesLookBackAsFarAsTheWindow()
    {
        float[] logits = [1, 0.5f];
        var options = SamplingOptions.Greedy with { PresencePenalty = 1, PenaltyWindow = 2 };
        var sampler = new Sampler(options, 2);
        Assert.That(sampler.Sample(logits, [0, 1, 1], 3), Is.EqualTo(0));
        Assert.That(sampler.Sample(logits, [1, 0, 1], 3), Is.EqualTo(0), "both penalised");
        Assert.That(sampler.Sample(logits, [1, 0, 0], 3), Is.EqualTo(1));
        Assert.That(new Sampler(options with { PenaltyWindow = 0 }, 2).Sample(logits, [0, 0, 0], 3), Is.EqualTo(1));
    }

    [Test]
    public void BiasAddsAndForbids()
    {
        float[] logits = [5, 4, 3];
        var bias = new Dictionary<int, float> { [0] = float.NegativeInfinity, [2] = 2 };
        Assert.That(new Sampler(SamplingOptions.Greedy with { LogitBias = bias }, 3).Sample(logits, [], 0), Is.EqualTo(2));
        Assert.That(Draws(logits, Open with { LogitBias = bias }, 0, 300), Does.Not.Contain(0));
        Assert.That(logits, Is.EqualTo(new float[] { 5, 4, 3 }), "the caller's logits stay");
    }

    [Test]
    public void NoChoiceAtAllIsAnError()
    {
        float[] logits = [float.NaN, float.NegativeInfinity];
        Assert.That(() => new Sampler(Open, 2).Sample(logits, [], 0), Throws.InvalidOperationException.With.Message.Contains("every logit"));
        Assert.That(() => new Sampler(Open, 3).Sample(logits, [], 0), Throws.ArgumentException.With.Message.Contains("3 logits"));
    }

    [TestCaseSource(nameof(OutOfRange))]
    public void OutOfRangeOptionsAreNamed(SamplingOptions options, string name) =>
        Assert.That(() => new Sampler(options, 10), Throws.ArgumentException.With.Message.Contains(name));

    [Test]
    public void SamplingAllocatesNothing()
    {
        var logits = Logits(32_000, 1);
        int[] history = [1, 2, 3, 2];
        var sampler = new Sampler(new SamplingOptions { FrequencyPenalty = 0.1f, TypicalP = 0.9f, TopK = 0 }, 32_000);
        sampler.Sample(logits, history, 0);
        var sampled = Allocations.Of(() =>
        {
            for (var position = 1; position < 10; position++)
            {
                sampler.Sample(logits, history, position);
            }
        });
        Assert.That(sampled, Is.Zero);
    }

    [TestCase(0u, 0u, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)]
    [TestCase(0xffffffffu, 0xffffffffu, 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu)]
    public void NoiseIsPhiloxByItsPublishedVectors(uint counter, uint key, uint x0, uint x1, uint x2, uint x3) =>
        Assert.That(Noise.Philox(counter, counter, counter, counter, key, key), Is.EqualTo((x0, x1, x2, x3)));

    private static IEnumerable<TestCaseData> OutOfRange()
    {
        yield return new(new SamplingOptions { Temperature = -0.1f }, "temperature is -0.1");
        yield return new(new SamplingOptions { Temperature = float.NaN }, "temperature");
        yield return new(new SamplingOptions { TopK = -1 }, "top_k");
        yield return new(new SamplingOptions { TopP = 0 }, "top_p");
        yield return new(new SamplingOptions { MinP = 1 }, "min_p");
        yield return new(new SamplingOptions { TypicalP = 1.1f }, "typical_p");
        yield return new(new SamplingOptions { RepetitionPenalty = 0 }, "repetition_penalty");
        yield return new(new SamplingOptions { FrequencyPenalty = 2.5f }, "frequency_penalty");
        yield return new(new SamplingOptions { PresencePenalty = float.NaN }, "presence_penalty");
        yield return new(new SamplingOptions { PenaltyWindow = -1 }, "penalty_window");
        yield return new(new SamplingOptions { LogitBias = new Dictionary<int, float> { [10] = 1 } }, "token 10");
        yield return new(new SamplingOptions { LogitBias = new Dictionary<int, float> { [1] = float.NaN } }, "logit_bias[1]");
    }

    private static int[] Draws(float[] logits, SamplingOptions options, int from, int count)
    {
        var sampler = new Sampler(options, logits.Length);
        return [.. Enumerable.Range(from, count).Select(position => sampler.Sample(logits, [], position))];
    }

    private static float[] Logits(int count, int seed, float scale = 2)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => scale * (float)Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * (float)Math.Cos(6.2831853 * random.NextDouble()))];
    }
}
