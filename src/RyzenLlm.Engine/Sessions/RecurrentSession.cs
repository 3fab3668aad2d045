using RyzenLlm.Engine.Models;

namespace RyzenLlm.Engine.Sessions;

/// <summary>
/// A sequence of a model whose state has constant size: a head lane, and lanes kept as marks to rewind to.
/// </summary>
public sealed unsafe class RecurrentSession : Session
{
    /// <summary>Marks that a session keeps; a further one drops the oldest.</summary>
    public const int MarkLimit = 16;

    // The state before and after a row, those that are kept of a prompt, and some rows of a drafted tree.
    private const int LanesInUse = 8;

    private readonly RecurrentState _state;
    private readonly List<(int Position, Lane Lane)> _marks = new(MarkLimit + 1);
    private readonly List<Lane> _rows = []; // state after each row of the present batch, by ordinal
    private Lane? _head;

    internal RecurrentSession(LanguageModel model, RecurrentState state)
        : base(model)
    {
        _state = state;
        _head = state.Initial.Share();
    }

    /// <summary>Positions of the marks held, ascending; position 0 needs none.</summary>
    public IEnumerable<int> Marks => _marks.Select(m => m.Position);

    private Lane HeadLane => _head ?? throw new ObjectDisposedException(nameof(RecurrentSession));

    /// <inheritdoc/>
    public override long StateBytes => HeadLane.Length * sizeof(float);

    /// <inheritdoc/>
    public override void Mark() => AddMark(Position, HeadLane);

    /// <inheritdoc/>
    public override bool CanRewind(int position) => position == 0 || position == Position || _marks.Exists(m => m.Position == position);

    /// <inheritdoc/>
    public override Session Fork()
    {
        var copy = new RecurrentSession(Model, _state) { Position = Position };
        copy.SetHead(HeadLane);
        foreach (var (position, lane) in _marks)
        {
            copy._marks.Add((position, lane.Share()));
        }

        return copy;
    }

    /// <inheritdoc/>
    public override void Save(Stream target)
    {
        SavePart(target, Identity, 0, Position);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        if (_head is not null)
        {
            DropRows();
            DropMarksAfter(-1);
            _head.Release();
            _head = null;
            Model.CountSession(-1);
        }
    }

    internal override byte[] Identity => _state.Fingerprint;

    internal static RecurrentSession Load(LanguageModel model, RecurrentState state, Stream source)
    {
        var session = new RecurrentSession(model, state);
        try
        {
            session.LoadPart(source, state.Fingerprint);
            return session;
        }
        catch
        {
            session.Dispose();
            throw;
        }
    }

    internal override long BytesAt(int tokens) => LanesInUse * _state.Pool.Length * sizeof(float);

    internal override Session Snapshot(int position)
    {
        var copy = new RecurrentSession(Model, _state) { Position = position };
        copy.SetHead(position == Position ? HeadLane : LaneAt(position));
        return copy;
    }

    internal override long Charge() => HeadLane.Kept++ == 0 ? HeadLane.Length * sizeof(float) : 0;

    internal override long Discharge() => --HeadLane.Kept == 0 ? HeadLane.Length * sizeof(float) : 0;

    internal override void SavePart(Stream target, ReadOnlySpan<byte> identity, int from, int to)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(from, 0);
        ArgumentOutOfRangeException.ThrowIfNotEqual(to, Position);
        var lane = HeadLane;
        using var file = SessionFile.Write(target, identity, from, to);
        file.Write(lane.Values, lane.Length * sizeof(float));
        file.Finish();
    }

    internal override void LoadPart(Stream source, ReadOnlySpan<byte> identity)
    {
        using var file = SessionFile.Read(source, identity);
        if (file.From != 0)
        {
            throw SessionFile.Damaged();
        }

        var lane = _state.Pool.Allocate();
        try
        {
            file.Read(lane.Values, lane.Length * sizeof(float));
            file.Finish();
        }
        catch
        {
            lane.Free();
            throw;
        }

        DropMarksAfter(-1);
        HeadLane.Release();
        _head = lane;
        Position = file.Position;
    }

    /// <summary>
    /// Decides where the state after a row goes: over its parent's lane where nobody needs that any more, else to a lane of its own.
    /// Rows come in the order of the batch.
    /// </summary>
    internal void Place(Batch batch, in BatchRow row, out float* stateIn, out float* stateOut)
    {
        if (row.Ordinal == 0)
        {
            DropRows(); // left over if an earlier attempt failed
        }

        var before = row.Parent < 0 ? HeadLane : _rows[batch.Rows[row.Parent].Ordinal];

        // Any row of a tree may be accepted, so each keeps its own state. In a chain the state before a row is needed
        // later only if it is a mark or another session's too.
        var keep = IsBranched || (row.Parent < 0 ? before.IsShared : batch.Rows[row.Parent].Mark);
        var after = keep ? _state.Pool.Rent() : before.Share();
        _rows.Add(after);
        stateIn = before.Values;
        stateOut = after.Values;
    }

    private protected override void Admit(int position) => _ = HeadLane; // throws once disposed

    private protected override void GoBack(int position)
    {
        if (position == Position)
        {
            return;
        }

        SetHead(LaneAt(position));
        DropMarksAfter(position);
    }

    private Lane LaneAt(int position)
    {
        var mark = _marks.FindIndex(m => m.Position == position);
        if (position != 0 && mark < 0)
        {
            var held = _marks.Count == 0 ? "none" : string.Join(", ", Marks);
            throw new InvalidOperationException(
                $"No mark at position {position}: a {Model.Info.Architecture} session can go back to its marks ({held}) and to 0. Call Mark there beforehand.");
        }

        return mark < 0 ? _state.Initial : _marks[mark].Lane;
    }

    private protected override void TakeOver(Batch batch, int row)
    {
        if (row >= 0)
        {
            var last = batch.Rows[row];
            SetHead(_rows[last.Ordinal]);
            Position = last.Position + 1;
            AddMarks(batch, row);
        }

        DropRows();
    }

    // The path runs from its end to the head, marks are added in ascending order; only the last MarkLimit of them can stay.
    private void AddMarks(Batch batch, int row)
    {
        Span<int> marked = stackalloc int[MarkLimit];
        var count = 0;
        for (var r = row; r >= 0 && count < MarkLimit; r = batch.Rows[r].Parent)
        {
            if (batch.Rows[r].Mark)
            {
                marked[count++] = r;
            }
        }

        while (--count >= 0)
        {
            var at = batch.Rows[marked[count]];
            AddMark(at.Position + 1, _rows[at.Ordinal]);
        }
    }

    private void AddMark(int position, Lane lane)
    {
        if (_marks.Count > 0 && _marks[^1].Position == position)
        {
            return;
        }

        if (_marks.Count == MarkLimit)
        {
            _marks[0].Lane.Release();
            _marks.RemoveAt(0);
        }

        _marks.Add((position, lane.Share()));
    }

    private void SetHead(Lane lane)
    {
        lane.Share();
        HeadLane.Release();
        _head = lane;
    }

    private void DropMarksAfter(int position)
    {
        while (_marks.Count > 0 && _marks[^1].Position > position)
        {
            _marks[^1].Lane.Release();
            _marks.RemoveAt(_marks.Count - 1);
        }
    }

    private void DropRows()
    {
        foreach (var lane in _rows)
        {
            lane.Release();
        }

        _rows.Clear();
    }
}
