using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

/// <summary>
/// Which logits of a row are wanted: the <paramref name="Count"/> largest of the first <paramref name="Rows"/>, ties included, and all that
/// lie at most <paramref name="Margin"/> below the last of these.
/// </summary>
/// <param name="Count">1 for the largest only; 0 wants all logits.</param>
/// <param name="Rows">Rows of the head that count; later ones are padding.</param>
/// <param name="Margin">At least 0.</param>
public readonly record struct TopRows(int Count, int Rows, float Margin = 0);

/// <summary>
/// An output head that reads half the bytes and still gives the exact largest logits: all rows are scored from an int8 copy with a proven
/// error bound, then only the rows that can be among the largest are multiplied in full. Between the two, four more bits per weight of these rows,
/// read where they are needed, rule out nine in ten.
/// </summary>
/// <remarks>
/// <para>Row r is w = s q + d with int8 q, the activations are x = u p + e with int16 p. By Cauchy-Schwarz
/// |w.x - s u (q.p)| &lt;= |d||x| + |s q||e|, plus the rounding of both computations; |d| and |w| are stored per row, rounded up.
/// A row survives if its upper bound reaches the wanted largest lower bound, less the margin. With nibbles c, w = s (q + (c - 7.5) / 16) + d', the same bounds
/// hold for the survivors with |d'| for |d|, a sixteenth; who survives these is read in full, once for all tokens.</para>
/// <para>The copy is made a share at a time: the first call multiplies in full, each of the next <see cref="PackSteps"/> copies one share
/// before it starts, and rows not copied yet take part with their full product. So no call waits for the whole copy, and where the head is
/// mapped from a file, the pages that the copy replaces are let go as it grows.</para>
/// <para>Not for concurrent use, like the <see cref="Ops"/> it was made with.</para>
/// </remarks>
public sealed unsafe partial class TwoStageHead : IDisposable
{
    /// <summary>Largest <see cref="TopRows.Count"/>; where more are wanted, all are computed.</summary>
    public const int MaxTop = 1024;

    /// <summary>Calls over which the copy is made.</summary>
    public const int PackSteps = 12;

    /// <summary>Most rows of activations that are scored at once; where there are more, all logits are computed.</summary>
    public const int MaxRows = 32;

    private const int PanelRows = KernelSet.ScoreRows;

    // Rows that a thread takes at once: some 10 µs for a token.
    private const int Piece = 4 * PanelRows;

    // The system maps this many bytes around a touched one, so rows that are read are counted in such chunks.
    private const int ChunkBytes = 64 * 1024;

    private readonly WeightMatrix _w;
    private readonly Ops _ops;
    private readonly NativeBuffer<sbyte> _codes;
    private readonly NativeBuffer<byte> _nibbles;
    private readonly NativeBuffer<float> _bounds; // scales, then norms of residuals, of the rows and of what the nibbles miss, all rounded up
    private readonly NativeBuffer<short> _fixed;
    private readonly NativeBuffer<float> _lowest;
    private readonly WorkShares _shares;
    private readonly FullJob _full;
    private readonly PackJob _pack;
    private readonly ScoreJob _score;
    private readonly NibbleJob _nibble;
    private readonly RefineJob _refine;
    private readonly byte[] _touched;
    private readonly int _columns; // even
    private readonly int _nibbleBytes; // of a row
    private readonly int _rows;    // whole panels
    private readonly int _stride;  // between tokens: an odd number of cache lines, so that they do not crowd into a few sets of the first-level cache
    private int _packed = -1; // rows copied; -1 before the first call
    private int _chunks;      // touched chunks

    /// <summary>Prepares the copy of a head: a byte and a half per weight and 16 per row.</summary>
    /// <param name="w">Head of a format for which <see cref="Pays"/> holds; it stays in use for the surviving rows.</param>
    /// <param name="ops">Kernels and threads.</param>
    /// <exception cref="ArgumentException">The format has no use for a copy.</exception>
    public TwoStageHead(WeightMatrix w, Ops ops)
    {
        if (!Pays(w.Format.Type))
        {
            throw new ArgumentException($"{w.Name}: a head in {w.Format} is as small as its int8 copy.", nameof(w));
        }

        (_w, _ops) = (w, ops);
        _columns = (w.Columns + 1) & ~1;
        _rows = (w.Rows + PanelRows - 1) / PanelRows * PanelRows;
        _stride = (((w.Columns + 31) / 32) | 1) * 32;
        _codes = new((long)_rows * _columns, zeroed: false);
        _nibbleBytes = KernelSet.NibbleRowBytes(w.Columns);
        _nibbles = new((long)w.Rows * _nibbleBytes, zeroed: false);
        _bounds = new(4L * _rows);
        _fixed = new((long)MaxRows * _stride);
        _lowest = new((long)ops.Team.Workers * MaxRows * MaxTop);
        _touched = new byte[(w.Bytes / ChunkBytes) + 1];
        _shares = new(ops.Team.Workers);
        _full = new(this);
        _pack = new(this);
        _score = new(this);
        _nibble = new(this);
        _refine = new(this);
    }

    /// <summary>Memory of the copy.</summary>
    public long Bytes => _codes.Length + _nibbles.Length + (_bounds.Length * sizeof(float));

    /// <summary>Rows in the copy now.</summary>
    public int CopiedRows => Math.Max(_packed, 0);

    /// <summary>Rows that the last call that used the copy read in full, each once for all tokens.</summary>
    public long RefinedRows { get; private set; }

    /// <summary>Stretches of the matrix that were read since pages were last let go.</summary>
    public int TouchedStretches => _chunks;

    /// <summary>Whether reading an int8 copy saves bytes.</summary>
    public static bool Pays(QuantType type) => type is QuantType.F32 or QuantType.F16 or QuantType.BF16;

    /// <summary>
    /// Logits of some rows: y[t, m] has the bits of <see cref="Ops.Linear"/> for every m that <paramref name="tops"/>[t] wants, and elsewhere
    /// either these bits or negative infinity.
    /// </summary>
    /// <param name="x">Activations, [tops.Length][w.Columns].</param>
    /// <param name="tops">What is wanted of each row.</param>
    /// <param name="y">Receives [tops.Length][w.Rows].</param>
    /// <exception cref="ArgumentOutOfRangeException">A count, number of rows or margin is out of range.</exception>
    public void Multiply(float* x, ReadOnlySpan<TopRows> tops, float* y)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(y);
        var all = tops.Length > MaxRows;
        foreach (var top in tops)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(top.Count, nameof(tops));
            ArgumentOutOfRangeException.ThrowIfNegative(top.Rows, nameof(tops));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(top.Rows, _w.Rows, nameof(tops));
            if (!(top.Margin >= 0))
            {
                throw new ArgumentOutOfRangeException(nameof(tops), top.Margin, "A margin is at least 0.");
            }

            all |= top.Count == 0 || top.Count > Math.Min(MaxTop, top.Rows);
        }

        if (all || tops.IsEmpty)
        {
            _ops.Linear(_w, x, tops.Length, y);
            return;
        }

        if (_packed < 0)
        {
            _packed = 0;
            MultiplyFrom(0, x, tops.Length, y);
            return;
        }

        Pack();
        RefinedRows = 0;
        MultiplyInTwo(x, tops, y);
    }

    /// <summary>Counts a row that others read, where the matrix is the embedding too: its page is let go with those of surviving rows.</summary>
    /// <param name="row">Row of the matrix.</param>
    public void Touch(int row)
    {
        if (MarkTouched(row))
        {
            _chunks++;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _codes.Dispose();
        _nibbles.Dispose();
        _bounds.Dispose();
        _fixed.Dispose();
        _lowest.Dispose();
        _shares.Dispose();
    }

    // Whether nobody has read there since pages were last let go.
    private bool MarkTouched(int row)
    {
        ref var touched = ref _touched[row * _w.RowBytes / ChunkBytes];
        var first = touched == 0;
        touched = 1;
        return first;
    }

    // All logits from a row on, in slices whose pages are let go: a head that will be copied never fills memory as a whole.
    private void MultiplyFrom(int first, float* x, int n, float* y)
    {
        var slice = Slice;
        for (var begin = first; begin < _w.Rows; begin += slice)
        {
            var end = Math.Min(_w.Rows, begin + slice);
            _full.Set(begin, end, x, n, y);
            _ops.Team.Run(_full);
            _w.ReleasePages(begin, end);
        }

        _ops.WeightBytes += (_w.Rows - first) * _w.RowBytes;
    }

    // Rows of a share of the copy, whole panels.
    private int Slice => ((_w.Rows / PackSteps) + PanelRows) / PanelRows * PanelRows;

    private void Pack()
    {
        if (_packed < _w.Rows)
        {
            var end = Math.Min(_w.Rows, _packed + Slice);
            _pack.Set(_packed, end);
            _ops.Team.Run(_pack);
            _w.ReleasePages(_packed, end);
            _packed = end;
        }
        else if (_w.IsMapped && (long)_chunks * ChunkBytes > _w.Bytes / 8)
        {
            _w.ReleasePages(0, _w.Rows);
            Array.Clear(_touched);
            _chunks = 0;
        }
    }

    private void MultiplyInTwo(float* x, ReadOnlySpan<TopRows> tops, float* y)
    {
        Span<Activations> activations = stackalloc Activations[tops.Length];
        for (var t = 0; t < tops.Length; t++)
        {
            if (!TryFix(x + ((long)t * _w.Columns), _fixed.Pointer + ((long)t * _stride), out activations[t]))
            {
                _ops.Linear(_w, x, tops.Length, y); // infinities, NaN or next to nothing: no bound holds
                return;
            }
        }

        MultiplyFrom(_packed, x, tops.Length, y);
        _score.Set(activations, tops, y);
        _ops.Team.Run(_score);
        Span<float> thresholds = stackalloc float[tops.Length];
        SetThresholds(tops, thresholds);
        _nibble.Set(activations, tops, thresholds, y);
        _ops.Team.Run(_nibble);
        SetThresholds(tops, thresholds);
        _refine.Set(x, tops, thresholds, y);
        _ops.Team.Run(_refine);
        RefinedRows = _refine.Refined;
        _ops.WeightBytes += (_packed * (long)(_columns + (3 * sizeof(float)))) + (_nibble.Rows * (long)_nibbleBytes) + (_refine.Refined * _w.RowBytes);
    }

    // What an upper bound must reach: the wanted largest lower bound of a token, from what the workers kept, less the margin.
    private void SetThresholds(ReadOnlySpan<TopRows> tops, Span<float> thresholds)
    {
        for (var t = 0; t < tops.Length; t++)
        {
            thresholds[t] = Threshold(t, tops[t]);
        }
    }

    private float Threshold(int token, TopRows top)
    {
        var heap = stackalloc float[MaxTop];
        var count = 0;
        for (var worker = 0; worker < _ops.Team.Workers; worker++)
        {
            var kept = Kept(worker, token);
            for (var i = 0; i < top.Count; i++)
            {
                TopHeap.Push(heap, ref count, top.Count, kept[i]);
            }
        }

        return top.Margin == 0 ? heap[0] : MathF.BitDecrement((float)((double)heap[0] - top.Margin));
    }

    private float* Kept(int worker, int token) => _lowest.Pointer + ((((long)worker * MaxRows) + token) * MaxTop);

    /// <summary>Activations in fixed point of 16 bits, and what the bound needs of them.</summary>
    private bool TryFix(float* x, short* p, out Activations a)
    {
        var largest = 0f;
        var squares = 0d;
        for (var k = 0; k < _w.Columns; k++)
        {
            largest = Math.Max(largest, Math.Abs(x[k]));
            squares += (double)x[k] * x[k];
        }

        a = default;
        if (!double.IsFinite(squares))
        {
            return false;
        }

        var unit = largest / 32767d;
        if (unit is > 0 and < 1e-30)
        {
            return false; // scores would be lost in subnormal floats
        }

        var errors = 0d;
        var sum = 0L;
        for (var k = 0; k < _w.Columns; k++)
        {
            p[k] = (short)(unit == 0 ? 0 : Math.Round(x[k] / unit));
            var e = x[k] - (unit * p[k]);
            errors += e * e;
            sum += p[k];
        }

        new Span<short>(p + _w.Columns, _stride - _w.Columns).Clear();
        var norm = Math.Sqrt(squares) * Up;
        a = new Activations(unit, norm, (Math.Sqrt(errors) * Up) + (1e-12 * norm), sum, _w.Columns);
        return true;
    }

    // Covers the rounding of norms, which are double sums.
    private const double Up = 1 + 1e-9;

    /// <summary>
    /// What a row of activations x = u p + e brings to the bound: |w.x - score s u| &lt;= |d| Residual + |w| Row, where all is computed in floats.
    /// </summary>
    /// <remarks>
    /// The score is C rounded integers, added: off by (C + 1) 2^-24 of the sum of their magnitudes, at most |q||p|; times u, rounded, and s: three roundings;
    /// plus or minus the bound: one more. So by Scored = (C + 8) 2^-24 of |s q||u p|, with |u p| &lt;= |x| + |e|. With |s q| &lt;= |w| + |d|,
    /// |d||x| + |s q|(|e| + Scored (|x| + |e|)) &lt;= |d|(|x| + E) + |w| E. One full product is a chain of at most K / 16 + 32 roundings on any path
    /// (portable: 16 chains). Sums of bounds are not negative: off by less than 2e-6 of themselves.
    /// </remarks>
    private readonly struct Activations(double unit, double norm, double error, long sum, int columns)
    {
        public readonly float Unit = (float)unit;
        public readonly long Sum = sum; // of p
        public readonly float Residual = RoundUp(norm + Error(norm, error, columns));
        public readonly float Row = RoundUp(Error(norm, error, columns) + (((columns / 16) + 32) * Math.ScaleB(1, -24) * norm));

        private static double Error(double norm, double error, int columns) =>
            error + (((columns / KernelSet.ScoreColumns) + 9) * Math.ScaleB(1, -24) * (norm + error));

        private static float RoundUp(double bound) => MathF.BitIncrement((float)(bound * (1 + 3e-6)));
    }

    private float* Scales => _bounds.Pointer;

    private float* Residuals => _bounds.Pointer + _rows;

    private float* Norms => _bounds.Pointer + (2L * _rows);

    private float* FineResiduals => _bounds.Pointer + (3L * _rows);
}
