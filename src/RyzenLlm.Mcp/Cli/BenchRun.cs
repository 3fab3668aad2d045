using System.Diagnostics;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Kernels;

namespace RyzenLlm.Mcp.Cli;

/// <summary>What <c>bench</c> has a model do: read prompts in the chunks of generation, and decode greedily, one token per pass.</summary>
internal sealed class BenchRun(LanguageModel model, CancellationToken cancel) : IDisposable
{
    private readonly Batch _batch = new();

    /// <summary>Reads tokens until the session is at a position, and returns the token that follows.</summary>
    public int Read(Session session, int position)
    {
        while (session.Position < position)
        {
            cancel.ThrowIfCancellationRequested();
            _batch.Clear();
            for (var i = session.Position; i < Math.Min((session.Position / Decoder.ChunkRows * Decoder.ChunkRows) + Decoder.ChunkRows, position); i++)
            {
                // Spread over the vocabulary, so that embedding rows come from memory as in real text.
                _batch.Add(session, (int)((i + 1) * 2_654_435_761L % model.Info.VocabularySize), logits: i == position - 1, top: Greedy);
            }

            model.Forward(_batch);
        }

        return Sampler.ArgMax(_batch.Logits(_batch.Count - 1));
    }

    /// <summary>Decodes tokens from <paramref name="token"/> on, and returns the one that follows.</summary>
    public int Decode(Session session, int token, int count)
    {
        for (var i = 0; i < count; i++)
        {
            cancel.ThrowIfCancellationRequested();
            _batch.Clear();
            var row = _batch.Add(session, token, logits: true, top: Greedy);
            model.Forward(_batch);
            token = Sampler.ArgMax(_batch.Logits(row));
        }

        return token;
    }

    /// <summary>A fresh sequence: seconds for the prompt and for the tokens behind it, and bytes of weights and state that a token read.</summary>
    public (double Prompt, double Decode, double BytesPerToken) Sequence(int prompt, int decode)
    {
        using var session = model.CreateSession();
        var started = Stopwatch.GetTimestamp();
        var token = Read(session, prompt);
        var promptSeconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        var (weights, state) = (model.Ops.WeightBytes, session.StateBytes);
        started = Stopwatch.GetTimestamp();
        Decode(session, token, decode);
        var decodeSeconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        return (promptSeconds, decodeSeconds, ((double)(model.Ops.WeightBytes - weights) / decode) + ((state + session.StateBytes) / 2.0));
    }

    /// <summary>The middle value.</summary>
    public static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[(sorted.Length / 2) - 1] + sorted[sorted.Length / 2]) / 2;
    }

    /// <inheritdoc/>
    public void Dispose() => _batch.Dispose();

    private TopRows Greedy => new(1, model.Info.VocabularySize);
}
