using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

/// <summary>
/// An output head for guesses: estimates all logits from a copy of 2 bits per weight and computes those with the best estimates. Unlike
/// <see cref="TwoStageHead"/> it proves nothing, so a large logit may be missed; it reads an eighth of the bytes of an F16 head.
/// </summary>
/// <remarks>
/// <para>The copy rounds a row to -s, 0 and s: s where a weight exceeds 0.7 of the row's mean magnitude, which for normally distributed weights leaves
/// the least error (Li et al. 2016, "Ternary Weight Networks"), 0.44 of a weight's deviation. The estimate of a logit is off by as much of the
/// deviation of all logits, while the likeliest tokens lie several deviations above the candidates' last.</para>
/// <para>Made with the first product, on all threads. Not for concurrent use, like the <see cref="Ops"/> it was made with.</para>
/// </remarks>
public sealed unsafe class CandidateHead : IDisposable
{
    // Columns of a group of I2_S.
    private const int Group = 128;

    // Rows per candidate from which on estimating all of them is worth it.
    private const int RowsPerCandidate = 8;

    private const int Piece = 1024;

    private readonly WeightMatrix _w;
    private readonly Ops _ops;
    private readonly NativeBuffer<float> _scales;
    private readonly NativeBuffer<float> _kept;
    private readonly QuantizedRows _x;
    private readonly WorkShares _shares;
    private readonly EstimateJob _estimate;
    private readonly RefineJob _refine;
    private WeightMatrix? _copy;

    /// <summary>Prepares the copy of a head: a quarter of a byte per weight and 4 bytes per row.</summary>
    /// <param name="w">Head for which <see cref="Fits"/> holds; it stays in use for the candidates.</param>
    /// <param name="ops">Kernels and threads.</param>
    /// <exception cref="ArgumentException">The head does not fit.</exception>
    public CandidateHead(WeightMatrix w, Ops ops)
    {
        if (!Fits(w))
        {
            throw new ArgumentException($"{w.Name}: no head of {w.Columns} columns in {w.Format} can be estimated (columns must be a multiple of {Group}).", nameof(w));
        }

        (_w, _ops) = (w, ops);
        _scales = new(w.Rows);
        _kept = new((long)ops.Team.Workers * TwoStageHead.MaxTop);
        _x = new(1, w.Columns);
        _shares = new(ops.Team.Workers);
        _estimate = new(this);
        _refine = new(this);
    }

    /// <summary>Rows that the last product computed.</summary>
    public long RefinedRows { get; private set; }

    /// <summary>Whether a head can be estimated.</summary>
    public static bool Fits(WeightMatrix w) => w.Columns % Group == 0 && !KernelSet.IsTernary(w.Format.Type);

    /// <summary>Whether these products are worth estimating: few candidates of many rows.</summary>
    public static bool Pays(WeightMatrix w, ReadOnlySpan<TopRows> tops)
    {
        foreach (var top in tops)
        {
            if (top.Count is 0 or > TwoStageHead.MaxTop || (long)top.Count * RowsPerCandidate > w.Rows)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>
    /// Logits of the candidates: y[t, m] has the bits of the exact <see cref="Ops.Linear"/> for the <see cref="TopRows.Count"/> rows m of the best estimates, ties included,
    /// and is negative infinity elsewhere. <see cref="TopRows.Margin"/> adds none.
    /// </summary>
    /// <param name="x">Activations, [tops.Length][w.Columns].</param>
    /// <param name="tops">Candidates of each row, from 1 to <see cref="TwoStageHead.MaxTop"/>.</param>
    /// <param name="y">Receives [tops.Length][w.Rows].</param>
    /// <exception cref="ArgumentOutOfRangeException">A count or number of rows is out of range.</exception>
    public void Multiply(float* x, ReadOnlySpan<TopRows> tops, float* y)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(y);
        foreach (var top in tops)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(top.Count, 1, nameof(tops));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(top.Count, TwoStageHead.MaxTop, nameof(tops));
            ArgumentOutOfRangeException.ThrowIfLessThan(top.Rows, top.Count, nameof(tops));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(top.Rows, _w.Rows, nameof(tops));
        }

        _copy ??= Pack();
        RefinedRows = 0;
        foreach (var top in tops)
        {
            _ops.Quantize(x, 1, _w.Columns, _x);
            _ops.TernaryLinear(_copy, _x, 1, y);
            _estimate.Set(top, y);
            _ops.Team.Run(_estimate);
            _refine.Set(x, top.Rows, Threshold(top.Count), y);
            _ops.Team.Run(_refine);
            RefinedRows += _refine.Refined;
            x += _w.Columns;
            y += _w.Rows;
        }

        _ops.WeightBytes += RefinedRows * _w.RowBytes;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _scales.Dispose();
        _kept.Dispose();
        _x.Dispose();
        _shares.Dispose();
    }

    private WeightMatrix Pack()
    {
        var format = QuantFormat.Of(QuantType.I2_S);
        var bytes = format.TensorBytes(_w.Rows, _w.Columns);
        var memory = new NativeBuffer<byte>(bytes, zeroed: false);
        _ops.Team.Run(new PackJob(this, memory.Pointer));
        *(float*)(memory.Pointer + (_w.Rows * format.RowBytes(_w.Columns))) = 1;
        _w.ReleasePages(0, _w.Rows);
        return new(_w.Name, format, _w.Rows, _w.Columns, memory.Pointer, bytes, memory);
    }

    /// <summary>The estimate of the last candidate, from what the workers kept.</summary>
    private float Threshold(int candidates)
    {
        var heap = stackalloc float[candidates];
        var count = 0;
        for (var worker = 0; worker < _ops.Team.Workers; worker++)
        {
            var kept = Kept(worker);
            for (var i = 0; i < candidates; i++)
            {
                TopHeap.Push(heap, ref count, candidates, kept[i]);
            }
        }

        return heap[0];
    }

    private float* Kept(int worker) => _kept.Pointer + ((long)worker * TwoStageHead.MaxTop);

    /// <summary>Digits and scales of all rows.</summary>
    private sealed class PackJob : TeamJob
    {
        private readonly CandidateHead _head;
        private readonly byte* _to;

        public PackJob(CandidateHead head, byte* to)
        {
            _head = head;
            _to = to;
            head._shares.Begin(head._w.Rows, Piece);
        }

        public override void Run(int worker, int workers)
        {
            var columns = _head._w.Columns;
            var row = (float*)Scratch.TakeOuter(columns * (long)sizeof(float));
            for (var helped = 0; _head._shares.TryTake(worker, ref helped, out var m, out var end);)
            {
                for (; m < end; m++)
                {
                    _head._ops.Kernels.DecodeRow(_head._w, m, row);
                    _head._scales.Pointer[m] = PackRow(row, columns, _to + ((long)m * (columns / 4)));
                }
            }
        }

        // Writes the digits of a row and returns the mean of the magnitudes above the threshold.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private static float PackRow(float* row, int columns, byte* to)
        {
            var sum = Vector256<float>.Zero;
            for (var k = 0; k < columns; k += 8)
            {
                sum += Vector256.Abs(Vector256.Load(row + k));
            }

            var threshold = Vector256.Create(0.7f * Vector256.Sum(sum) / columns);
            sum = Vector256<float>.Zero;
            var count = Vector256<int>.Zero;
            for (var group = 0; group < columns; group += Group, to += 32)
            {
                for (var i = 0; i < 32; i += 8)
                {
                    var fields = Vector256<int>.Zero;
                    for (var k = group + i; k < group + Group; k += 32)
                    {
                        var v = Vector256.Load(row + k);
                        var above = Vector256.GreaterThan(v, threshold);
                        var below = Vector256.LessThan(v, -threshold);
                        sum += Vector256.Abs(v) & (above | below);
                        count -= (above | below).AsInt32();
                        fields = (fields << 2) + Vector256<int>.One - above.AsInt32() + below.AsInt32();
                    }

                    var words = Vector128.Narrow(fields.GetLower(), fields.GetUpper());
                    *(long*)(to + i) = Vector128.Narrow(words.AsUInt16(), words.AsUInt16()).AsInt64().ToScalar();
                }
            }

            return Vector256.Sum(sum) / Math.Max(1, Vector256.Sum(count));
        }
    }

    /// <summary>Scales the sums of digits to estimates, and keeps the largest of what each worker took.</summary>
    private sealed class EstimateJob(CandidateHead head) : TeamJob
    {
        private int _candidates;
        private float* _y;

        public void Set(TopRows top, float* y)
        {
            _candidates = top.Count;
            _y = y;
            head._shares.Begin(top.Rows, Piece);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public override void Run(int worker, int workers)
        {
            var kept = head.Kept(worker);
            var count = 0;
            for (var helped = 0; head._shares.TryTake(worker, ref helped, out var m, out var end);)
            {
                for (; m <= end - Vector256<float>.Count; m += Vector256<float>.Count)
                {
                    var estimates = Vector256.Load(_y + m) * Vector256.Load(head._scales.Pointer + m);
                    estimates.Store(_y + m);
                    if (count < _candidates || Vector256.GreaterThanAny(estimates, Vector256.Create(kept[0])))
                    {
                        Keep(m, m + Vector256<float>.Count, kept, ref count);
                    }
                }

                for (var i = m; i < end; i++)
                {
                    _y[i] *= head._scales.Pointer[i];
                }

                Keep(m, end, kept, ref count);
            }

            new Span<float>(kept + count, _candidates - count).Fill(float.NegativeInfinity);
        }

        private void Keep(int begin, int end, float* kept, ref int count)
        {
            for (var m = begin; m < end; m++)
            {
                TopHeap.Push(kept, ref count, _candidates, _y[m]);
            }
        }
    }

    /// <summary>Full products of the rows whose estimate reaches the threshold.</summary>
    private sealed class RefineJob(CandidateHead head) : TeamJob
    {
        private float* _x;
        private float* _y;
        private int _last;
        private float _threshold;
        private int _refined;

        public int Refined => _refined;

        public void Set(float* x, int last, float threshold, float* y)
        {
            (_last, _threshold, _refined) = (last, threshold, 0);
            _x = x;
            _y = y;
            head._shares.Begin(head._w.Rows, Piece);
        }

        public override void Run(int worker, int workers)
        {
            var refined = 0;
            for (var helped = 0; head._shares.TryTake(worker, ref helped, out var m, out var end);)
            {
                var last = Math.Clamp(_last, m, end);
                new Span<float>(_y + last, end - last).Fill(float.NegativeInfinity);
                for (; m <= last - Vector256<float>.Count; m += Vector256<float>.Count)
                {
                    refined += Refine(m, Survivors(m));
                }

                for (; m < last; m++)
                {
                    refined += _y[m] < _threshold ? Drop(m) : Refine(m, 1);
                }
            }

            Interlocked.Add(ref _refined, refined);
        }

        // Those of eight rows that stay; the others are set to negative infinity.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private uint Survivors(int m)
        {
            var estimates = Vector256.Load(_y + m);
            var below = Vector256.LessThan(estimates, Vector256.Create(_threshold)); // NaN stays
            Vector256.Create(float.NegativeInfinity).Store(_y + m);
            return ~below.ExtractMostSignificantBits() & 0xFF;
        }

        private int Refine(int first, uint survivors)
        {
            var count = BitOperations.PopCount(survivors);
            for (; survivors != 0; survivors &= survivors - 1)
            {
                var m = first + BitOperations.TrailingZeroCount(survivors);
                head._ops.Kernels.MatMul(head._w, m, m + 1, _x, head._w.Columns, 1, _y, head._w.Rows);
            }

            return count;
        }

        private int Drop(int m)
        {
            _y[m] = float.NegativeInfinity;
            return 0;
        }
    }
}
