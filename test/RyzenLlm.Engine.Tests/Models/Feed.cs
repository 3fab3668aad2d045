using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;

namespace RyzenLlm.Engine.Tests.Models;

/// <summary>Feeds tokens and collects logits.</summary>
internal static class Feed
{
    /// <summary>Feeds tokens in pieces of the given sizes; logits after every token, [token][vocabulary].</summary>
    public static float[] Tokens(Session session, ReadOnlySpan<int> tokens, params ReadOnlySpan<int> chunks)
    {
        var vocabulary = session.Model.Info.VocabularySize;
        var logits = new float[tokens.Length * vocabulary];
        using var batch = new Batch();
        var done = 0;
        for (var c = 0; done < tokens.Length; c++)
        {
            var size = Math.Min(tokens.Length - done, c < chunks.Length ? chunks[c] : chunks.Length > 0 ? chunks[^1] : tokens.Length);
            for (var i = 0; i < size; i++)
            {
                batch.Add(session, tokens[done + i], logits: true);
            }

            session.Model.Forward(batch);
            for (var i = 0; i < size; i++)
            {
                batch.Logits(i).CopyTo(logits.AsSpan((done + i) * vocabulary));
            }

            batch.Clear();
            done += size;
        }

        return logits;
    }

    /// <summary>Feeds one token; logits after it.</summary>
    public static float[] Token(Session session, int token) => Tokens(session, [token]);

    /// <summary>Feeds tokens at once, without logits.</summary>
    public static void Silently(Session session, ReadOnlySpan<int> tokens)
    {
        using var batch = new Batch();
        foreach (var token in tokens)
        {
            batch.Add(session, token);
        }

        session.Model.Forward(batch);
    }

    /// <summary>Continues with the most likely token each time; the lowest id wins ties.</summary>
    public static int[] Greedy(Session session, ReadOnlySpan<float> logits, int count)
    {
        var ids = new int[count];
        var last = logits.ToArray();
        for (var i = 0; i < count; i++)
        {
            ids[i] = Array.IndexOf(last, last.Max());
            last = Token(session, ids[i]);
        }

        return ids;
    }
}
