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

    /// <summary>Copies a range of rows.</summary>
    private sealed class PackJob(TwoStageHead head) : TeamJob
    {
        private int _begin;
        private int _end;

        public void Set(int begin, int end) => (_begin, _end) = (begin, end);

        public override void Run(int worker, int workers)
        {
            var w = head._w;
            var row = (float*)Scratch.TakeOuter((long)w.Columns * sizeof(float));
            var (begin, end) = Share(_begin, _end, worker, workers);
            for (var m = begin; m < end; m++)
            {
                var codes = head._codes.Pointer + ((long)m * head._stride);
                head._ops.Kernels.DecodeRow(w, m, row);
                var scale = head._ops.Kernels.PackInt8(row, w.Columns, codes, out var norms);
                new Span<sbyte>(codes + w.Columns, head._stride - w.Columns).Clear();

                // A row with infinities or NaN has no bound: it always survives.
                var bounded = double.IsFinite(norms.Values) && double.IsFinite(norms.Residual);
                head.Scales[m] = bounded ? scale : 0;
                head.Residuals[m] = bounded ? RoundUp(norms.Residual) : float.PositiveInfinity;
                head.Quantised[m] = bounded ? RoundUp(norms.Quantised) : 0;
                head.Norms[m] = bounded ? RoundUp(norms.Values) : 0;
            }
        }

        private static float RoundUp(double squares) => MathF.BitIncrement((float)(Math.Sqrt(squares) * Up));
    }

    /// <summary>Upper bounds into y, and the largest lower bounds of each worker's share. Rows not copied are their own bounds.</summary>
    private sealed class ScoreJob(TwoStageHead head) : TeamJob
    {
        private readonly Activations[] _activations = new Activations[MaxRows];
        private readonly TopRows[] _tops = new TopRows[MaxRows];
        private int _tokens;
        private float* _y;

        public void Set(Activations* activations, ReadOnlySpan<TopRows> tops, float* y)
        {
            new Span<Activations>(activations, tops.Length).CopyTo(_activations);
            tops.CopyTo(_tops);
            _tokens = tops.Length;
            _y = y;
        }

        public override void Run(int worker, int workers)
        {
            var scores = stackalloc float[Band * MaxRows];
            var counts = stackalloc int[MaxRows];
            for (var t = 0; t < _tokens; t++)
            {
                new Span<float>(head.Kept(worker, t), _tops[t].Count).Fill(float.NegativeInfinity);
                counts[t] = 0;
            }

            var (begin, end) = Share(0, head._packed, worker, workers);
            for (var first = begin; first < end; first += Band)
            {
                var count = Math.Min(Band, end - first);
                head._ops.Kernels.DotInt8(head._codes.Pointer + ((long)first * head._stride), head._stride, count, head._fixed.Pointer, _tokens, scores);
                for (var t = 0; t < _tokens; t++)
                {
                    Bound(scores + t, first, Math.Min(count, _tops[t].Rows - first), t, head.Kept(worker, t), ref counts[t]);
                }
            }

            (begin, end) = Share(head._packed, head._w.Rows, worker, workers);
            for (var t = 0; t < _tokens; t++)
            {
                Keep(begin, Math.Min(end, _tops[t].Rows), t, head.Kept(worker, t), ref counts[t]);
            }
        }

        // Upper bounds of some rows, and their lower bounds to the largest so far. In floats: scores are off by less than 2e-6 of |s q||u p|, with the
        // lane sums behind them, sums of bounds, which are not negative, by less than 2e-6 of themselves, both by 1e-30 where they underflow.
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Bound(float* scores, int first, int count, int t, float* kept, ref int keptCount)
        {
            // One product in full: at most K / 16 + 32 roundings in a chain on any path (portable: 16 chains). The copy: a few, of lane sums.
            var (top, a) = (_tops[t].Count, _activations[t]);
            var unit = (float)a.Unit;
            var norm = RoundUp(a.Norm);
            var error = RoundUp(a.Error + (3e-6 * (a.Norm + a.Error)));
            var rounding = RoundUp(((head._w.Columns / 16) + 32) * Math.ScaleB(1, -24) * a.Norm);
            var y = _y + ((long)t * head._w.Rows) + first;
            var scales = head.Scales + first;
            var (residuals, quantised, norms) = ((long)head._w.Rows, 2L * head._w.Rows, 3L * head._w.Rows);
            var column = stackalloc float[Band];
            for (var i = 0; i < count; i++)
            {
                column[i] = scores[i * MaxRows];
            }

            for (var i = 0; i < count;)
            {
                if (i <= count - 8)
                {
                    var row = scales + i;
                    var score = Vector256.Load(row) * unit * Vector256.Load(column + i);
                    var bound = (Vector256.Load(row + residuals) * norm) + (Vector256.Load(row + quantised) * error) + (Vector256.Load(row + norms) * rounding) + Vector256.Create(1e-30f);
                    (score + bound).Store(y + i);
                    (score - bound).Store(column + i);
                    var end = i + 8;
                    i = keptCount == top && !Vector256.GreaterThanAny(score - bound, Vector256.Create(kept[0])) ? end : i;
                    for (; i < end; i++)
                    {
                        TopHeap.Push(kept, ref keptCount, top, column[i]);
                    }
                }
                else
                {
                    var row = scales + i;
                    var score = row[0] * unit * column[i];
                    var bound = (row[residuals] * norm) + (row[quantised] * error) + (row[norms] * rounding) + 1e-30f;
                    y[i++] = score + bound;
                    TopHeap.Push(kept, ref keptCount, top, score - bound);
                }
            }
        }

        private static float RoundUp(double bound) => MathF.BitIncrement((float)(bound * (1 + 3e-6)));

        private void Keep(int begin, int end, int t, float* kept, ref int keptCount)
        {
            var y = _y + ((long)t * head._w.Rows);
            for (var m = begin; m < end; m++)
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

        public void Set(float* x, ReadOnlySpan<TopRows> tops, float* thresholds, float* y)
        {
            tops.CopyTo(_tops);
            new Span<float>(thresholds, tops.Length).CopyTo(_thresholds);
            _x = x;
            _tokens = tops.Length;
            _y = y;
            _refined = 0;
        }

        public override void Run(int worker, int workers)
        {
            var w = head._w;
            var (begin, end) = Share(0, w.Rows, worker, workers);
            var refined = 0;
            for (var t = 0; t < _tokens; t++)
            {
                var y = _y + ((long)t * w.Rows);
                var last = Math.Max(begin, Math.Min(end, _tops[t].Rows));
                for (var m = begin; m < last; m++)
                {
                    if (y[m] < _thresholds[t])
                    {
                        y[m] = float.NegativeInfinity;
                        continue;
                    }

                    head._ops.Kernels.MatMul(w, m, m + 1, _x + ((long)t * w.Columns), w.Columns, 1, y, w.Rows);
                    Touch(m);
                    refined++;
                }

                new Span<float>(y + last, end - last).Fill(float.NegativeInfinity);
            }

            Interlocked.Add(ref _refined, refined);
        }

        private void Touch(int m)
        {
            ref var touched = ref head._touched[m * head._w.RowBytes / ChunkBytes];
            if (touched == 0)
            {
                touched = 1;
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
