using System.Text;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Tests.Constraints;

/// <summary>Texts under a constraint, from logits that are noise.</summary>
internal static class Constrained
{
    /// <summary>A constraint for a vocabulary.</summary>
    public static Constraint For(OutputConstraint constraint, ITokenizer vocabulary)
    {
        var trie = new TokenTrie(vocabulary);
        return new(new Automaton(constraint.Pattern, ByteSet.Of(trie.Spellable)), trie, constraint.Description);
    }

    /// <summary>Whether a whole text satisfies a constraint.</summary>
    public static bool Matches(OutputConstraint constraint, string text)
    {
        var automaton = new Automaton(constraint.Pattern, ByteSet.Range(0, 255));
        var state = automaton.Start;
        foreach (var b in Encoding.UTF8.GetBytes(text))
        {
            state = state < 0 ? state : automaton.Step(state, b);
        }

        return state >= 0 && automaton.Accepts(state);
    }

    /// <summary>A text that satisfies it, generated as a decoder does, within so many tokens; an end token is chosen where it may be and the noise says so.</summary>
    public static string Generate(Constraint constraint, TestVocabulary vocabulary, int seed, int maxTokens, out int tokens)
    {
        var sampler = new Sampler(new() { Temperature = 1, TopK = 0, TopP = 1, MinP = 0, Seed = (ulong)seed }, vocabulary.VocabularySize);
        var logits = new float[vocabulary.VocabularySize];
        var text = new List<byte>();
        var state = constraint.Begin(maxTokens);
        for (tokens = 0; tokens < maxTokens && !constraint.IsComplete(state, maxTokens - tokens); tokens++)
        {
            var remaining = maxTokens - tokens;
            var allowed = constraint.Allowed(state, remaining);
            var token = sampler.Sample(logits, [], tokens, allowed);
            Assert.That((allowed[token / 64] >> token) & 1, Is.EqualTo(1), "the sampler keeps to the mask");
            if (token == vocabulary.End)
            {
                Assert.That(constraint.Accepts(state), "an end only where the text may end");
                break;
            }

            if (constraint.Forced(state, remaining) is var forced and >= 0)
            {
                token = forced;
                Assert.That((allowed[token / 64] >> token) & 1, Is.EqualTo(1), "what is forced is allowed");
            }

            text.AddRange(vocabulary.TokenBytes(token));
            state = constraint.Next(state, token, remaining);
            Assert.That(state, Is.GreaterThanOrEqualTo(0), "what is allowed has a state");
        }

        Assert.That(constraint.Accepts(state), $"complete at the limit: {Encoding.UTF8.GetString([.. text])}");
        return new UTF8Encoding(false, true).GetString([.. text]);
    }
}
