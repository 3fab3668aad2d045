using System.Diagnostics;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;

namespace RyzenLlm.Engine.Eval;

/// <summary>Decoding a prompt to tokens.</summary>
internal static class Streams
{
    /// <summary>The tokens generated, and the seconds from the first of them to the last.</summary>
    /// <param name="model">The target.</param>
    /// <param name="prompt">Its prompt.</param>
    /// <param name="sampling">How tokens are chosen.</param>
    /// <param name="tokens">Tokens to generate.</param>
    /// <param name="speculator">Guesses ahead, or null.</param>
    /// <param name="script">
    /// For models with random weights: the whole sequence that the target shall want, prompt included. Its logits are computed as ever, then the
    /// one of the scripted token is raised above all.
    /// </param>
    public static (int[] Tokens, double Seconds) Decode(
        LanguageModel model, ReadOnlySpan<int> prompt, SamplingOptions sampling, int tokens, Speculator? speculator, int[]? script = null)
    {
        using var batch = new Batch();
        using var session = model.CreateSession();
        var ends = model.Tokenizer?.EosIds ?? new HashSet<int>();
        var vocabulary = model.Tokenizer?.VocabularySize ?? model.Info.VocabularySize;
        var decoder = new Decoder(session, prompt, new(sampling, vocabulary), ends, tokens, speculator);
        var first = 0L;
        while (decoder.Finish is null)
        {
            batch.Clear();
            decoder.AddRows(batch);
            model.Forward(batch);
            for (var row = 0; script is not null && row < batch.Count; row++)
            {
                if (batch.Rows[row].LogitsRow >= 0)
                {
                    batch.Logits(row)[script[batch.Rows[row].Position + 1]] = float.MaxValue;
                }
            }

            if (decoder.GeneratedTokens > 0)
            {
                speculator?.Costs.Record(batch.Count, batch.Seconds);
            }

            while (decoder.TakeLogits(batch, out _))
            {
            }

            first = first == 0 && decoder.GeneratedTokens > 0 ? Stopwatch.GetTimestamp() : first;
        }

        var seconds = first == 0 ? 0 : Stopwatch.GetElapsedTime(first).TotalSeconds;
        return (decoder.Tokens[prompt.Length..].ToArray(), seconds);
    }
}
