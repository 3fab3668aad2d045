using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

// The parallel parts: copying rows, scoring all of them, multiplying the survivors.
public sealed unsafe partial class TwoStageHead
{
    private static (int Begin, int End) Share(int begin, int end, int worker, int workers) =>
        (begin + (int)((long)(end - begin) * worker / workers), begin + (int)((long)(end - begin) * (worker + 1) / workers));

    /// <summary>All logits of a range of rows.</summary>
    private sealed class FullJob(TwoStageHead head) : TeamJob
    {
        private (int Begin, int End) _range;
        private float* _x;
        private int _n;
        private float* _y;

        public void Set(int begin, int end, float* x, int n, float* y)
        {
            _range = (begin, end);
            _x = x;
            _n = n;
            _y = y;
        }

        public override void Run(int worker, int workers)
        {
            var (begin, end) = Share(_range.Begin, _range.End, worker, workers);
            if (begin < end)
            {
                head._ops.Kernels.MatMul(head._w, begin, end, _x, head._w.Columns, _n, _y, head._w.Rows);
            }
        }
    }

    /// <summary>Copies a range of rows, whole panels.</summary>
    private sealed class PackJob(TwoStageHead head) : TeamJob
    {
        private int _first;

        public void Set(int begin, int end)
        {
            _first = begin;
            head._shares.Begin((end - begin + PanelRows - 1) / PanelRows, 1);
        }

        public override void Run(int worker, int workers)
        {
            var columns = head._columns;
            var row = (float*)Scratch.TakeOuter((columns * (long)sizeof(float)) + ((long)PanelRows * columns));
            var codes = (sbyte*)(row + columns);
            for (var helped = 0; head._shares.TryTake(worker, ref helped, out var panel, out _);)
            {
                var first = _first + (panel * PanelRows);
                new Span<sbyte>(codes, PanelRows * columns).Clear(); // the odd column, and rows behind the last
                for (var m = first; m < Math.Min(first + PanelRows, head._w.Rows); m++)
                {
                    PackRow(m, row, codes + ((long)(m - first) * columns));
                }

                head._ops.Kernels.PackPanel(codes, columns, head._codes.Pointer + ((long)first * columns));
            }
        }

        private void PackRow(int m, float* row, sbyte* codes)
        {
            head._ops.Kernels.DecodeRow(head._w, m, row);
            var scale = head._ops.Kernels.PackInt8(row, head._w.Columns, codes, out var norms);

            var left = head._ops.Kernels.PackNibbles(row, codes, scale, head._w.Columns, head.Nibbles(m));

            // A row with infinities or NaN has no bound: it always survives.
            var bounded = double.IsFinite(norms.Values) && double.IsFinite(norms.Residual);
            head.FineResiduals[m] = bounded && scale > 1e-30f ? RoundUp((left * (1 + 2e-4)) + Math.ScaleB(norms.Residual, -30)) : float.PositiveInfinity;
            head.Scales[m] = bounded ? scale : 0;
            head.Residuals[m] = bounded ? RoundUp(norms.Residual) : float.PositiveInfinity;
            head.Norms[m] = bounded ? RoundUp(norms.Values) : 0;
        }

        private static float RoundUp(double squares) => MathF.BitIncrement((float)(Math.Sqrt(squares) * Up));
    }

    /// <summary>Upper bounds into y, and the largest lower bounds of what each worker took. Rows not copied are their own bounds.</summary>
    private sealed class ScoreJob(TwoStageHead head) : TeamJob
    {
        private readonly Activations[] _activations = new Activations[MaxRows];
        private readonly TopRows[] _tops = new TopRows[MaxRows];
        private int _tokens;
        private float* _y;

        public void Set(ReadOnlySpan<Activations> activations, ReadOnlySpan<TopRows> tops, float* y)
        {
            activations.CopyTo(_activations);
            tops.CopyTo(_tops);
            _tokens = tops.Length;
            _y = y;
            head._shares.Begin(head._w.Rows, Piece);
        }

        public override void Run(int worker, int workers)
        {
            var scores = stackalloc float[MaxRows * PanelRows];
            var counts = stackalloc int[MaxRows];
            for (var t = 0; t < _tokens; t++)
            {
                counts[t] = 0;
            }

            for (var helped = 0; head._shares.TryTake(worker, ref helped, out var begin, out var end);)
            {
                for (; begin < Math.Min(end, head._packed); begin += PanelRows)
                {
                    var rows = Math.Min(PanelRows, head._packed - begin);
                    head._ops.Kernels.ScorePanel(head._codes.Pointer + ((long)begin * head._columns), head._columns, head._fixed.Pointer, head._stride, _tokens, scores);
                    for (var t = 0; t < _tokens; t++)
                    {
                        Bound(scores + (t * PanelRows), begin, rows, t, head.Kept(worker, t), ref counts[t]);
                    }
                }

                for (var t = 0; t < _tokens && begin < end; t++)
                {
                    Keep(begin, end, t, head.Kept(worker, t), ref counts[t]);
                }
            }

            for (var t = 0; t < _tokens; t++)
            {
                new Span<float>(head.Kept(worker, t) + counts[t], _tops[t].Count - counts[t]).Fill(float.NegativeInfinity);
            }
        }

        // Upper bounds of a panel, and its lower bounds to the largest so far. Products that underflow are off by less than 1e-30.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Bound(float* scores, int first, int rows, int t, float* kept, ref int keptCount)
        {
            var a = _activations[t];
            var unit = Vector256.Create(a.Unit);
            var largest = Vector256.Create(float.NegativeInfinity);
            var lower = stackalloc float[PanelRows];
            var row = head._bounds.Pointer + first;
            for (var i = 0; i < PanelRows; i += 8)
            {
                var score = Vector256.Load(scores + i) * unit * Vector256.Load(row + i);
                var bound = (Vector256.Load(row + head._rows + i) * a.Residual) + (Vector256.Load(row + (2L * head._rows) + i) * a.Row) + Vector256.Create(1e-30f);
                (score + bound).Store(scores + i);
                (score - bound).Store(lower + i);
                largest = Vector256.Max(largest, score - bound);
            }

            new Span<float>(scores, rows).CopyTo(new(_y + ((long)t * head._w.Rows) + first, rows));
            if (keptCount == _tops[t].Count && !Vector256.GreaterThanAny(largest, Vector256.Create(kept[0])))
            {
                return;
            }

            for (var i = 0; i < Math.Min(rows, _tops[t].Rows - first); i++)
            {
                TopHeap.Push(kept, ref keptCount, _tops[t].Count, lower[i]);
            }
        }

        private void Keep(int begin, int end, int t, float* kept, ref int keptCount)
        {
            var y = _y + ((long)t * head._w.Rows);
            for (var m = begin; m < Math.Min(end, _tops[t].Rows); m++)
            {
                TopHeap.Push(kept, ref keptCount, _tops[t].Count, y[m]);
            }
        }
    }

    /// <summary>Full products of the rows whose upper bound reaches the threshold.</summary>
    private sealed class RefineJob(TwoStageHead head) : TeamJob
    {
        private readonly float[] _thresholds = new float[MaxRows];
        private readonly TopRows[] _tops = new TopRows[MaxRows];
        private float* _x;
        private int _tokens;
        private float* _y;
        private int _refined;

        public int Refined => _refined;

        public void Set(float* x, ReadOnlySpan<TopRows> tops, ReadOnlySpan<float> thresholds, float* y)
        {
            tops.CopyTo(_tops);
            thresholds.CopyTo(_thresholds);
            _x = x;
            _tokens = tops.Length;
            _y = y;
            _refined = 0;
            head._shares.Begin(head._w.Rows, 16 * Group);
        }

        public override void Run(int worker, int workers)
        {
            var refined = 0;
            var survivors = stackalloc ulong[MaxRows];
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

                    for (; any != 0; any &= any - 1, refined++)
                    {
                        Multiply(begin, BitOperations.TrailingZeroCount(any), survivors);
                    }
                }
            }

            Interlocked.Add(ref _refined, refined);
        }

        // A row with the tokens that it survived for; it is in the caches behind the first.
        private void Multiply(int first, int i, ulong* survivors)
        {
            var (w, m) = (head._w, first + i);
            for (var t = 0; t < _tokens; t++)
            {
                if ((survivors[t] >> i & 1) != 0)
                {
                    head._ops.Kernels.MatMul(w, m, m + 1, _x + ((long)t * w.Columns), w.Columns, 1, _y + ((long)t * w.Rows), w.Rows);
                }
            }

            if (head.MarkTouched(m))
            {
                Interlocked.Increment(ref head._chunks);
            }
        }
    }
}

/// <summary>The largest numbers of a stream in a binary heap, smallest first.</summary>
internal static unsafe class TopHeap
{
    /// <summary>Takes v in if it is among the <paramref name="capacity"/> largest so far; then heap[0] is the smallest kept. NaN is never kept.</summary>
    public static void Push(float* heap, ref int count, int capacity, float v)
    {
        if (count < capacity)
        {
            if (float.IsNaN(v))
            {
                return;
            }

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
