using System.Runtime.InteropServices;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Kernels;

namespace RyzenLlm.Engine.Decoding;

/// <summary>
/// Continues one sequence token by token. Works in two halves around a forward pass that may serve other sequences too:
/// <see cref="AddRows"/> puts in the next prompt chunk or the latest token, <see cref="TakeLogits"/> samples what follows.
/// </summary>
/// <remarks>
/// With a <see cref="Speculator"/> the latest token is followed by a tree of guesses, and <see cref="TakeLogits"/> walks down that tree for as
/// long as the sampler confirms it. Every token is drawn from the same logits with the same noise as without, so the sequence is the same.
/// </remarks>
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
    private readonly Speculator? _speculator;
    private readonly Constraint? _constraint;
    private readonly int[] _guesses;
    private int _logitsRow = -1; // row of the latest token, if its logits are there and not sampled yet
    private int _settledRow = -1; // last row of this step that is certainly part of the text
    private int _node;           // node of that row in the tree
    private bool _guessed;       // whether this step has a tree
    private int _state;          // of the constraint

    /// <summary>A continuation of <paramref name="prompt"/>.</summary>
    /// <param name="session">Its state; the first <see cref="Session.Position"/> tokens of the prompt are already in it.</param>
    /// <param name="prompt">The whole sequence so far, from position 0.</param>
    /// <param name="sampler">Chooses the tokens; logits beyond its vocabulary are padding of the output matrix.</param>
    /// <param name="endTokens">Tokens after which nothing follows.</param>
    /// <param name="maxTokens">Tokens to generate at most, at least 1.</param>
    /// <param name="speculator">Guesses ahead, or null; disposed of by its owner.</param>
    /// <param name="constraint">What the generated text must match, or null.</param>
    /// <param name="promptTokens">How much of <paramref name="prompt"/> is the prompt; the rest was generated before. -1 for all.</param>
    /// <exception cref="ArgumentException">
    /// The prompt is empty, leaves no room in the context of a transformer, or is already wholly in the session; or no text that satisfies the
    /// constraint is as short as <paramref name="maxTokens"/>.
    /// </exception>
    public Decoder(
        Session session,
        ReadOnlySpan<int> prompt,
        Sampler sampler,
        IReadOnlySet<int> endTokens,
        int maxTokens,
        Speculator? speculator = null,
        Constraint? constraint = null,
        int promptTokens = -1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxTokens, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(promptTokens, prompt.Length);
        var info = session.Model.Info;
        CheckPrompt(info, prompt.Length);
        if (session.Position >= prompt.Length)
        {
            throw new ArgumentException($"The session is at position {session.Position}, not before the last of the prompt's {prompt.Length} tokens.");
        }

        Session = session;
        PromptTokens = promptTokens < 0 ? prompt.Length : promptTokens;
        _sampler = sampler;
        _endTokens = endTokens;
        _maxTokens = Math.Min(maxTokens, info.LongestSequence - PromptTokens);
        _tokens = new(prompt.Length + Math.Min(_maxTokens, ReservedTokens));
        _tokens.AddRange(prompt);
        _constraint = constraint;
        _state = constraint?.Begin(_maxTokens) ?? 0;
        for (var i = PromptTokens; constraint is not null && i < prompt.Length; i++)
        {
            _state = constraint.Next(_state, prompt[i], _maxTokens - (i - PromptTokens));
        }

        _speculator = speculator;
        _guesses = speculator is null ? [] : new int[DraftTree.Capacity];
        speculator?.Begin(sampler.VocabularySize, endTokens, constraint);
        if (constraint is not null && constraint.IsComplete(_state, Math.Max(1, Remaining)))
        {
            Finish = FinishReason.Eos; // nothing more satisfies it
        }
    }

    /// <summary>State of the sequence. It lags behind <see cref="Tokens"/>: the latest has not been computed, nor those before it that a constraint forced.</summary>
    public Session Session { get; }

    /// <summary>Positions in the prompt that the session will be able to go back to; see <see cref="Session.Mark"/>.</summary>
    public IReadOnlyList<int> Marks { get; init; } = [];

    /// <summary>Tokens of the prompt.</summary>
    public int PromptTokens { get; }

    /// <summary>Tokens generated so far, an end token not counted.</summary>
    public int GeneratedTokens => _tokens.Count - PromptTokens;

    /// <summary>The whole sequence: prompt and generated tokens.</summary>
    public ReadOnlySpan<int> Tokens => CollectionsMarshal.AsSpan(_tokens);

    /// <summary>Why nothing more follows, or null while something does.</summary>
    public FinishReason? Finish { get; private set; }

    /// <summary>Tokens of the sequence that are not computed yet: of the prompt, or those that a constraint forced, and the latest.</summary>
    public int PendingTokens => _tokens.Count - Session.Position;

    private int Remaining => _maxTokens - GeneratedTokens;

    /// <summary>Refuses a prompt that cannot be continued.</summary>
    /// <param name="info">The model.</param>
    /// <param name="tokens">Tokens of the prompt.</param>
    /// <exception cref="ArgumentException">It is empty or leaves no room in the context.</exception>
    internal static void CheckPrompt(ModelInfo info, int tokens)
    {
        if (tokens == 0)
        {
            throw new ArgumentException("The prompt has no tokens: give at least one word.");
        }

        if (tokens >= info.LongestSequence)
        {
            throw new ArgumentException(
                $"The prompt has {tokens} tokens but the context of {info.Name} holds {info.LongestSequence}, the answer included: shorten the prompt.");
        }
    }

    /// <summary>Adds the rows of the next step, whose forward pass serves nobody else.</summary>
    public void AddRows(Batch batch) => AddRows(batch, PassShare.Alone);

    /// <summary>Adds the rows of the next step.</summary>
    /// <param name="batch">Receives them.</param>
    /// <param name="share">Who else is served by its forward pass, and how many rows there is room for.</param>
    public void AddRows(Batch batch, in PassShare share)
    {
        if (Finish is not null)
        {
            throw new InvalidOperationException($"This sequence has ended ({Finish}).");
        }

        var begin = Session.Position;
        var end = Math.Min(Math.Min(_tokens.Count, (begin / ChunkRows * ChunkRows) + ChunkRows), begin + share.Room);
        var guesses = begin >= PromptTokens && end == _tokens.Count && _speculator is not null
            ? _speculator.Guess(Tokens, end - begin, GuessDepth, _state, Remaining, share, _guesses)
            : -1;
        _guessed = guesses >= 0;
        _logitsRow = -1;
        _node = DraftTree.Root;
        var top = Top;
        for (var position = begin; position < end; position++)
        {
            var last = position == _tokens.Count - 1;
            var mark = Marks.Count > 0 && position < PromptTokens && Marks.Contains(position + 1);
            var row = batch.Add(Session, _tokens[position], logits: last, mark: mark, tentative: guesses > 0, top: last ? top : default);
            _logitsRow = last ? row : -1;
        }

        _settledRow = _logitsRow;
        for (var i = 0; i < guesses; i++)
        {
            var tree = _speculator!.Tree;
            var node = tree[_guesses[i]];
            var parent = node.Parent < 0 ? _logitsRow : tree[node.Parent].Row;
            tree.SetRow(_guesses[i], batch.Add(Session, node.Token, logits: true, parent, tentative: true, top: top));
        }
    }

    /// <summary>After the forward pass: the next token of this step. To be called until there is none.</summary>
    /// <param name="batch">The batch given to <see cref="AddRows"/>.</param>
    /// <param name="token">The new token, an end token included.</param>
    /// <returns>Whether there is a new token.</returns>
    public bool TakeLogits(Batch batch, out int token)
    {
        token = -1;
        if (Finish is not null || GeneratedTokens == 0 && _logitsRow < 0)
        {
            return false;
        }

        if (_guessed && _node == DraftTree.Root && _logitsRow >= 0)
        {
            _speculator!.OpenStep(batch.Count, batch.Seconds);
        }

        // What the constraint leaves no choice about needs no logits; rows for it come with the next step if it was not guessed.
        token = _constraint?.Forced(_state, Remaining) ?? -1;
        if (token < 0 && _logitsRow < 0)
        {
            return false;
        }

        if (token < 0)
        {
            var allowed = _constraint is null ? default : _constraint.Allowed(_state, Remaining);
            token = _sampler.Sample(Logits(batch, _logitsRow), Tokens, _tokens.Count, allowed);
        }

        Take(batch, token);
        return true;
    }

    /// <summary>Ends the sequence from outside, for this reason.</summary>
    public void End(FinishReason reason)
    {
        Finish = reason;
        Settle();
    }

    private ReadOnlySpan<float> Logits(Batch batch, int row) => batch.Logits(row)[.._sampler.VocabularySize];

    // What the sampler looks at, and the drafts after it. A constraint may rule out the largest, however many.
    private TopRows Top => _constraint is null ? _sampler.Top(_tokens.Count + (_speculator is null ? 0 : DraftTree.Capacity), _speculator?.ObservedLogits ?? 0) : default;

    // Guesses deeper than what may still be generated, or than the context holds, are of no use.
    private int GuessDepth => Math.Min(Remaining - 1, Session.Model.Info.LongestSequence - _tokens.Count);

    private void Take(Batch batch, int token)
    {
        var row = _logitsRow;
        _settledRow = row >= 0 ? row : _settledRow;
        if (_guessed && row >= 0)
        {
            _speculator!.Observe(_node, _tokens[^1], Logits(batch, row), token);
        }

        if (_endTokens.Contains(token))
        {
            End(FinishReason.Eos);
            return;
        }

        _tokens.Add(token);
        _state = _constraint?.Next(_state, token, Remaining + 1) ?? 0;
        if (_constraint is not null && _constraint.IsComplete(_state, Math.Max(1, Remaining)))
        {
            End(FinishReason.Eos);
        }
        else if (Remaining == 0)
        {
            End(FinishReason.Length);
        }
        else if (row >= 0)
        {
            GoOn(token);
        }
    }

    // To the guess that was right, or out of the tree.
    private void GoOn(int token)
    {
        var child = _guessed ? _speculator!.Tree.Find(_node, token) : DraftTree.Refused;
        if (child >= 0 && _speculator!.Tree[child].Row >= 0)
        {
            _speculator.Accept();
            _node = child;
            _logitsRow = _speculator.Tree[child].Row;
        }
        else
        {
            Settle();
        }
    }

    // The path walked becomes part of the sequence; as ever, all but the latest token.
    private void Settle()
    {
        _logitsRow = -1;
        if (Session.HasPendingTree)
        {
            Session.Accept(_settledRow);
        }
    }
}
