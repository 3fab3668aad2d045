using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;

namespace RyzenLlm.Engine.Decoding;

/// <summary>How unexpected each token of a text is to a model: -ln p(token | tokens before it), in nats.</summary>
public static class Surprisal
{
    // Bounds the logits buffer: 2^24 floats are 64 MiB.
    private const int LogitsPerStep = 1 << 24;

    /// <summary>Surprisals of the later tokens of one sequence.</summary>
    /// <param name="model">The model; the caller is its only user meanwhile.</param>
    /// <param name="ids">The sequence from position 0, BOS included where the model expects it.</param>
    /// <param name="first">Index of the first token to judge, at least 1: something must come before it.</param>
    /// <param name="nats">Receives ids.Length - first values.</param>
    /// <param name="cancel">Ends between two steps.</param>
    /// <exception cref="ArgumentException">The sequence does not fit the context of a transformer.</exception>
    public static void Score(LanguageModel model, ReadOnlySpan<int> ids, int first, Span<double> nats, CancellationToken cancel = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(first, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(nats.Length, ids.Length - first, nameof(nats));
        using var session = model.CreateSession();
        using var batch = new Batch();
        var step = Math.Clamp(LogitsPerStep / model.Info.VocabularySize, 16, Decoder.ChunkRows);
        for (var begin = 0; begin < ids.Length - 1; begin += step)
        {
            cancel.ThrowIfCancellationRequested();
            batch.Clear();
            var end = Math.Min(begin + step, ids.Length - 1);
            for (var i = begin; i < end; i++)
            {
                batch.Add(session, ids[i], logits: i + 1 >= first);
            }

            model.Forward(batch);
            for (var i = Math.Max(begin, first - 1); i < end; i++)
            {
                nats[i + 1 - first] = Of(batch.Logits(i - begin), ids[i + 1]);
            }
        }
    }

    /// <summary>Surprisal of one token under a row of logits.</summary>
    public static double Of(ReadOnlySpan<float> logits, int token)
    {
        var highest = float.NegativeInfinity;
        foreach (var logit in logits)
        {
            highest = MathF.Max(highest, logit);
        }

        double total = 0;
        foreach (var logit in logits)
        {
            total += MathF.Exp(logit - highest);
        }

        return Math.Log(total) - ((double)logits[token] - highest);
    }
}
