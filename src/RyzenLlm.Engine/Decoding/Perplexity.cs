using System.Text;
using RyzenLlm.Engine.Models;

namespace RyzenLlm.Engine.Decoding;

/// <summary>How well a model predicted a text.</summary>
/// <param name="Model">Name of the model.</param>
/// <param name="Tokens">Tokens judged.</param>
/// <param name="Bytes">Bytes they stand for.</param>
/// <param name="NatsPerToken">Mean surprise.</param>
/// <param name="Perplexity">Its exponential.</param>
/// <param name="BitsPerByte">Surprise of all bytes: compares models with different vocabularies.</param>
/// <param name="Window">Tokens seen at once.</param>
/// <param name="Stride">Tokens by which the window moved.</param>
/// <param name="Seconds">Time it took.</param>
public sealed record PerplexityReport(
    string Model, int Tokens, long Bytes, double NatsPerToken, double Perplexity, double BitsPerByte, int Window, int Stride, double Seconds);

/// <summary>
/// Judges every token of a text exactly once. A recurrent model, and a transformer that goes on beyond its context, reads the whole text with one state. Other transformers read
/// windows as long as their context; each overlaps the one before, so that every token but the first ones is judged with at least (window - stride) tokens before it. The
/// first token of all, where no BOS precedes it, is charged as one of equally likely tokens. So bits per byte covers all bytes.
/// </summary>
public static class Perplexity
{
    /// <summary>Measures a text.</summary>
    /// <param name="model">The model; the caller is its only user meanwhile.</param>
    /// <param name="name">Name for messages.</param>
    /// <param name="text">The text.</param>
    /// <param name="limit">Judge only this many tokens from the beginning.</param>
    /// <param name="window">Tokens that a transformer sees at once; 0 takes its context.</param>
    /// <param name="stride">Tokens by which the window moves; 0 takes half of it.</param>
    /// <param name="cancel">Ends between two steps.</param>
    /// <exception cref="ArgumentException">The model has no vocabulary, the text is empty, or window and stride do not fit; the message says what to change.</exception>
    public static PerplexityReport Measure(
        LanguageModel model, string name, string text, int limit = int.MaxValue, int window = 0, int stride = 0, CancellationToken cancel = default)
    {
        var started = TimeProvider.System.GetTimestamp();
        var tokenizer = model.Tokenizer ?? throw new ArgumentException($"{name} has no vocabulary, so it cannot read text: choose another model.");
        var ids = tokenizer.Encode(text, addBos: false, parseSpecial: false);
        var bytes = ids.Length <= limit ? Encoding.UTF8.GetByteCount(text) : tokenizer.Decode(ids.AsSpan(0, limit)).LongLength;
        ids = ids.Length <= limit ? ids : ids[..limit];
        if (ids.Length == 0)
        {
            throw new ArgumentException("The text is empty: there is nothing to measure.");
        }

        int[] prefix = tokenizer.AddBos && tokenizer.BosId is { } bos ? [bos] : [];
        if (!model.Info.IsUnbounded && window > model.Info.ContextLength)
        {
            throw new ArgumentException($"--window is {window} but the context of {name} is {model.Info.ContextLength} tokens.");
        }

        window = model.Info.IsUnbounded ? ids.Length : Math.Min(ids.Length, (window == 0 ? model.Info.ContextLength : window) - prefix.Length);
        stride = stride == 0 ? Math.Max(1, window / 2) : stride;
        if (!model.Info.IsUnbounded && stride > window)
        {
            throw new ArgumentException($"--stride is {stride} but the window of {name} is {window} tokens.");
        }

        var nats = Total(model, ids, prefix, window, stride, cancel);
        var perToken = nats / ids.Length;
        return new(
            name, ids.Length, bytes, perToken, Math.Exp(perToken), nats / Math.Log(2) / bytes, window, stride,
            TimeProvider.System.GetElapsedTime(started).TotalSeconds);
    }

    private static double Total(LanguageModel model, int[] ids, int[] prefix, int window, int stride, CancellationToken cancel)
    {
        double total = 0;
        var judged = 0;
        if (prefix.Length == 0)
        {
            total = Math.Log(model.Info.VocabularySize);
            judged = 1;
        }

        for (var begin = 0; judged < ids.Length; begin += stride)
        {
            var end = Math.Min(begin + window, ids.Length);
            int[] sequence = [.. prefix, .. ids.AsSpan(begin, end - begin)];
            var nats = new double[end - judged];
            Surprisal.Score(model, sequence, prefix.Length + judged - begin, nats, cancel);
            total += nats.Sum();
            judged = end;
        }

        return total;
    }
}
