using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;

namespace RyzenLlm.Engine.Tests.Speculation;

/// <summary>Token streams of a model with and without speculation.</summary>
internal static class Streams
{
    /// <summary>Sampling that reaches every part of the sampler, greedy and at temperatures from 0.3 to 1.2.</summary>
    public static SamplingOptions Sampling(int seed) => (seed % 6) switch
    {
        0 => SamplingOptions.Greedy,
        1 => new() { Temperature = 0.3f, Seed = (ulong)seed },
        2 => new() { Temperature = 0.8f, Seed = (ulong)seed, RepetitionPenalty = 1.3f, FrequencyPenalty = 0.2f, PenaltyWindow = 16 },
        3 => new() { Temperature = 1.2f, Seed = (ulong)seed, TopK = 0, TopP = 1, MinP = 0 },
        4 => new() { Temperature = 1, Seed = (ulong)seed, TypicalP = 0.9f, LogitBias = new Dictionary<int, float> { [5] = 1.5f, [7] = float.NegativeInfinity } },
        _ => new() { Temperature = 0, PresencePenalty = 0.7f, PenaltyWindow = 0 },
    };

    /// <summary>A prompt of 3 to 40 tokens, some of them repeated.</summary>
    public static int[] Prompt(LanguageModel model, int seed)
    {
        var random = new Random(seed);
        var prompt = new int[random.Next(3, 41)];
        for (var i = 0; i < prompt.Length; i++)
        {
            prompt[i] = i >= 8 && random.Next(3) > 0 ? prompt[i - 8] : random.Next(model.Info.VocabularySize);
        }

        return prompt;
    }

    /// <summary>The tokens that a decoder generates, and the state before the last of them or, ended by an end token, after it.</summary>
    public static (int[] Tokens, Session Session) Decode(
        LanguageModel model, int[] prompt, SamplingOptions sampling, int tokens, Speculator? speculator = null, Constraint? constraint = null, params int[] endTokens)
    {
        using var batch = new Batch();
        var session = model.CreateSession();
        var decoder = new Decoder(session, prompt, new(sampling, model.Info.VocabularySize), endTokens.ToHashSet(), tokens, speculator, constraint);
        while (decoder.Finish is null)
        {
            batch.Clear();
            decoder.AddRows(batch);
            model.Forward(batch);
            speculator?.Costs.Record(batch.Count, batch.Seconds);
            while (decoder.TakeLogits(batch, out _))
            {
            }
        }

        // Tokens that a constraint forced may not have been computed.
        batch.Clear();
        if (session.Position < decoder.Tokens.Length - 1)
        {
            Models.Feed.Tokens(session, decoder.Tokens[session.Position..^1]);
        }

        return (decoder.Tokens[prompt.Length..].ToArray(), session);
    }

    /// <summary>Fails unless both streams and the states they leave are equal.</summary>
    public static void AssertEqual((int[] Tokens, Session Session) speculative, (int[] Tokens, Session Session) plain, string reason)
    {
        using var left = speculative.Session;
        using var right = plain.Session;
        Assert.That(speculative.Tokens, Is.EqualTo(plain.Tokens), reason);
        Assert.That(left.Position, Is.EqualTo(right.Position), reason);
        Assert.That(Models.Feed.Token(left, 1), Is.EqualTo(Models.Feed.Token(right, 1)), $"logits after the end, {reason}");
    }
}

/// <summary>Guesses a known text, each token right with a given chance; wrong ones and right ones may stand side by side.</summary>
internal sealed class ScriptedDraft(int[] text, double agreement, int seed, int width = 1) : Draft
{
    private readonly HitRates _rates = new(Math.Clamp(agreement, 0.05, 0.95), 0.2);

    public override string Name => "script";

    public override void Propose(ReadOnlySpan<int> tokens, DraftTree tree, in DraftBudget budget)
    {
        var node = DraftTree.Root;
        for (var at = tokens.Length; at < text.Length && node >= DraftTree.Root; at++)
        {
            // What is drafted for a position is the same whenever it is drafted.
            var random = new Random((seed * 1_000_003) + at);
            var right = random.NextDouble() < agreement;
            var parent = node;
            for (var i = 1; i < width; i++)
            {
                tree.Add(parent, (text[at] + (3 * i)) % 7, _rates, 1);
            }

            node = tree.Add(parent, right ? text[at] : (text[at] + 1) % 3, _rates, 0);
        }
    }
}
