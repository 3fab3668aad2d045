using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

// Between the stages: four more bits of the rows that may be among the largest.
public sealed unsafe partial class TwoStageHead
{
    // Rows whose survivors are the bits of one number.
    private const int Group = 64;

    private byte* Nibbles(int m) => _nibbles.Pointer + ((long)m * _nibbleBytes);

    // The rows that stay of some; the others are set to negative infinity.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private ulong Survivors(float* logits, int t, int first, int count, int rows, float least)
    {
        var y = logits + ((long)t * _w.Rows) + first;
        var threshold = Vector256.Create(least);
        var last = Math.Clamp(rows - first, 0, count);
        var survivors = 0UL;
        var i = 0;
        for (; i <= last - 8; i += 8)
        {
            var bounds = Vector256.Load(y + i);
            var below = Vector256.LessThan(bounds, threshold); // NaN stays
            Vector256.ConditionalSelect(below, Vector256.Create(float.NegativeInfinity), bounds).Store(y + i);
            survivors |= (ulong)(~below.ExtractMostSignificantBits() & 0xFF) << i;
        }

        for (; i < last; i++)
        {
            if (y[i] < least)
            {
                y[i] = float.NegativeInfinity;
            }
            else
            {
                survivors |= 1UL << i;
            }
        }

        new Span<float>(y + last, count - last).Fill(float.NegativeInfinity);
        return survivors;
    }

    /// <summary>Closer upper bounds into y for the rows whose first ones reach the threshold, and the largest of their lower bounds of what each worker took.</summary>
    private sealed class NibbleJob(TwoStageHead head) : TeamJob
    {
        private readonly Activations[] _activations = new Activations[MaxRows];
        private readonly float[] _thresholds = new float[MaxRows];
        private readonly TopRows[] _tops = new TopRows[MaxRows];
        private readonly double _rounding = ((head._columns / KernelSet.ScoreColumns) + 16) * Math.ScaleB(1, -24);
        private int _tokens;
        private float* _y;
        private int _rows;

        /// <summary>Rows of which the nibbles were read.</summary>
        public int Rows => _rows;

        public void Set(ReadOnlySpan<Activations> activations, ReadOnlySpan<TopRows> tops, ReadOnlySpan<float> thresholds, float* y)
        {
            activations.CopyTo(_activations);
            tops.CopyTo(_tops);
            thresholds.CopyTo(_thresholds);
            _tokens = tops.Length;
            _y = y;
            _rows = 0;
            head._shares.Begin(head._w.Rows, 16 * Group);
        }

        public override void Run(int worker, int workers)
        {
            var rows = 0;
            var survivors = stackalloc ulong[MaxRows];
            var counts = stackalloc int[MaxRows];
            new Span<int>(counts, MaxRows).Clear();
            for (var helped = 0; head._shares.TryTake(worker, ref helped, out var begin, out var end);)
            {
                for (; begin < end; begin += Group)
                {
                    var any = 0UL;
                    for (var t = 0; t < _tokens; t++)
                    {
                        survivors[t] = head.Survivors(_y, t, begin, Math.Min(Group, end - begin), _tops[t].Rows, _thresholds[t]);
                        any |= survivors[t];
                    }

                    for (; any != 0; any &= any - 1)
                    {
                        var i = BitOperations.TrailingZeroCount(any);
                        Prefetch(begin, any & (any - 1));
                        rows += begin + i < head._packed ? 1 : 0;
                        Bound(begin, i, survivors, worker, counts);
                    }
                }
            }

            for (var t = 0; t < _tokens; t++)
            {
                new Span<float>(head.Kept(worker, t) + counts[t], _tops[t].Count - counts[t]).Fill(float.NegativeInfinity);
            }

            Interlocked.Add(ref _rows, rows);
        }

        // The nibbles of the next row, while those of the present one are multiplied.
        private void Prefetch(int first, ulong rows)
        {
            if (Sse.IsSupported && rows != 0)
            {
                var next = head.Nibbles(first + BitOperations.TrailingZeroCount(rows));
                for (var i = 0; i < head._nibbleBytes; i += 64)
                {
                    Sse.Prefetch0(next + i);
                }
            }
        }

        // A row with the tokens that it survived for. Rows not copied are their own bounds.
        private void Bound(int first, int i, ulong* survivors, int worker, int* counts)
        {
            var m = first + i;
            for (var t = 0; t < _tokens; t++)
            {
                if ((survivors[t] >> i & 1) != 0)
                {
                    ref var y = ref _y[((long)t * head._w.Rows) + m];
                    var lower = m < head._packed ? Bound(m, t, ref y) : y;
                    TopHeap.Push(head.Kept(worker, t), ref counts[t], _tops[t].Count, lower);
                }
            }
        }

        // From the first upper bound to the closer one; returns the lower one. The score is the bound less what was added to it, but for two roundings; the product
        // of the nibbles is exact; roundings of the score were counted with |w| in the first bound and are with |w| + |d| in this one.
        private float Bound(int m, int t, ref float upper)
        {
            var a = _activations[t];
            var (residual, norm) = (head.Residuals[m], head.Norms[m]);
            var bound = (residual * a.Residual) + (norm * a.Row) + 1e-30f;
            var sum = head._ops.Kernels.DotNibbles(head.Nibbles(m), head._fixed.Pointer + ((long)t * head._stride), head._w.Columns);
            var score = (double)upper - bound + ((double)a.Unit * head.Scales[m] * (sum - (7.5 * a.Sum)) / 16);
            var closer = ((head.FineResiduals[m] + (_rounding * residual)) * a.Residual)
                + ((double)norm * a.Row) + (Math.ScaleB(1, -22) * (Math.Abs(upper) + (double)bound)) + 1e-30;
            upper = MathF.BitIncrement((float)(score + closer));
            return MathF.BitDecrement((float)(score - closer));
        }
    }
}
