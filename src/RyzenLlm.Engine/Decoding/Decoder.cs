using System.Runtime.InteropServices;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;

namespace RyzenLlm.Engine.Decoding;

/// <summary>
/// Continues one sequence token by token. Works in two halves around a forward pass that may serve other sequences too:
/// <see cref="AddRows"/> puts in the next prompt chunk or the latest token, <see cref="TakeLogits"/> samples what follows.
/// </summary>
/// <remarks>Allocates nothing per token while the sequence fits the room reserved for it.</remarks>
public sealed class Decoder
{
    /// <summary>Prompts are computed in chunks that end at multiples of this position, so how a prompt is cut depends on nothing else.</summary>
    public const int ChunkRows = 256;

    // Room reserved at once; beyond it the list doubles.
    private const int ReservedTokens = 1 << 16;

    private readonly Sampler _sampler;
    private readonly IReadOnlySet<int> _endTokens;
    private readonly int _maxTokens;
    private readonly List<int> _tokens;
    private int _logitsRow = -1;

    /// <summary>A continuation of <paramref name="prompt"/>.</summary>
    /// <param name="session">Its state; the first <see cref="Session.Position"/> tokens of the prompt are already in it.</param>
    /// <param name="prompt">The whole sequence so far, from position 0.</param>
    /// <param name="sampler">Chooses the tokens; logits beyond its vocabulary are padding of the output matrix.</param>
    /// <param name="endTokens">Tokens after which nothing follows.</param>
    /// <param name="maxTokens">Tokens to generate at most, at least 1.</param>
    /// <exception cref="ArgumentException">
    /// The prompt is empty, leaves no room in the context of a transformer, or is already wholly in the session.
    /// </exception>
    public Decoder(Session session, ReadOnlySpan<int> prompt, Sampler sampler, IReadOnlySet<int> endTokens, int maxTokens)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxTokens, 1);
        var info = session.Model.Info;
        if (prompt.IsEmpty)
        {
            throw new ArgumentException("The prompt has no tokens: give at least one word.");
        }

        if (session.Position >= prompt.Length)
        {
            throw new ArgumentException($"The session is at position {session.Position}, not before the last of the prompt's {prompt.Length} tokens.");
        }

        if (!info.IsRecurrent && prompt.Length >= info.ContextLength)
        {
            throw new ArgumentException(
                $"The prompt has {prompt.Length} tokens but the context of {info.Name} holds {info.ContextLength}, the answer included: shorten the prompt.");
        }

        Session = session;
        PromptTokens = prompt.Length;
        _sampler = sampler;
        _endTokens = endTokens;
        _maxTokens = info.IsRecurrent ? maxTokens : Math.Min(maxTokens, info.ContextLength - prompt.Length);
        _tokens = new(prompt.Length + Math.Min(_maxTokens, ReservedTokens));
        _tokens.AddRange(prompt);
    }

    /// <summary>State of the sequence. It lags one token behind <see cref="Tokens"/>: the latest has not been computed.</summary>
    public Session Session { get; }

    /// <summary>Tokens of the prompt.</summary>
    public int PromptTokens { get; }

    /// <summary>Tokens generated so far, an end token not counted.</summary>
    public int GeneratedTokens => _tokens.Count - PromptTokens;

    /// <summary>The whole sequence: prompt and generated tokens.</summary>
    public ReadOnlySpan<int> Tokens => CollectionsMarshal.AsSpan(_tokens);

    /// <summary>Why nothing more follows, or null while something does.</summary>
    public FinishReason? Finish { get; private set; }

    /// <summary>Adds the rows of the next step.</summary>
    public void AddRows(Batch batch)
    {
        if (Finish is not null)
        {
            throw new InvalidOperationException($"This sequence has ended ({Finish}).");
        }

        var begin = Session.Position;
        var end = Math.Min(_tokens.Count, (begin / ChunkRows * ChunkRows) + ChunkRows);
        _logitsRow = -1;
        for (var position = begin; position < end; position++)
        {
            var last = position == _tokens.Count - 1;
            var row = batch.Add(Session, _tokens[position], logits: last);
            _logitsRow = last ? row : -1;
        }
    }

    /// <summary>After the forward pass: samples if the prompt is complete.</summary>
    /// <param name="batch">The batch given to <see cref="AddRows"/>.</param>
    /// <param name="token">The new token, an end token included.</param>
    /// <returns>Whether there is a new token.</returns>
    public bool TakeLogits(Batch batch, out int token)
    {
        token = -1;
        if (_logitsRow < 0)
        {
            return false;
        }

        token = _sampler.Sample(batch.Logits(_logitsRow)[.._sampler.VocabularySize], Tokens, _tokens.Count);
        if (_endTokens.Contains(token))
        {
            Finish = FinishReason.Eos;
            return true;
        }

        _tokens.Add(token);
        if (GeneratedTokens >= _maxTokens)
        {
            Finish = FinishReason.Length;
        }

        return true;
    }

    /// <summary>Ends the sequence from outside, for this reason.</summary>
    public void End(FinishReason reason) => Finish = reason;
}
