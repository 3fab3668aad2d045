using RyzenLlm.Engine.Models;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Engine.Sessions;

/// <summary>One page of a key/value cache: <see cref="KvView.BlockPositions"/> positions in all layers, shared between forks by reference count.</summary>
internal sealed unsafe class KvBlock(long bytes)
{
    private readonly NativeBuffer<byte> _data = new(bytes);

    /// <summary>First byte.</summary>
    public byte* Data => _data.Pointer;

    /// <summary>Sessions that hold it; more than one means it must be copied before writing.</summary>
    public int References { get; set; }

    /// <summary>Those of them that are kept for later, so that their memory is counted once.</summary>
    public int Kept { get; set; }

    /// <summary>Frees the memory.</summary>
    public void Free() => _data.Dispose();
}

/// <summary>
/// What the sessions of one transformer have in common: the layout of cache pages, the pages in reserve, and the views of the present batch.
/// A page holds, layer by layer, keys [kv head][position][head size] and then values likewise.
/// </summary>
/// <remarks>
/// With a window (Xiao et al. 2023, StreamingLLM) a row past it sees the first tokens, the sinks, and the latest ones, at the positions they have among each other: those of the
/// window are where they were, the sinks lie right before them. Rotated keys stay as they are, since scores depend on distances only: that to a key of the window is the one
/// in the sequence, that to a sink is the one from the end of a full cache, for which the row has a second set of queries.
/// </remarks>
internal sealed unsafe class KvCache : IDisposable
{
    /// <summary>Positions by which a session with a window can always go back; more than any tree of guesses is deep.</summary>
    public const int Reach = 128;

    /// <summary>Pages held in reserve; what falls free beyond goes back to the system.</summary>
    private const int MostFree = 16;

    private readonly Stack<KvBlock> _free = new(MostFree);
    private readonly Lazy<byte[]> _fingerprint;
    private readonly int _queryLength;
    private KvView[] _views = new KvView[8];
    private NativeBuffer<int> _tails = new(64);
    private NativeBuffer<int> _slots = new(0); // 0, 1, 2, ...: what rows of a chain have of a window follows each other
    private NativeBuffer<float> _sinkQueries = new(0); // [rows][query heads][head size]
    private bool _disposed;

    /// <summary>A cache for a model of these sizes.</summary>
    /// <param name="info">The model.</param>
    /// <param name="heads">Query heads.</param>
    /// <param name="kvHeads">Key/value heads.</param>
    /// <param name="headSize">Elements per head.</param>
    /// <param name="type">Element type.</param>
    /// <param name="fingerprint">That of the model with such a variant.</param>
    public KvCache(ModelInfo info, int heads, int kvHeads, int headSize, KvType type, Func<string, byte[]> fingerprint)
    {
        (Info, KvHeads, HeadSize, Type) = (info, kvHeads, headSize, type);
        VectorBytes = KvView.VectorBytes(type, headSize);
        _queryLength = heads * headSize;
        _fingerprint = new(() => fingerprint(info.Window > 0 ? $"kv {type}, window {info.Window}, sinks {info.Sinks}" : $"kv {type}"));
    }

    /// <summary>The model.</summary>
    public ModelInfo Info { get; }

    /// <summary>Key/value heads.</summary>
    public int KvHeads { get; }

    /// <summary>Elements per head.</summary>
    public int HeadSize { get; }

    /// <summary>Element type.</summary>
    public KvType Type { get; }

    /// <summary>Pages that begin a session and stay, as sinks are in them.</summary>
    public int SinkPages => PagesFor(Info.Sinks);

    /// <summary>Identifies the model, the element type and the window in saved sessions.</summary>
    public byte[] Fingerprint => _fingerprint.Value;

    /// <summary>Largest number of positions that a row of the present batch sees.</summary>
    public int LongestView { get; private set; }

    /// <summary>The rows of the present batch in stretches of one sequence, which kernels take together: first row and number of rows.</summary>
    public List<(int First, int Count)> RowRanges { get; } = [];

    /// <summary>Pages in reserve.</summary>
    public int Reserve => _free.Count;

    private int Layers => Info.BlockCount;

    private long HeadBytes => (long)KvView.BlockPositions * VectorBytes;

    /// <summary>Bytes of one block.</summary>
    public long BlockBytes => Layers * LayerBytes;

    private long LayerBytes => 2 * KvHeads * HeadBytes;

    /// <summary>Bytes of one head's key or value at one position.</summary>
    public int VectorBytes { get; }

    /// <summary>Pages that so many positions fill.</summary>
    public static int PagesFor(int positions) => (positions + KvView.BlockPositions - 1) / KvView.BlockPositions;

    /// <summary>First position, besides those of sinks, that a row at this one sees.</summary>
    public int FirstSeen(int position) => IsPastWindow(position) ? position - Info.Window + 1 : 0;

    /// <summary>What a row may attend to in a layer, itself last.</summary>
    public KvView View(int row, int layer)
    {
        var view = _views[row];
        view.KeyOffset += layer * LayerBytes;
        view.ValueOffset += layer * LayerBytes;
        return view;
    }

    /// <summary>Makes room for every row of a batch and finds what each may attend to, and which go together, up to <paramref name="mostRows"/>.</summary>
    public void Plan(Batch batch, int mostRows)
    {
        for (var i = 0; i < batch.Sessions.Count; i++)
        {
            ((KvSession)batch.Sessions[i]).Prepare();
        }

        // Fresh memory is slow at first touch, and sequences that began together need their next pages together: one page a step is made beforehand.
        if (_free.Count < Math.Min(MostFree, batch.Sessions.Count))
        {
            _free.Push(new KvBlock(BlockBytes));
        }

        if (_views.Length < batch.Count)
        {
            _views = new KvView[batch.Count * 2];
        }

        PrepareWindows(batch);

        PlanTails(batch);
        PlanRanges(batch, mostRows);
    }

    /// <summary>Slot of the row itself, the last one it sees.</summary>
    public int Slot(int row) => _views[row].Slot(_views[row].Count - 1);

    /// <summary>A block with one owner and arbitrary contents.</summary>
    public KvBlock Rent()
    {
        var block = _free.TryPop(out var free) ? free : new KvBlock(BlockBytes);
        block.References = 1;
        return block;
    }

    /// <summary>A new block with one owner, whatever is in reserve; from any thread.</summary>
    public KvBlock Allocate() => new(BlockBytes) { References = 1 };

    /// <summary>A copy of a shared block's contents, in exchange for one ownership of it.</summary>
    public KvBlock Unshare(KvBlock block)
    {
        var copy = Rent();
        Buffer.MemoryCopy(block.Data, copy.Data, BlockBytes, BlockBytes);
        Release(block);
        return copy;
    }

    /// <summary>Gives up one ownership.</summary>
    public void Release(KvBlock block)
    {
        if (--block.References > 0)
        {
            return;
        }

        if (_disposed || _free.Count == MostFree)
        {
            block.Free();
        }
        else
        {
            _free.Push(block);
        }
    }

    /// <summary>Copies the vectors of all layers and heads from one slot to another.</summary>
    public void Move(byte** blocks, int from, int to)
    {
        var source = blocks[from / KvView.BlockPositions] + ((long)(from % KvView.BlockPositions) * VectorBytes);
        var target = blocks[to / KvView.BlockPositions] + ((long)(to % KvView.BlockPositions) * VectorBytes);
        for (var head = 0L; head < 2L * Layers * KvHeads; head++)
        {
            Buffer.MemoryCopy(source + (head * HeadBytes), target + (head * HeadBytes), VectorBytes, VectorBytes);
        }
    }

    /// <summary>Vectors of one head of a block, by position; runs count through layers, keys before values.</summary>
    public byte* HeadData(KvBlock block, int head) => block.Data + (head * HeadBytes);

    /// <summary>Runs of vectors in a block: layers times heads, keys and values.</summary>
    public int HeadRuns => 2 * Layers * KvHeads;

    /// <inheritdoc/>
    public void Dispose()
    {
        _disposed = true;
        _tails.Dispose();
        _slots.Dispose();
        _sinkQueries.Dispose();
        while (_free.TryPop(out var block))
        {
            block.Free();
        }
    }

    private void PlanTails(Batch batch)
    {
        // A tail is at most as long as the row is deep in its tree, or a window; their sum bounds the buffer.
        long slots = 0;
        for (var t = 0; t < batch.Count; t++)
        {
            var row = batch.Rows[t];
            slots += !row.Session.IsBranched ? 0 : IsPastWindow(row.Position) ? Info.Window : row.Position - row.Session.Position + 1;
        }

        if (_tails.Length < slots)
        {
            _tails.Dispose();
            _tails = new(slots * 2);
        }

        var next = _tails.Pointer;
        LongestView = 0;
        for (var t = 0; t < batch.Count; t++)
        {
            next = PlanView(batch, t, next);
            LongestView = Math.Max(LongestView, _views[t].Count);
        }
    }

    private void PlanRanges(Batch batch, int mostRows)
    {
        RowRanges.Clear();
        for (int first = 0, end; first < batch.Count; first = end)
        {
            for (end = first + 1; end < batch.Count && end - first < mostRows && batch.Rows[end].Session == batch.Rows[first].Session; end++)
            {
            }

            RowRanges.Add((first, end - first));
        }
    }

    private bool IsPastWindow(int position) => Info.HasFullState(position);

    private void PrepareWindows(Batch batch)
    {
        if (Info.Window == 0)
        {
            return;
        }

        var slots = 0;
        for (var i = 0; i < batch.Sessions.Count; i++)
        {
            slots = Math.Max(slots, ((KvSession)batch.Sessions[i]).Slots);
        }

        if (_slots.Length < slots)
        {
            _slots.Dispose();
            _slots = new(slots * 2L);
            for (var i = 0; i < _slots.Length; i++)
            {
                _slots.Pointer[i] = i;
            }
        }

        if (Info.Sinks > 0 && _sinkQueries.Length < (long)batch.Count * _queryLength)
        {
            _sinkQueries.Dispose();
            _sinkQueries = new(2L * batch.Count * _queryLength);
        }
    }

    private int* PlanView(Batch batch, int t, int* tail)
    {
        var row = batch.Rows[t];
        var session = (KvSession)row.Session;
        ref var view = ref _views[t];
        view = new KvView
        {
            Blocks = session.Blocks,
            KeyOffset = 0,
            ValueOffset = KvHeads * HeadBytes,
            Type = Type,
            KvHeads = KvHeads,
            HeadSize = HeadSize,
            Prefix = session.IsBranched ? session.Position : row.Position + 1,
        };
        if (IsPastWindow(row.Position))
        {
            return PlanWindow(batch, t, ref view, tail);
        }

        if (!session.IsBranched)
        {
            return tail;
        }

        view.Tail = tail;
        if (row.Parent >= 0)
        {
            var parent = _views[row.Parent];
            new Span<int>(parent.Tail, parent.TailCount).CopyTo(new Span<int>(tail, parent.TailCount));
            view.TailCount = parent.TailCount;
        }

        tail[view.TailCount++] = session.Position + row.Ordinal;
        return tail + view.TailCount;
    }

    // The sinks, what the window holds of the sequence so far, and of a tree the row's path.
    private int* PlanWindow(Batch batch, int t, ref KvView view, int* tail)
    {
        var row = batch.Rows[t];
        var session = (KvSession)row.Session;
        view.Prefix = Info.Sinks;
        view.Sinks = Info.Sinks;
        view.SinkQueries = _sinkQueries.Pointer + ((long)t * _queryLength);
        view.TailCount = Info.Window;
        if (!session.IsBranched)
        {
            view.Tail = _slots.Pointer + session.Slot(FirstSeen(row.Position));
            return tail;
        }

        view.Tail = tail;
        var head = session.Slot(session.Position);
        var before = Info.Window;
        for (var r = t; r >= 0 && before > 0; r = batch.Rows[r].Parent)
        {
            tail[--before] = head + batch.Rows[r].Ordinal;
        }

        new Span<int>(_slots.Pointer + head - before, before).CopyTo(new Span<int>(tail, before));
        return tail + Info.Window;
    }
}
