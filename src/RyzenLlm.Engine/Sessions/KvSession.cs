using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Engine.Sessions;

/// <summary>
/// A sequence of a transformer: keys and values of all positions in pages that grow with the sequence and are shared between forks until written.
/// Rows of a step take the slots behind the head in the order they were added; accepting a path of a tree moves it together.
/// </summary>
/// <remarks>
/// With a window, pages that no row sees any more are given up as the sequence goes on, and those behind them move up in the table: memory is constant. What is
/// held reaches <see cref="KvCache.Reach"/> positions further back than the next row sees, so that the session can be rewound by as many.
/// </remarks>
public sealed unsafe class KvSession : Session
{
    private readonly KvCache _cache;
    private readonly List<KvBlock> _blocks = [];
    private readonly List<int> _path = [];
    private NativeBuffer<nint> _table = new(16);
    private int _gone; // pages behind those of the sinks that were given up
    private bool _disposed;

    internal KvSession(LanguageModel model, KvCache cache)
        : base(model) => _cache = cache;

    /// <summary>Pages that the cache has in reserve.</summary>
    internal int Reserve => _cache.Reserve;

    /// <summary>Addresses of the pages.</summary>
    internal byte** Blocks => (byte**)_table.Pointer;

    /// <summary>Slots of the pages it holds.</summary>
    internal int Slots => _blocks.Count * KvView.BlockPositions;

    /// <inheritdoc/>
    public override long StateBytes =>
        (_cache.Info.HasFullState(Position) ? _cache.Info.Sinks + _cache.Info.Window : (long)Position) * _cache.HeadRuns * _cache.VectorBytes;

    /// <inheritdoc/>
    public override void Mark() => ObjectDisposedException.ThrowIf(_disposed, this);

    /// <inheritdoc/>
    public override bool CanRewind(int position) =>
        position >= 0 && position <= Position && (_gone == 0 || position <= SinkEnd || _cache.FirstSeen(position) >= SinkEnd + (_gone * KvView.BlockPositions));

    /// <inheritdoc/>
    public override Session Fork()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        var copy = new KvSession(Model, _cache) { Position = Position, _gone = _gone };
        for (var i = 0; i < BlocksFor(Position); i++)
        {
            _blocks[i].References++;
            copy.AddBlock(_blocks[i]);
        }

        return copy;
    }

    /// <inheritdoc/>
    public override void Save(Stream target)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        SavePart(target, Identity, 0, Position);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            Model.CountSession(-1);
            Truncate(0);
            _table.Dispose();
        }
    }

    internal override byte[] Identity => _cache.Fingerprint;

    // Positions before this one are in the pages of the sinks.
    private int SinkEnd => _cache.SinkPages * KvView.BlockPositions;

    internal static KvSession Load(LanguageModel model, KvCache cache, Stream source)
    {
        var session = new KvSession(model, cache);
        try
        {
            session.LoadPart(source, cache.Fingerprint);
            return session;
        }
        catch
        {
            session.Dispose();
            throw;
        }
    }

    internal override long BytesAt(int tokens)
    {
        var (info, pages) = (_cache.Info, KvCache.PagesFor(Math.Min(tokens, _cache.Info.LongestSequence)));
        return _cache.BlockBytes * (info.Window > 0 ? Math.Min(pages, _cache.SinkPages + KvCache.PagesFor(info.Window + KvCache.Reach + Decoder.ChunkRows) + 1) : pages);
    }

    /// <summary>Where keys and values of a position are.</summary>
    internal int Slot(int position) => position < SinkEnd ? position : position - (_gone * KvView.BlockPositions);

    internal override Session Snapshot(int position)
    {
        var copy = Fork();
        copy.Rewind(position);
        return copy;
    }

    internal override long Charge()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return _cache.BlockBytes * _blocks.Count(block => block.Kept++ == 0);
    }

    internal override long Discharge() => _cache.BlockBytes * _blocks.Count(block => --block.Kept == 0);

    internal override void SavePart(Stream target, ReadOnlySpan<byte> identity, int from, int to)
    {
        using var file = SessionFile.Write(target, identity, from, to);
        for (var page = SavedPage(from / KvView.BlockPositions, to); page < KvCache.PagesFor(to); page = SavedPage(page + 1, to))
        {
            var block = _blocks[Slot(page * KvView.BlockPositions) / KvView.BlockPositions];
            var bytes = (long)PositionsIn(page, to) * _cache.VectorBytes;
            for (var head = 0; head < _cache.HeadRuns; head++)
            {
                file.Write(_cache.HeadData(block, head), bytes);
            }
        }

        file.Finish();
    }

    internal override void LoadPart(Stream source, ReadOnlySpan<byte> identity)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        using var file = SessionFile.Read(source, identity);
        if (file.From != Position || file.Position > _cache.Info.LongestSequence)
        {
            throw SessionFile.Damaged();
        }

        var before = _blocks.Count;
        try
        {
            for (var page = SavedPage(before, file.Position); page < KvCache.PagesFor(file.Position); page = SavedPage(page + 1, file.Position))
            {
                var block = _cache.Allocate();
                AddBlock(block);
                var bytes = (long)PositionsIn(page, file.Position) * _cache.VectorBytes;
                for (var head = 0; head < _cache.HeadRuns; head++)
                {
                    file.Read(_cache.HeadData(block, head), bytes);
                }
            }

            file.Finish();
            Position = file.Position;
            _gone = KvCache.PagesFor(Position) - _blocks.Count;
        }
        catch
        {
            for (var i = before; i < _blocks.Count; i++)
            {
                _blocks[i].Free();
            }

            _blocks.RemoveRange(before, _blocks.Count - before);
            throw;
        }
    }

    /// <summary>Before a step: pages for all its rows, owned by this session alone.</summary>
    internal void Prepare()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        for (var i = Slot(Position) / KvView.BlockPositions; i < BlocksFor(Position + QueuedRows); i++)
        {
            if (i == _blocks.Count)
            {
                AddBlock(_cache.Rent());
            }
            else if (_blocks[i].References > 1)
            {
                _blocks[i] = _cache.Unshare(_blocks[i]);
                _table.Pointer[i] = (nint)_blocks[i].Data;
            }
        }
    }

    private protected override void Admit(int position)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (position >= _cache.Info.LongestSequence)
        {
            throw new ArgumentException(
                $"The context of {Model.Info.Name} holds {_cache.Info.LongestSequence} tokens and is full: shorten the text or rewind the session.");
        }
    }

    private protected override void GoBack(int position)
    {
        if (!CanRewind(position))
        {
            throw new InvalidOperationException(
                $"What position {position} sees has left the window of {_cache.Info.Window} tokens: {Model.Info.Name} can go back by {KvCache.Reach}, or near the beginning.");
        }

        if (position <= SinkEnd)
        {
            Truncate(KvCache.PagesFor(position));
            _gone = 0;
        }

        Truncate(BlocksFor(position));
    }

    private protected override void TakeOver(Batch batch, int row)
    {
        if (row >= 0)
        {
            if (IsBranched)
            {
                Compact(batch, row);
            }

            Position = batch.Rows[row].Position + 1;
        }

        if (!_disposed)
        {
            Truncate(BlocksFor(Position));
            GiveUpPages();
        }
    }

    // Pages held for the positions up to one that is in sight.
    private int BlocksFor(int positions) => KvCache.PagesFor(positions) - (positions > SinkEnd ? _gone : 0);

    // This page, or the first behind it that is part of a state which ends there: past the window, those of the sinks and what the next row sees.
    private int SavedPage(int page, int end) => page < _cache.SinkPages ? page : Math.Max(page, _cache.FirstSeen(end) / KvView.BlockPositions);

    private void GiveUpPages()
    {
        var count = (_cache.FirstSeen(Math.Max(0, Position - KvCache.Reach)) / KvView.BlockPositions) - _cache.SinkPages - _gone;
        if (count <= 0)
        {
            return;
        }

        for (var i = 0; i < count; i++)
        {
            _cache.Release(_blocks[_cache.SinkPages + i]);
        }

        _blocks.RemoveRange(_cache.SinkPages, count);
        _table.Span[(_cache.SinkPages + count)..].CopyTo(_table.Span[_cache.SinkPages..]);
        _gone += count;
    }

    private static int PositionsIn(int block, int end) => Math.Min(KvView.BlockPositions, end - (block * KvView.BlockPositions));

    // Slots along a path ascend and never lie before their target, so moving from the head on overwrites nothing still needed.
    private void Compact(Batch batch, int row)
    {
        _path.Clear();
        for (var r = row; r >= 0; r = batch.Rows[r].Parent)
        {
            _path.Add(r);
        }

        for (var i = _path.Count - 1; i >= 0; i--)
        {
            var at = batch.Rows[_path[i]];
            if (Position + at.Ordinal != at.Position)
            {
                _cache.Move(Blocks, Slot(Position) + at.Ordinal, Slot(at.Position));
            }
        }
    }

    private void AddBlock(KvBlock block)
    {
        if (_blocks.Count == _table.Length)
        {
            var larger = new NativeBuffer<nint>(_table.Length * 2);
            _table.Span.CopyTo(larger.Span);
            _table.Dispose();
            _table = larger;
        }

        _table.Pointer[_blocks.Count] = (nint)block.Data;
        _blocks.Add(block);
    }

    private void Truncate(int count)
    {
        for (var i = _blocks.Count - 1; i >= count; i--)
        {
            _cache.Release(_blocks[i]);
        }

        _blocks.RemoveRange(count, _blocks.Count - count);
    }
}
