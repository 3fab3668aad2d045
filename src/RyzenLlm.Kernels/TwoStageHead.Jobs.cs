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
                head._rows.Pointer[m] = double.IsFinite(norms.Values) && double.IsFinite(norms.Residual)
                    ? new RowBounds { Scale = scale, Residual = RoundUp(norms.Residual), Quantised = RoundUp(norms.Quantised), Norm = RoundUp(norms.Values) }
                    : new RowBounds { Residual = float.PositiveInfinity };
            }
        }

        private static float RoundUp(double squares) => MathF.BitIncrement((float)(Math.Sqrt(squares) * Up));
    }

    /// <summary>Upper bounds into y, and the largest lower bounds of each worker's share. Rows not copied are their own bounds.</summary>
    private sealed class ScoreJob(TwoStageHead head) : TeamJob
    {
        private readonly Activations[] _activations = new Activations[MaxTokens];
        private readonly TopRows[] _tops = new TopRows[MaxTokens];
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
            var scores = stackalloc float[Band * MaxTokens];
            var counts = stackalloc int[MaxTokens];
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

        private void Bound(float* scores, int first, int count, int t, float* kept, ref int keptCount)
        {
            // One product in full: at most K / 16 + 32 roundings in a chain on any path (portable: 16 chains). The copy: a few, of lane sums.
            var (columns, top, a) = (head._w.Columns, _tops[t].Count, _activations[t]);
            var rounding = ((columns / 16) + 32) * Math.ScaleB(1, -24) * a.Norm;
            var error = a.Error + (1e-6 * (a.Norm + a.Error));
            var y = _y + ((long)t * head._w.Rows) + first;
            var rows = head._rows.Pointer + first;
            for (var i = 0; i < count; i++)
            {
                var score = a.Unit * rows[i].Scale * scores[i * MaxTokens];
                var bound = (rows[i].Residual * a.Norm) + (rows[i].Quantised * error) + (rows[i].Norm * rounding) + 1e-30;
                y[i] = MathF.BitIncrement((float)(score + bound));
                TopHeap.Push(kept, ref keptCount, top, MathF.BitDecrement((float)(score - bound)));
            }
        }

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
        private readonly float[] _thresholds = new float[MaxTokens];
        private readonly TopRows[] _tops = new TopRows[MaxTokens];
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
