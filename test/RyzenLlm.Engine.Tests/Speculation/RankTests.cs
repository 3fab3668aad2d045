using RyzenLlm.Engine.Sampling;

namespace RyzenLlm.Engine.Tests.Speculation;

/// <summary>What drafts and constraints ask of the sampler: runners-up, and masks.</summary>
public class RankTests
{
    private const int Vocabulary = 150;

    [Test]
    public void RanksAreWhatTheDrawGivesOnceTheBetterOnesAreForbidden()
    {
        for (var seed = 0; seed < 120; seed++)
        {
            // Filters judge before the draw, so forbidding through the mask is compared where there are none.
            var options = seed % 3 == 0 ? SamplingOptions.Greedy : new() { Temperature = seed % 3, TopK = 0, TopP = 1, MinP = 0, Seed = (ulong)seed, FrequencyPenalty = 0.5f };
            var (sampler, logits, allowed) = (new Sampler(options, Vocabulary), Logits(seed), Mask(_ => true));
            int[] history = [1, 2, 3, 2, 1];
            var (ids, keys) = (new int[4], new double[4]);

            var count = sampler.Rank(logits, history, 5, default, ids, keys);

            Assert.That(count, Is.EqualTo(4));
            Assert.That(keys, Is.Ordered.Descending);
            foreach (var id in ids)
            {
                Assert.That(id, Is.EqualTo(sampler.Sample(logits, history, 5, allowed)), $"seed {seed}");
                allowed[id / 64] &= ~(1ul << id);
            }
        }
    }

    [Test]
    public void TheFirstRankIsTheSampleUnderAllFilters()
    {
        for (var seed = 0; seed < 120; seed++)
        {
            var (options, logits) = (Streams.Sampling(seed) with { Seed = (ulong)seed }, Logits(seed));
            var (ids, keys) = (new int[3], new double[3]);
            var sampler = new Sampler(options, Vocabulary);
            var allowed = Mask(id => (id + seed) % 3 > 0);

            Assert.That(sampler.Rank(logits, [4, 5, 4], 3, allowed, ids, keys), Is.GreaterThan(0));
            Assert.That(ids[0], Is.EqualTo(sampler.Sample(logits, [4, 5, 4], 3, allowed)), $"seed {seed}");
        }
    }

    [Test]
    public void AMaskForbidsAsABiasOfMinusInfinityDoes()
    {
        for (var seed = 0; seed < 120; seed++)
        {
            var (options, logits) = (Streams.Sampling(seed) with { Seed = (ulong)seed, LogitBias = new Dictionary<int, float>() }, Logits(seed));
            var allowed = Mask(id => (id * 7) % 5 == seed % 5);
            var bias = Enumerable.Range(0, Vocabulary).Where(id => (id * 7) % 5 != seed % 5).ToDictionary(id => id, _ => float.NegativeInfinity);

            Assert.That(
                new Sampler(options, Vocabulary).Sample(logits, [4, 5, 4], 3, allowed),
                Is.EqualTo(new Sampler(options with { LogitBias = bias }, Vocabulary).Sample(logits, [4, 5, 4], 3)));
        }
    }

    [Test]
    public void NothingIsRankedWhereNothingCanBeChosen([Values(0f, 0.8f)] float temperature)
    {
        var logits = new float[Vocabulary];
        logits.AsSpan().Fill(float.NegativeInfinity);
        var (ids, keys) = (new int[3], new double[3]);
        var sampler = new Sampler(new() { Temperature = temperature }, Vocabulary);
        Assert.That(sampler.Rank(logits, [], 0, default, ids, keys), Is.Zero);
        logits[5] = 1;
        Assert.That(sampler.Rank(logits, [], 0, Mask(id => id != 5), ids, keys), Is.Zero);
        Assert.That(sampler.Rank(logits, [], 0, Mask(id => id == 5), ids, keys), Is.EqualTo(1));
    }

    [Test]
    public void WhatAMaskDoesNotReachIsForbidden()
    {
        var logits = new float[Vocabulary];
        logits[149] = 9;

        Assert.That(new Sampler(SamplingOptions.Greedy, Vocabulary).Sample(logits, [], 0, [1ul << 5]), Is.EqualTo(5));
    }

    private static float[] Logits(int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, Vocabulary).Select(_ => (float)(random.NextDouble() * 8))];
    }

    private static ulong[] Mask(Func<int, bool> allowed)
    {
        var mask = new ulong[(Vocabulary + 63) / 64];
        for (var id = 0; id < Vocabulary; id++)
        {
            mask[id / 64] |= allowed(id) ? 1ul << id : 0;
        }

        return mask;
    }
}
