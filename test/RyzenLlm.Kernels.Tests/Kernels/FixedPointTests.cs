using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>Q8_0 and Q4_0 products with activations in fixed point: the same bits on every path, close to the exact product.</summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class FixedPointTests(string path)
{
    private static readonly int[] Lengths = [32, 64, 256, 480, 512, 544, 768, 1024, 2560, 6912];

    [Test]
    public void QuantizeFixed_RoundsByTheLargestOfEachBlock([Values(KernelSet.FixedSteps, KernelSet.CoarseSteps)] int steps)
    {
        var kernels = Paths.Get(path);
        const int K = 160;
        using var x = Data.Uniform(3, K, -5, 5);
        x.Span.Slice(32, 32).Clear();
        x.Span[64] = -1e30f;
        x.Span.Slice(96, 32).Fill(1e-30f);
        var q = new short[K];
        var units = new float[K / 32];
        fixed (short* p = q)
        fixed (float* u = units)
        {
            kernels.QuantizeFixed(x.Pointer, K, steps, p, u);
        }

        for (var b = 0; b < K / 32; b++)
        {
            var block = x.ToArray()[(32 * b)..(32 * (b + 1))];
            var max = block.Max(Math.Abs);
            Assert.That(units[b], Is.EqualTo(max / steps));
            for (var i = 0; i < 32; i++)
            {
                Assert.That(q[(32 * b) + i], Is.EqualTo(max == 0 ? 0 : block[i] * (double)steps / max).Within(0.51));
            }

            Assert.That(q[(32 * b)..(32 * (b + 1))].Max(v => Math.Abs((int)v)), Is.EqualTo(max == 0 ? 0 : steps));
        }
    }

    [Test]
    public void MatMulFixed_SameBitsAsThePlainLoop(
        [Values(QuantType.Q8_0, QuantType.Q4_0)] QuantType type, [ValueSource(nameof(Lengths))] int k, [Values] bool saturated,
        [Values(KernelSet.FixedSteps, KernelSet.CoarseSteps)] int steps)
    {
        var kernels = Paths.Get(path);
        const int Rows = 35;
        foreach (var n in k > 2560 ? (int[])[1, 3, 9] : [1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 100, 133])
        {
            var (w, x) = Operands(type, Rows, k, n, saturated);
            using var operand = x;
            using var y = new Data.Operand(n * Rows);
            using var q = new NativeBuffer<short>((long)n * k);
            using var units = new NativeBuffer<float>((long)n * k / 32);
            for (var t = 0; t < n; t++)
            {
                kernels.QuantizeFixed(x.Pointer + (t * k), k, steps, q.Pointer + (t * k), units.Pointer + (t * (k / 32)));
            }

            kernels.MatMulFixed(w, 0, 5, q.Pointer, units.Pointer, steps, n, y.Pointer, Rows);
            kernels.MatMulFixed(w, 5, Rows, q.Pointer, units.Pointer, steps, n, y.Pointer, Rows);
            for (var t = 0; t < n; t++)
            {
                for (var m = 0; m < Rows; m++)
                {
                    Assert.That(y[(t * Rows) + m], Is.EqualTo(Plain(w, m, q.Pointer + (t * k), units.Pointer + (t * (k / 32)))), $"{n} tokens: row {m} token {t}");
                }
            }
        }
    }

    [Test]
    public void MatMulFixed_CloseToTheExactProduct(
        [Values(QuantType.Q8_0, QuantType.Q4_0)] QuantType type, [ValueSource(nameof(Lengths))] int k, [Values(Precision.Fast, Precision.Coarse)] Precision precision)
    {
        var kernels = Paths.Get(path);
        const int Rows = 20, N = 5;
        var (w, x) = Operands(type, Rows, k, N, false);
        using var operand = x;
        using var exact = new Data.Operand(N * Rows);
        using var y = new Data.Operand(N * Rows);
        using var ops = new Ops(kernels, 2, pin: false);
        ops.Linear(w, x.Pointer, N, exact.Pointer);
        ops.Precision = precision;
        ops.Linear(w, x.Pointer, N, y.Pointer);
        var decoded = w.Decode();
        for (var t = 0; t < N; t++)
        {
            for (var m = 0; m < Rows; m++)
            {
                var size = Math.Sqrt(Enumerable.Range(0, k).Sum(i => Math.Pow(decoded[(m * k) + i] * (double)x[(t * k) + i], 2)));
                Assert.That(y[(t * Rows) + m], Is.EqualTo(exact[(t * Rows) + m]).Within((precision == Precision.Fast ? 1e-4 : 0.02) * size));
            }
        }

        Assert.That(y.ToArray().SequenceEqual(exact.ToArray()), Is.EqualTo(!kernels.HasFixedPoint), "the fast product is used where there is one");
    }

    private static float Plain(WeightMatrix w, int m, short* q, float* units)
    {
        var lanes = new float[16];
        var row = w.Row(m);
        var blockBytes = w.Format.Type == QuantType.Q8_0 ? 34 : 18;
        for (var b = 0; b < w.Columns / 32; b++)
        {
            var sum = 0L;
            var block = row.Slice(b * blockBytes, blockBytes);
            for (var i = 0; i < 32; i++)
            {
                var weight = blockBytes == 34 ? (sbyte)block[2 + i] : ((block[2 + (i % 16)] >> (i / 16 * 4)) & 15) - 8;
                sum += weight * q[(32 * b) + i];
            }

            var scale = (float)BitConverter.ToHalf(block) * units[b];
            lanes[b % 16] = MathF.FusedMultiplyAdd(sum, scale, lanes[b % 16]);
        }

        float Quarter(int i) => lanes[i] + lanes[i + 2] + (lanes[i + 1] + lanes[i + 3]);
        return Quarter(0) + Quarter(8) + (Quarter(4) + Quarter(12));
    }

    private static (WeightMatrix W, Data.Operand X) Operands(QuantType type, int rows, int k, int n, bool saturated)
    {
        var random = new Random(k + n);
        var values = new float[rows * k];
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = saturated ? (i / k % 2 == 0 ? 1 : -1) : (random.NextSingle() - 0.5f) * MathF.Pow(2, random.Next(-4, 1));
        }

        return (WeightMatrix.Encode("w", type, rows, k, values), saturated ? Data.Uniform(1, n * k, 3, 3) : Data.Uniform(n, n * k, -2, 2));
    }
}
