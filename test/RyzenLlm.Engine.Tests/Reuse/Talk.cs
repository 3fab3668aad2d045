using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Reuse;

/// <summary>Answers to prompts of token ids, with and without kept states.</summary>
internal static class Talk
{
    /// <summary>Keeps short sequences too, so that small tests reach everything.</summary>
    public static readonly ReuseOptions Options = new(Shortest: 4);

    /// <summary>The sequence that follows a prompt, the prompt included, computed from nothing.</summary>
    public static int[] Fresh(LanguageModel model, int[] prompt, int tokens, ulong seed = 1)
    {
        using var session = model.CreateSession();
        return Run(model, session, prompt, tokens, seed, [], null);
    }

    /// <summary>The same with whatever is kept.</summary>
    public static (int[] Tokens, int Reused) Answer(
        PrefixStates states, LanguageModel model, string tenant, int[] prompt, int tokens, ulong seed = 1, bool persist = false, int instruction = 0)
    {
        states.Restore(tenant, prompt);
        using var reuse = states.Begin(tenant, prompt, instruction, persist);
        return (Run(model, reuse.Session, prompt, tokens, seed, reuse.Marks, reuse), reuse.ReusedTokens);
    }

    /// <summary>Random tokens that every small model knows.</summary>
    public static int[] Tokens(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(1, 200))];

    private static int[] Run(LanguageModel model, Session session, int[] prompt, int tokens, ulong seed, IReadOnlyList<int> marks, PrefixReuse? reuse)
    {
        using var batch = new Batch();
        var sampler = new Sampler(new SamplingOptions { Seed = seed, Temperature = 1 }, Math.Min(200, model.Info.VocabularySize));
        var decoder = new Decoder(session, prompt, sampler, new HashSet<int>(), tokens) { Marks = marks };
        while (decoder.Finish is null)
        {
            batch.Clear();
            decoder.AddRows(batch);
            model.Forward(batch);
            decoder.TakeLogits(batch, out _);
            if (decoder.GeneratedTokens == 1)
            {
                reuse?.KeepPrompt(decoder.Tokens);
            }
        }

        reuse?.Keep(decoder.Tokens);
        return decoder.Tokens.ToArray();
    }
}
