using System.Runtime.InteropServices;
using RyzenLlm.Engine.Models;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Engine.Sessions;

/// <summary>One token to compute: row index, its sequence, its place in it, and the row it follows.</summary>
/// <param name="Session">Sequence.</param>
/// <param name="Token">Token id.</param>
/// <param name="Position">0-based position of the token in its sequence.</param>
/// <param name="Parent">Row of the preceding token in this batch, or -1 when that is the session's head.</param>
/// <param name="Ordinal">How many rows of the same session come before it in the batch.</param>
/// <param name="LogitsRow">Row in the logits buffer, or -1 when the logits are not wanted.</param>
/// <param name="Mark">Whether the state after this row must be kept as a rewind target (recurrent models; free for the others).</param>
/// <param name="HiddenRow">Row in the buffer of hidden states, or -1 when the hidden state is not wanted.</param>
public readonly record struct BatchRow(Session Session, int Token, int Position, int Parent, int Ordinal, int LogitsRow, bool Mark, int HiddenRow = -1);

/// <summary>
/// Rows for one <see cref="LanguageModel.Forward"/>: a chunk of one prompt, the next tokens of many users, and drafted trees, together.
/// Reused from step to step.
/// </summary>
public sealed unsafe class Batch : IDisposable
{
    /// <summary>As parent: the session's latest row in this batch, or its head if there is none.</summary>
    public const int Previous = -1;

    /// <summary>As parent: the session's head, whatever rows came before.</summary>
    public const int Head = -2;

    private readonly List<BatchRow> _rows = [];
    private readonly List<Session> _sessions = [];
    private readonly List<TopRows> _tops = []; // of every row with logits
    private NativeBuffer<float>? _logits;
    private NativeBuffer<float>? _hidden;
    private int _logitsRows;
    private int _hiddenRows;
    private int _vocabularySize;
    private int _embeddingLength;
    private bool _computed;

    /// <summary>Number of rows.</summary>
    public int Count => _rows.Count;

    /// <summary>Number of rows whose logits are wanted.</summary>
    public int LogitsCount => _logitsRows;

    /// <summary>Number of rows whose hidden state is wanted.</summary>
    public int HiddenCount => _hiddenRows;

    /// <summary>What the latest forward pass took.</summary>
    public double Seconds { get; internal set; }

    /// <summary>All rows, in the order added; a parent always precedes its children.</summary>
    public IReadOnlyList<BatchRow> Rows => _rows;

    /// <summary>The sequences with rows in this batch.</summary>
    public IReadOnlyList<Session> Sessions => _sessions;

    /// <summary>Adds a token and returns its row index.</summary>
    /// <param name="session">Sequence that the token continues.</param>
    /// <param name="token">Token id.</param>
    /// <param name="logits">Whether to compute the logits after it.</param>
    /// <param name="parent">Row index of the preceding token, <see cref="Previous"/> or <see cref="Head"/>.</param>
    /// <param name="mark">Keep the state after this token as a rewind target.</param>
    /// <param name="tentative">The session's rows are a guess: they wait for <see cref="Session.Accept"/> even if they form a chain.</param>
    /// <param name="top">Which logits are wanted, all by default; others may then read as negative infinity. Saves reading a large head.</param>
    /// <param name="hidden">Whether to give the final hidden state after it, normed, instead of logits: no output head is computed for such rows.</param>
    /// <exception cref="ArgumentException">
    /// The parent is no earlier row of the session, the session has an unresolved tree, its context is full, or both logits and the hidden state are asked for.
    /// </exception>
    /// <exception cref="InvalidOperationException">The batch was computed and not cleared since.</exception>
    public int Add(
        Session session, int token, bool logits = false, int parent = Previous, bool mark = false, bool tentative = false, TopRows top = default, bool hidden = false)
    {
        if (logits && hidden)
        {
            throw new ArgumentException("A row gives logits or its hidden state, not both.", nameof(hidden));
        }

        if (_computed)
        {
            throw new InvalidOperationException("The rows of this batch are computed: call Clear before adding the next ones.");
        }

        session.Join(this, out var latest);
        var before = parent switch
        {
            Previous => latest,
            Head => -1,
            _ when parent >= 0 && parent < _rows.Count && _rows[parent].Session == session => parent,
            _ => throw new ArgumentException($"Row {parent} is no earlier row of this session.", nameof(parent)),
        };
        var row = _rows.Count;
        var position = before < 0 ? session.Position : _rows[before].Position + 1;
        var ordinal = session.Append(row, before, position, tentative);
        _rows.Add(new(session, token, position, before, ordinal, logits ? _logitsRows++ : -1, mark, hidden ? _hiddenRows++ : -1));
        if (logits)
        {
            _tops.Add(top);
        }

        return row;
    }

    /// <summary>Logits after a row that asked for them, after <see cref="LanguageModel.Forward"/>; valid until the next one.</summary>
    /// <exception cref="ArgumentException">The row did not ask for logits.</exception>
    public Span<float> Logits(int row)
    {
        var index = _rows[row].LogitsRow;
        if (index < 0 || _logits is null)
        {
            throw new ArgumentException($"Row {row} has no logits.", nameof(row));
        }

        return new Span<float>(LogitsRow(index), _vocabularySize);
    }

    /// <summary>Final hidden state, normed as the output head would read it, after a row that asked for it; valid until the next forward pass.</summary>
    /// <exception cref="ArgumentException">The row did not ask for its hidden state.</exception>
    public Span<float> Hidden(int row)
    {
        var index = _rows[row].HiddenRow;
        if (index < 0 || _hidden is null)
        {
            throw new ArgumentException($"Row {row} has no hidden state.", nameof(row));
        }

        return HiddenRow(index);
    }

    /// <summary>Forgets all rows; buffers stay.</summary>
    public void Clear()
    {
        foreach (var session in _sessions)
        {
            session.Leave(this);
        }

        _rows.Clear();
        _sessions.Clear();
        _tops.Clear();
        _logitsRows = 0;
        _hiddenRows = 0;
        _computed = false;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Clear();
        _logits?.Dispose();
        _logits = null;
        _hidden?.Dispose();
        _hidden = null;
    }

    /// <summary>What is wanted of every row of the logits buffer.</summary>
    internal ReadOnlySpan<TopRows> Tops => CollectionsMarshal.AsSpan(_tops);

    /// <summary>Address of row <paramref name="index"/> of the logits buffer.</summary>
    internal float* LogitsRow(int index) => _logits!.Pointer + ((long)index * _vocabularySize);

    /// <summary>Row <paramref name="index"/> of the buffer of hidden states.</summary>
    internal Span<float> HiddenRow(int index) => new(_hidden!.Pointer + ((long)index * _embeddingLength), _embeddingLength);

    internal void Enlist(Session session) => _sessions.Add(session);

    internal void Begin(LanguageModel model)
    {
        if (_computed)
        {
            throw new InvalidOperationException("The rows of this batch are computed already: call Clear and add the next ones.");
        }

        (_vocabularySize, _embeddingLength) = (model.Info.VocabularySize, model.Info.EmbeddingLength);
        foreach (var row in _rows)
        {
            if (row.Session.Model != model)
            {
                throw new ArgumentException($"A session of {row.Session.Model.Info.Name} cannot run on {model.Info.Name}.");
            }

            if ((uint)row.Token >= (uint)_vocabularySize)
            {
                throw new ArgumentException($"Token {row.Token} is outside the vocabulary of {_vocabularySize} of {model.Info.Name}.");
            }
        }

        Grow(ref _logits, _logitsRows, _vocabularySize);
        Grow(ref _hidden, _hiddenRows, _embeddingLength);
    }

    internal void Fail()
    {
        foreach (var session in _sessions)
        {
            session.IsLost = true;
        }
    }

    internal void Complete()
    {
        _computed = true;
        foreach (var session in _sessions)
        {
            session.Complete();
        }
    }

    private static void Grow(ref NativeBuffer<float>? buffer, int rows, int columns)
    {
        if (buffer is null || buffer.Length < (long)rows * columns)
        {
            buffer?.Dispose();
            buffer = new((long)Math.Max(1, rows) * columns);
        }
    }
}
