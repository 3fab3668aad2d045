using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

/// <summary>
/// An output head that reads half the bytes and still gives the exact largest logits: all rows are scored from an int8 copy with a proven
/// error bound, then only the rows that can be among the largest are multiplied in full.
/// </summary>
/// <remarks>
/// <para>Row r is w = s q + d with int8 q, the activations are x = u p + e with int16 p. By Cauchy-Schwarz
/// |w.x - s u (q.p)| &lt;= |d||x| + |s q||e|, plus the rounding of both computations; |d|, |s q| and |w| are stored per row, rounded up.
/// A row survives if its upper bound reaches the top-th largest lower bound.</para>
/// <para>Not for concurrent use, like the <see cref="Ops"/> it was made with.</para>
/// </remarks>
public sealed unsafe class TwoStageHead : IDisposable
{
    /// <summary>Largest <c>top</c> of <see cref="Multiply"/>.</summary>
    public const int MaxTop = 1024;

    private const int Band = 256;
    private const int MaxTokens = 4;

    private readonly WeightMatrix _w;
    private readonly Ops _ops;
    private readonly NativeBuffer<sbyte> _codes;
    private readonly NativeBuffer<RowBounds> _rows;
    private readonly NativeBuffer<short> _fixed;
    private readonly NativeBuffer<float> _lowest;
    private readonly ScoreJob _score;
    private readonly RefineJob _refine;
    private readonly int _stride;

    /// <summary>Makes the int8 copy of a head: a byte per weight and 16 per row, made once, on all threads of the team.</summary>
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
        _stride = (w.Columns + 63) & ~63;
        _codes = new((long)w.Rows * _stride);
        _rows = new(w.Rows);
        _fixed = new((long)MaxTokens * _stride);
        _lowest = new((long)ops.Team.Workers * MaxTokens * MaxTop);
        _score = new(this);
        _refine = new(this);
        ops.Team.Run(new PackJob(this));
    }

    /// <summary>Memory of the copy.</summary>
    public long Bytes => _codes.Length + (_rows.Length * sizeof(RowBounds));

    /// <summary>Whether reading an int8 copy saves bytes.</summary>
    public static bool Pays(QuantType type) => type is QuantType.F32 or QuantType.F16 or QuantType.BF16;

    /// <summary>
    /// Logits of n rows: y[t, m] has the bits of <see cref="Ops.Linear"/> for every m that can be among the <paramref name="top"/> largest of row t
    /// (ties included), and negative infinity elsewhere.
    /// </summary>
    /// <param name="x">Activations, [n][w.Columns].</param>
    /// <param name="n">Rows.</param>
    /// <param name="top">1 for the largest only, at most <see cref="MaxTop"/>.</param>
    /// <param name="y">Receives [n][w.Rows].</param>
    /// <exception cref="ArgumentOutOfRangeException">n or top is out of range.</exception>
    public void Multiply(float* x, int n, int top, float* y)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(y);
        ArgumentOutOfRangeException.ThrowIfNegative(n);
        ArgumentOutOfRangeException.ThrowIfLessThan(top, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(top, MaxTop);
        for (var t = 0; t < n;)
        {
            var tokens = n - t >= MaxTokens ? MaxTokens : n - t;
            MultiplyTokens(x + ((long)t * _w.Columns), tokens, Math.Min(top, _w.Rows), y + ((long)t * _w.Rows));
            t += tokens;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _codes.Dispose();
        _rows.Dispose();
        _fixed.Dispose();
        _lowest.Dispose();
    }

    private void MultiplyTokens(float* x, int tokens, int top, float* y)
    {
        var activations = stackalloc Activations[MaxTokens];
        for (var t = 0; t < tokens; t++)
        {
            if (!TryFix(x + ((long)t * _w.Columns), _fixed.Pointer + ((long)t * _stride), out activations[t]))
            {
                _ops.Linear(_w, x, tokens, y); // infinities or NaN: no bound holds
                return;
            }
        }

        _score.Set(activations, tokens, top, y);
        _ops.Team.Run(_score);
        var thresholds = stackalloc float[MaxTokens];
        for (var t = 0; t < tokens; t++)
        {
            thresholds[t] = Threshold(t, top);
        }

        _refine.Set(x, tokens, thresholds, y);
        _ops.Team.Run(_refine);
    }

    /// <summary>The top-th largest lower bound of a token, from what the workers kept.</summary>
    private float Threshold(int token, int top)
    {
        var heap = stackalloc float[MaxTop];
        var count = 0;
        for (var worker = 0; worker < _ops.Team.Workers; worker++)
        {
            var kept = Kept(worker, token);
            for (var i = 0; i < top; i++)
            {
                TopHeap.Push(heap, ref count, top, kept[i]);
            }
        }

        return heap[0];
    }

    private float* Kept(int worker, int token) => _lowest.Pointer + ((((long)worker * MaxTokens) + token) * MaxTop);

    /// <summary>Activations in fixed point with |p| so small that a 32-bit lane holds an eighth of a row: K / 8 * 127 * max &lt; 2^31.</summary>
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

        var steps = Math.Min(32767, 130_000_000 / Math.Max(_w.Columns, 1));
        var unit = largest / (double)steps;
        var errors = 0d;
        for (var k = 0; k < _w.Columns; k++)
        {
            p[k] = (short)(unit == 0 ? 0 : Math.Round(x[k] / unit));
            var e = x[k] - (unit * p[k]);
            errors += e * e;
        }

        new Span<short>(p + _w.Columns, _stride - _w.Columns).Clear();
        a = new Activations { Unit = unit, Norm = Math.Sqrt(squares) * Up, Error = (Math.Sqrt(errors) * Up) + (1e-12 * Math.Sqrt(squares)) };
        return true;
    }

    // Covers the rounding of norms, which are double sums.
    private const double Up = 1 + 1e-9;

    /// <summary>What the bound needs of one activation row.</summary>
    private struct Activations
    {
        public double Unit;
        public double Norm;
        public double Error;
    }

    /// <summary>Scale and norms of one row of the copy; norms rounded up.</summary>
    private struct RowBounds
    {
        public float Scale;
        public float Residual;
        public float Quantised;
        public float Norm;
    }

    private sealed class PackJob(TwoStageHead head) : TeamJob
    {
        public override void Run(int worker, int workers)
        {
            var w = head._w;
            var row = (float*)Scratch.TakeOuter((long)w.Columns * sizeof(float));
            for (var m = (int)((long)w.Rows * worker / workers); m < (int)((long)w.Rows * (worker + 1) / workers); m++)
            {
                head._ops.Kernels.DecodeRow(w, m, row);
                var scale = head._ops.Kernels.PackInt8(row, w.Columns, head._codes.Pointer + ((long)m * head._stride), out var norms);
                head._rows.Pointer[m] = new RowBounds { Scale = scale, Residual = RoundUp(norms.Residual), Quantised = RoundUp(norms.Quantised), Norm = RoundUp(norms.Values) };
            }
        }

        private static float RoundUp(double squares) => MathF.BitIncrement((float)(Math.Sqrt(squares) * Up));
    }

    /// <summary>Upper bounds into y, and the largest lower bounds of each worker's share.</summary>
    private sealed class ScoreJob(TwoStageHead head) : TeamJob
    {
        private readonly Activations[] _activations = new Activations[MaxTokens];
        private int _tokens;
        private int _top;
        private float* _y;

        public void Set(Activations* activations, int tokens, int top, float* y)
        {
            new Span<Activations>(activations, tokens).CopyTo(_activations);
            _tokens = tokens;
            _top = top;
            _y = y;
        }

        public override void Run(int worker, int workers)
        {
            var rows = head._w.Rows;
            var begin = (int)((long)rows * worker / workers);
            var end = (int)((long)rows * (worker + 1) / workers);
            var scores = stackalloc float[Band * MaxTokens];
            var counts = stackalloc int[MaxTokens];
            for (var t = 0; t < _tokens; t++)
            {
                new Span<float>(head.Kept(worker, t), _top).Fill(float.NegativeInfinity);
                counts[t] = 0;
            }

            for (var first = begin; first < end; first += Band)
            {
                var count = Math.Min(Band, end - first);
                head._ops.Kernels.DotInt8(head._codes.Pointer + ((long)first * head._stride), head._stride, count, head._fixed.Pointer, _tokens, scores);
                for (var t = 0; t < _tokens; t++)
                {
                    Bound(scores + t, first, count, t, head.Kept(worker, t), ref counts[t]);
                }
            }
        }

        private void Bound(float* scores, int first, int count, int t, float* kept, ref int keptCount)
        {
            // One product in full: at most K / 16 + 32 roundings in a chain on any path (portable: 16 chains). The copy: a few, of lane sums.
            var (columns, a) = (head._w.Columns, _activations[t]);
            var rounding = ((columns / 16) + 32) * Math.ScaleB(1, -24) * a.Norm;
            var y = _y + ((long)t * head._w.Rows);
            for (var i = 0; i < count; i++)
            {
                var row = head._rows.Pointer[first + i];
                var score = a.Unit * row.Scale * scores[i * MaxTokens];
                var bound = (row.Residual * a.Norm) + (row.Quantised * (a.Error + (1e-6 * (a.Norm + a.Error)))) + (row.Norm * rounding) + 1e-30;
                y[first + i] = MathF.BitIncrement((float)(score + bound));
                TopHeap.Push(kept, ref keptCount, _top, MathF.BitDecrement((float)(score - bound)));
            }
        }
    }

    /// <summary>Full products of the rows whose upper bound reaches the threshold.</summary>
    private sealed class RefineJob(TwoStageHead head) : TeamJob
    {
        private readonly float[] _thresholds = new float[MaxTokens];
        private float* _x;
        private int _tokens;
        private float* _y;

        public void Set(float* x, int tokens, float* thresholds, float* y)
        {
            new Span<float>(thresholds, tokens).CopyTo(_thresholds);
            _x = x;
            _tokens = tokens;
            _y = y;
        }

        public override void Run(int worker, int workers)
        {
            var w = head._w;
            var end = (int)((long)w.Rows * (worker + 1) / workers);
            for (var t = 0; t < _tokens; t++)
            {
                var y = _y + ((long)t * w.Rows);
                for (var m = (int)((long)w.Rows * worker / workers); m < end; m++)
                {
                    if (y[m] >= _thresholds[t])
                    {
                        head._ops.Kernels.MatMul(w, m, m + 1, _x + ((long)t * w.Columns), w.Columns, 1, y, w.Rows);
                    }
                    else
                    {
                        y[m] = float.NegativeInfinity;
                    }
                }
            }
        }
    }
}

/// <summary>The largest numbers of a stream in a binary heap, smallest first.</summary>
internal static unsafe class TopHeap
{
    /// <summary>Takes v in if it is among the <paramref name="capacity"/> largest so far; then heap[0] is the smallest kept.</summary>
    public static void Push(float* heap, ref int count, int capacity, float v)
    {
        if (count < capacity)
        {
            var i = count++;
            for (; i > 0 && heap[(i - 1) / 2] > v; i = (i - 1) / 2)
            {
                heap[i] = heap[(i - 1) / 2];
            }

            heap[i] = v;
            return;
        }

        if (!(v > heap[0]))
        {
            return;
        }

        var at = 0;
        for (var child = 1; child < count; child = (2 * at) + 1)
        {
            if (child + 1 < count && heap[child + 1] < heap[child])
            {
                child++;
            }

            if (heap[child] >= v)
            {
                break;
            }

            heap[at] = heap[child];
            at = child;
        }

        heap[at] = v;
    }
}
