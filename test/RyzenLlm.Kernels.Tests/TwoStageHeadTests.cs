using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Tests.Kernels;

namespace RyzenLlm.Kernels.Tests;

/// <summary>The largest logits of the two-stage head are those of the full product, bit for bit.</summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class TwoStageHeadTests(string path)
{
    public enum Rows
    {
        Gaussian,
        Outliers,
        NearlyEqual,
        Zeros,
    }

    [Test]
    public void Multiply_KeepsTheTopWithTheBitsOfTheFullProduct(
        [Values(QuantType.F16, QuantType.BF16, QuantType.F32)] QuantType type,
        [Values] Rows kind,
        [Values(1, 2)] int threads,
        [Values(64, 201, 2560)] int columns)
    {
        const int Count = 999;
        var w = Head(type, Count, columns, kind);
        using var ops = new Ops(Paths.Get(path), threads, pin: false);
        using var head = new TwoStageHead(w, ops);
        var survivors = 0;
        foreach (var n in (int[])[1, 2, 3, 9])
        {
            using var x = Data.Uniform(n, n * columns, -3, 3);
            using var full = new Data.Operand(n * Count);
            using var y = new Data.Operand(n * Count);
            ops.Linear(w, x.Pointer, n, full.Pointer);
            foreach (var top in (int[])[1, 5, 40, 999])
            {
                Multiply(head, x.Pointer, n, top, Count, y.Pointer);
                for (var t = 0; t < n; t++)
                {
                    var expected = full.Span.Slice(t * Count, Count).ToArray();
                    var actual = y.Span.Slice(t * Count, Count).ToArray();
                    var least = expected.OrderDescending().ElementAt(Math.Min(top, Count) - 1);
                    for (var m = 0; m < Count; m++)
                    {
                        if (expected[m] >= least || !float.IsNegativeInfinity(actual[m]))
                        {
                            Assert.That(actual[m], Is.EqualTo(expected[m]), $"row {m} of token {t}, top {top} of {n} tokens");
                        }
                    }

                    survivors += top == 1 && n == 9 ? actual.Count(v => !float.IsNegativeInfinity(v)) : 0;
                }
            }
        }

        // Unless all rows are alike, few of the 999 are left of the 9 tokens that meet the whole copy.
        Assert.That(head.CopiedRows, Is.EqualTo(Count));
        if (kind is Rows.Gaussian && columns == 2560)
        {
            Assert.That(survivors, Is.InRange(9, 9 * 2)); // by the first bounds alone 124
        }
    }

    [Test]
    public void Multiply_WhileTheCopyGrows_KeepsTheTopOfTheFirstRowsAndWhatIsNear([Values] Rows kind, [Values(1, 2)] int threads, [Values(0f, 0.3f, 4f)] float margin)
    {
        const int Count = 700, Columns = 256, Tokens = 3;
        var w = Head(QuantType.F16, Count, Columns, kind);
        using var ops = new Ops(Paths.Get(path), threads, pin: false);
        using var head = new TwoStageHead(w, ops);
        using var full = new Data.Operand(Tokens * Count);
        using var y = new Data.Operand(Tokens * Count);
        var dropped = 0;
        for (var call = 0; call < TwoStageHead.PackSteps + 3; call++)
        {
            using var x = Data.Uniform(call, Tokens * Columns, -3, 3);
            TopRows[] tops = [new(1, Count, margin), new(7, 650, margin), new(3, 64)];
            ops.Linear(w, x.Pointer, Tokens, full.Pointer);

            head.Multiply(x.Pointer, tops, y.Pointer);

            for (var t = 0; t < Tokens; t++)
            {
                var expected = full.Span.Slice(t * Count, Count).ToArray();
                var actual = y.Span.Slice(t * Count, Count).ToArray();
                var least = expected[..tops[t].Rows].OrderDescending().ElementAt(tops[t].Count - 1) - tops[t].Margin;
                for (var m = 0; m < tops[t].Rows; m++)
                {
                    if (expected[m] >= least || !float.IsNegativeInfinity(actual[m]))
                    {
                        Assert.That(actual[m], Is.EqualTo(expected[m]), $"call {call}, row {m} of token {t}");
                    }
                }

                dropped += actual.Count(float.IsNegativeInfinity);
            }
        }

        Assert.That(head.CopiedRows, Is.EqualTo(Count));
        Assert.That(dropped, Is.GreaterThan(0));
    }

    [Test]
    public void Multiply_ARowThatSurvivesForSeveralTokens_IsReadOnce()
    {
        const int Count = 300, Columns = 64, Tokens = 8;
        var w = Head(QuantType.F16, Count, Columns, Rows.Gaussian);
        using var ops = new Ops(Paths.Get(path), 2, pin: false);
        using var head = new TwoStageHead(w, ops);
        using var x = Data.Uniform(1, Columns);
        using var same = new Data.Operand(Tokens * Columns);
        using var y = new Data.Operand(Tokens * Count);
        for (var t = 0; t < Tokens; t++)
        {
            x.Span.CopyTo(same.Span[(t * Columns)..]);
        }

        for (var call = 0; call <= TwoStageHead.PackSteps; call++)
        {
            Multiply(head, x.Pointer, 1, 5, Count, y.Pointer);
        }

        var alone = head.RefinedRows;
        var bytes = ops.WeightBytes;
        Multiply(head, same.Pointer, Tokens, 5, Count, y.Pointer);

        Assert.That(alone, Is.InRange(5, 15));
        Assert.That(head.RefinedRows, Is.EqualTo(alone));
        var nibbles = ops.WeightBytes - bytes - (Count * (Columns + 12)) - (alone * w.RowBytes);
        Assert.That(nibbles, Is.InRange(alone * Columns / 2, 100 * Columns / 2).And.Matches<long>(b => b % (Columns / 2) == 0));
    }

    [Test]
    public void Multiply_RowsWithInfinities_Survive()
    {
        var values = new float[100 * 64];
        values.AsSpan().Fill(0.5f);
        (values[64 * 7], values[64 * 30]) = (float.PositiveInfinity, float.NaN);
        var w = WeightMatrix.Encode("head", QuantType.F32, 100, 64, values);
        using var ops = new Ops(Paths.Get(path), 1);
        using var head = new TwoStageHead(w, ops);
        using var x = Data.Uniform(1, 64, 1, 2);
        using var y = new Data.Operand(100);
        for (var call = 0; call <= TwoStageHead.PackSteps; call++)
        {
            Multiply(head, x.Pointer, 1, 1, 100, y.Pointer);
            Assert.That(y[7], Is.EqualTo(float.PositiveInfinity));
            Assert.That(y[30], Is.NaN);
        }
    }

    [Test]
    public void Multiply_AllocatesNothing()
    {
        using var ops = new Ops(Paths.Get(path), 2, pin: false);
        using var head = new TwoStageHead(Head(QuantType.F16, 300, 64, Rows.Gaussian), ops);
        using var x = Data.Uniform(1, 64);
        using var y = new Data.Operand(300);
        void Work() => Multiply(head, x.Pointer, 1, 5, 300, y.Pointer);
        for (var call = 0; call < 100; call++)
        {
            Work();
        }

        var least = long.MaxValue;
        for (var run = 0; run < 3; run++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            Work();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        Assert.That(least, Is.Zero);
    }

    private static void Multiply(TwoStageHead head, float* x, int n, int top, int rows, float* y)
    {
        Span<TopRows> tops = stackalloc TopRows[n];
        tops.Fill(new(top, rows));
        head.Multiply(x, tops, y);
    }

    [Test]
    public void Multiply_InputsWithoutABound_TakeTheFullProduct([Values(float.NaN, float.PositiveInfinity, 0f)] float value)
    {
        var w = Head(QuantType.F16, 50, 64, Rows.Gaussian);
        using var ops = new Ops(Paths.Get(path), 1);
        using var head = new TwoStageHead(w, ops);
        using var x = Data.Uniform(1, 64);
        x.Span.Fill(value);
        using var full = new Data.Operand(50);
        using var y = new Data.Operand(50);
        ops.Linear(w, x.Pointer, 1, full.Pointer);
        Multiply(head, x.Pointer, 1, 1, 50, y.Pointer);
        Multiply(head, x.Pointer, 1, 1, 50, y.Pointer);
        Assert.That(y.ToArray(), Is.EqualTo(full.ToArray()));
    }

    [Test]
    public void ScorePanel_LargestValues_DoNotOverflow([Values(2, 64, 512, 514, 2560, 8192)] int columns, [Values(1, 2, 3, 4, 5, 6, 7, 8, 17)] int tokens)
    {
        var kernels = Paths.Get(path);
        using var codes = new NativeBuffer<sbyte>((long)Panel * columns);
        using var panel = new NativeBuffer<sbyte>((long)Panel * columns);
        using var x = new NativeBuffer<short>((long)tokens * columns);
        using var scores = new NativeBuffer<float>(tokens * Panel);
        int Code(int r) => r % 3 == 0 ? 127 : r % 3 == 1 ? -127 : 1;
        int Value(int t) => t % 2 == 0 ? 32767 : -32767;
        for (var r = 0; r < Panel; r++)
        {
            codes.Span.Slice(r * columns, columns).Fill((sbyte)Code(r));
        }

        for (var t = 0; t < tokens; t++)
        {
            x.Span.Slice(t * columns, columns).Fill((short)Value(t));
        }

        kernels.PackPanel(codes.Pointer, columns, panel.Pointer);
        kernels.ScorePanel(panel.Pointer, columns, x.Pointer, columns, tokens, scores.Pointer);
        for (var i = 0; i < tokens * Panel; i++)
        {
            var expected = (double)columns * Value(i / Panel) * Code(i % Panel);
            Assert.That(scores.Span[i], Is.EqualTo(expected).Within(1e-6 * Math.Abs(expected)), $"row {i % Panel} token {i / Panel}");
        }
    }

    [Test]
    public void ScorePanel_HasTheBitsOfItsDefinition([Values(2, 66, 768, 2560)] int columns, [Values(1, 2, 3, 4, 5, 6, 7, 8, 13, 16)] int tokens)
    {
        var kernels = Paths.Get(path);
        var stride = columns + 32;
        var random = new Random(columns + tokens);
        using var codes = new NativeBuffer<sbyte>((long)Panel * columns);
        using var panel = new NativeBuffer<sbyte>((long)Panel * columns);
        using var x = new NativeBuffer<short>((long)tokens * stride);
        using var scores = new NativeBuffer<float>(tokens * Panel);
        using var expected = new NativeBuffer<float>(tokens * Panel);
        foreach (ref var q in codes.Span)
        {
            q = (sbyte)random.Next(-127, 128);
        }

        foreach (ref var v in x.Span)
        {
            v = (short)random.Next(-32767, 32768);
        }

        kernels.PackPanel(codes.Pointer, columns, panel.Pointer);
        kernels.ScorePanel(panel.Pointer, columns, x.Pointer, stride, tokens, scores.Pointer);
        for (var t = 0; t < tokens; t++)
        {
            for (var r = 0; r < Panel; r++)
            {
                for (var first = 0; first < columns; first += 512)
                {
                    long sum = 0;
                    for (var k = first; k < Math.Min(columns, first + 512); k++)
                    {
                        sum += codes.Span[(r * columns) + k] * x.Span[(t * stride) + k];
                    }

                    expected.Span[(t * Panel) + r] += sum;
                }
            }
        }

        Assert.That(scores.Span.ToArray(), Is.EqualTo(expected.Span.ToArray()));
    }

    [Test]
    public void PackNibbles_SixteenthsOfTheScale_AreWhatTheCodesMiss([Values(1, 31, 32, 33, 64, 2560)] int columns)
    {
        var kernels = Paths.Get(path);
        using var row = Data.Uniform(columns, columns);
        using var codes = new NativeBuffer<sbyte>(columns);
        using var nibbles = new NativeBuffer<byte>(KernelSet.NibbleRowBytes(columns));
        var scale = kernels.PackInt8(row.Pointer, columns, codes.Pointer, out var squares);

        var left = kernels.PackNibbles(row.Pointer, codes.Pointer, scale, columns, nibbles.Pointer);

        var expected = 0d;
        for (var k = 0; k < columns; k++)
        {
            var value = scale * (codes.Span[k] + ((Nibble(nibbles.Pointer, k) - 7.5) / 16));
            Assert.That(Math.Abs(row[k] - value), Is.LessThan(1.001 * scale / 32), $"column {k}");
            expected += (row[k] - value) * (row[k] - value);
        }

        Assert.That(left, Is.EqualTo(expected).Within((1e-4 * expected) + (1e-9 * squares.Residual)));
    }

    [Test]
    public void DotNibbles_IsExact([Values(1, 31, 32, 33, 96, 2560, 4096, 4100, 9000)] int columns, [Values] bool largest)
    {
        var kernels = Paths.Get(path);
        var random = new Random(columns);
        using var nibbles = new NativeBuffer<byte>(KernelSet.NibbleRowBytes(columns));
        using var x = new NativeBuffer<short>((columns + 31) / 32 * 32);
        foreach (ref var pair in nibbles.Span)
        {
            pair = (byte)(largest ? 255 : random.Next(256));
        }

        var expected = 0L;
        for (var k = 0; k < columns; k++)
        {
            x.Span[k] = (short)(largest ? 32767 : random.Next(-32767, 32768));
            expected += Nibble(nibbles.Pointer, k) * x.Span[k];
        }

        Assert.That(kernels.DotNibbles(nibbles.Pointer, x.Pointer, columns), Is.EqualTo(expected));
    }

    private static int Nibble(byte* nibbles, int k) => nibbles[(k / 32 * 16) + (k % 16)] >> (k % 32 / 16 * 4) & 15;

    [Test]
    public void TopHeap_KeepsTheLargest([Values(1, 2, 7, 40, 64)] int capacity)
    {
        var heap = stackalloc float[64];
        var count = 0;
        var random = new Random(capacity);
        var seen = new List<float>();
        for (var i = 0; i < 500; i++)
        {
            var v = (float)random.Next(-300, 300);
            seen.Add(v);
            TopHeap.Push(heap, ref count, capacity, v);
            Assert.That(new Span<float>(heap, count).ToArray().Order(), Is.EqualTo(seen.OrderDescending().Take(capacity).Order()));
            Assert.That(heap[0], Is.EqualTo(new Span<float>(heap, count).ToArray().Min()));
        }
    }

    [Test]
    public void Misuse_IsRefused()
    {
        using var ops = new Ops(Paths.Get(path), 1);
        Assert.That(() => new TwoStageHead(WeightMatrix.Encode("q", QuantType.Q8_0, 1, 32, new float[32]), ops), Throws.ArgumentException);
        using var head = new TwoStageHead(Head(QuantType.F16, 5, 64, Rows.Gaussian), ops);
        using var x = Data.Uniform(1, 64);
        using var y = new Data.Operand(5);
        Assert.That(() => head.Multiply(x.Pointer, [new(-1, 5)], y.Pointer), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => head.Multiply(x.Pointer, [new(1, 6)], y.Pointer), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => head.Multiply(x.Pointer, [new(1, 5, -1)], y.Pointer), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => head.Multiply(x.Pointer, [new(1, 5, float.NaN)], y.Pointer), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(head.Bytes, Is.EqualTo((32 * (64 + 16)) + (5 * 32)));
    }

    private const int Panel = KernelSet.ScoreRows;

    private static WeightMatrix Head(QuantType type, int rows, int columns, Rows kind)
    {
        var random = new Random(columns + (int)kind);
        double Gauss() => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
        var common = Enumerable.Range(0, columns).Select(_ => Gauss()).ToArray();
        var values = new float[rows * columns];
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = (float)(kind switch
            {
                Rows.Gaussian => 0.02 * Gauss(),
                Rows.Outliers => 0.02 * Gauss() * (i % columns % 37 == 7 ? 12 : 1) * (1 + (i / columns % 5)),
                Rows.NearlyEqual => 0.02 * (common[i % columns] + (i / columns % 3 == 0 ? 0 : 1e-4 * Gauss())),
                _ => i / columns % 4 == 0 ? 0.01 * Gauss() : 0,
            });
        }

        return WeightMatrix.Encode("head", type, rows, columns, values);
    }
}
