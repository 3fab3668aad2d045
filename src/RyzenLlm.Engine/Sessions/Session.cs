using RyzenLlm.Engine.Models;

namespace RyzenLlm.Engine.Sessions;

/// <summary>
/// The state of one sequence in one model. Life of a step: <see cref="Batch.Add"/> rows, <see cref="LanguageModel.Forward"/>; rows that
/// form a chain are then part of the sequence, a tree waits for <see cref="Accept"/>.
/// </summary>
public abstract class Session : IDisposable
{
    private Batch? _batch;
    private int _latest = -1;
    private int _rows;
    private bool _queued;

    private protected Session(LanguageModel model)
    {
        Model = model;
        model.CountSession(1);
    }

    /// <summary>The model this state belongs to.</summary>
    public LanguageModel Model { get; }

    /// <summary>Tokens taken over so far; the next token goes here.</summary>
    public int Position { get; private protected set; }

    /// <summary>Bytes of state that the next token reads.</summary>
    public abstract long StateBytes { get; }

    /// <summary>Whether a computed tree waits for <see cref="Accept"/>.</summary>
    public bool HasPendingTree { get; private set; }

    /// <summary>Whether a step with rows of this session failed: what it holds is then no state of any sequence.</summary>
    public bool IsLost { get; internal set; }

    /// <summary>Whether the rows in the present batch form more than one chain from the head, or are a guess: then they wait for <see cref="Accept"/>.</summary>
    internal bool IsBranched { get; private set; }

    /// <summary>Rows of this session in the present batch.</summary>
    internal int QueuedRows => _rows;

    /// <summary>Makes the current position a rewind target. Nothing to do for transformers; recurrent models keep a copy of their state.</summary>
    public abstract void Mark();

    /// <summary>Whether <see cref="Rewind"/> to that position would succeed.</summary>
    public abstract bool CanRewind(int position);

    /// <summary>Goes back: afterwards the state equals, bit for bit, never having seen the later tokens.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The position lies ahead or is negative.</exception>
    /// <exception cref="InvalidOperationException">A recurrent model holds no mark at that position (the message lists those it holds),
    /// what a transformer with a window would see from there is gone, or the session has rows in a batch that was not computed, or an unresolved tree.</exception>
    public void Rewind(int position)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(position, Position);
        if (_queued || HasPendingTree)
        {
            throw new InvalidOperationException(
                HasPendingTree ? "This session has an unresolved tree: call Accept first." : "This session has rows in a batch: compute or clear it first.");
        }

        GoBack(position);
        Position = position;
    }

    /// <summary>An independent copy at the same position; memory is shared where it can be.</summary>
    public abstract Session Fork();

    /// <summary>
    /// Writes the state for <see cref="LanguageModel.LoadSession"/>, with version, model fingerprint and checksum.
    /// Rewind marks of recurrent models are not written.
    /// </summary>
    public abstract void Save(Stream target);

    /// <summary>After a tree: takes over the path from the head to this row of the last batch and drops the rest; -1 drops all of it.</summary>
    /// <exception cref="InvalidOperationException">No tree is pending, or the row is not part of it.</exception>
    public void Accept(int row)
    {
        if (!HasPendingTree || row < -1 || (row >= 0 && (row >= _batch!.Count || _batch.Rows[row].Session != this)))
        {
            throw new InvalidOperationException($"Row {row} is not part of a tree that this session waits for.");
        }

        TakeOver(_batch!, row);
        HasPendingTree = false;
    }

    /// <inheritdoc/>
    public abstract void Dispose();

    /// <summary>Identifies the model, and all else that decides whether a state fits, in saved states.</summary>
    internal abstract byte[] Identity { get; }

    /// <summary>Bytes that a session of this model takes with that many tokens, alone, while it is advanced.</summary>
    internal abstract long BytesAt(int tokens);

    /// <summary>A copy that stands at an earlier position and has no marks: the state alone.</summary>
    /// <exception cref="InvalidOperationException">A recurrent session has no mark there, or one with a window has lost what would be in sight.</exception>
    internal abstract Session Snapshot(int position);

    /// <summary>Counts this session as an owner of its pages that is kept for later. Returns the bytes of those that no other such session owns.</summary>
    internal abstract long Charge();

    /// <summary>The inverse of <see cref="Charge"/>, with the bytes that are no longer owned by any kept session.</summary>
    internal abstract long Discharge();

    /// <summary>
    /// Writes what the positions <paramref name="from"/> to <paramref name="to"/> add to the state before them. Reads only what is settled, so another thread
    /// may do it while the session is kept and not advanced.
    /// </summary>
    /// <param name="target">Where to.</param>
    /// <param name="identity">32 bytes that <see cref="LoadPart"/> must be given to read it again.</param>
    /// <param name="from">Transformers: start of a page, 0 past the window. Recurrent models: 0.</param>
    /// <param name="to">A position that it can be rewound to. Recurrent models: the present one.</param>
    internal abstract void SavePart(Stream target, ReadOnlySpan<byte> identity, int from, int to);

    /// <summary>
    /// Continues this session with what <see cref="SavePart"/> wrote from its position on. Takes new memory and leaves the reserve of the model alone, so that it may
    /// run on any thread.
    /// </summary>
    /// <exception cref="InvalidDataException">The data is damaged, of another version, or not the part that follows; the session is as before.</exception>
    internal abstract void LoadPart(Stream source, ReadOnlySpan<byte> identity);

    internal void Join(Batch batch, out int latest)
    {
        if (HasPendingTree)
        {
            throw new ArgumentException("This session has an unresolved tree: call Accept first.");
        }

        if (_batch != batch)
        {
            if (_batch is not null)
            {
                throw new ArgumentException("This session already has rows in another batch.");
            }

            _batch = batch;
            _latest = -1;
            _rows = 0;
            IsBranched = false;
            batch.Enlist(this);
        }

        latest = _latest;
    }

    internal int Append(int row, int parent, int position, bool tentative)
    {
        Admit(position);
        IsBranched |= tentative || parent != _latest;
        _latest = row;
        _queued = true;
        return _rows++;
    }

    internal void Leave(Batch batch)
    {
        if (_batch == batch)
        {
            if (HasPendingTree || _queued)
            {
                TakeOver(batch, -1); // never resolved: as if it had not been computed
                HasPendingTree = false;
                _queued = false;
            }

            _batch = null;
        }
    }

    internal void Complete()
    {
        _queued = false;
        if (IsBranched)
        {
            HasPendingTree = true;
        }
        else
        {
            TakeOver(_batch!, _latest);
        }
    }

    /// <summary>Refuses a token at that position with an <see cref="ArgumentException"/> if it can never be computed.</summary>
    private protected virtual void Admit(int position)
    {
    }

    /// <summary>Restores the state of an earlier position; both are checked, <see cref="Position"/> moves afterwards.</summary>
    private protected abstract void GoBack(int position);

    /// <summary>Makes the path from the head to <paramref name="row"/> permanent (-1: none of it) and moves <see cref="Position"/>.</summary>
    private protected abstract void TakeOver(Batch batch, int row);
}
