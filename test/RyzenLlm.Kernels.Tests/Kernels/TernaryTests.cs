using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>Ternary products against an integer loop over the digits. Results are exact, so they are compared for equality.</summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class TernaryTests(string path)
{
    private const float Scale = 0.375f;

    private static readonly int[] Lengths = [128, 256, 384, 512, 640, 2560, 4096, 4352, 6912, 8192, 8448, 16640];

    public enum Fill
    {
        Random,
        AllOnesLargest,
        AllOnesSmallest,
        AllMinusOnesLargest,
    }

    [Test]
    public void MatMulTernary_I2_S_EqualsIntegerLoop([ValueSource(nameof(Lengths))] int k, [Values] Fill fill) =>
        Check(QuantType.I2_S, k, fill, rows: k <= 640 ? 67 : 5);

    [Test]
    public void MatMulTernary_TQ_EqualsIntegerLoop([Values(QuantType.TQ1_0, QuantType.TQ2_0)] QuantType type, [Values(256, 512, 2560, 6912)] int k, [Values] Fill fill) =>
        Check(type, k, fill, rows: k <= 512 ? 67 : 3);

    [Test]
    public void MatMulTernary_BlocksOfDifferentScale_OneSumPerRun([Values(QuantType.TQ1_0, QuantType.TQ2_0)] QuantType type, [Values(1, 3, 6, 30)] int n)
    {
        var kernels = Paths.Get(path);
        const int Blocks = 7, Rows = 35, K = 256 * Blocks;
        float[] scales = [0.5f, 0.5f, 0.25f, 0f, 0.25f, 0.5f, 2f];
        var random = new Random(5);
        var digits = Enumerable.Range(0, Rows * K).Select(_ => random.Next(-1, 2)).ToArray();
        for (var m = 0; m < Rows; m++)
        {
            for (var b = 0; b < Blocks; b++)
            {
                digits[(m * K) + (b * 256)] = 1; // each block shows its scale
            }
        }

        // Row 4 has one scale throughout, as in trained models.
        var values = digits.Select((d, i) => d * (i / K == 4 ? 0.5f : scales[i % K / 256])).ToArray();
        var w = WeightMatrix.Encode("w", type, Rows, K, values);
        var x = Activations(random, n, K, Fill.Random);
        using var q = new QuantizedRows(n, K);
        using var y = new NativeBuffer<float>(n * Rows);
        Quantize(kernels, x, n, K, q);
        kernels.MatMulTernary(w, 0, Rows, q.Values, q.Stride, q.Multipliers, q.Sums, n, y.Pointer, Rows);
        for (var t = 0; t < n; t++)
        {
            for (var m = 0; m < Rows; m++)
            {
                var expected = 0d; // all terms are multiples of 1/4 below 2^24, so that no order or rounding matters
                for (var i = 0; i < K; i++)
                {
                    expected += (double)values[(m * K) + i] * x[(t * K) + i];
                }

                Assert.That(y.Span[(t * Rows) + m], Is.EqualTo((float)expected), $"row {m} token {t}");
            }
        }
    }

    [Test]
    public void MatMulTernary_AnyBatchAndSplit_SameBits([Values(QuantType.I2_S, QuantType.TQ2_0)] QuantType type)
    {
        var kernels = Paths.Get(path);
        const int K = 768, Rows = 131;
        var random = new Random(8);
        var w = Matrix(type, Rows, K, random, Fill.Random, out _);
        foreach (var n in (int[])[.. Enumerable.Range(1, 25), 31, 129, 150, 257])
        {
            var x = Activations(random, n, K, Fill.Random).Select(v => v * 0.0173f).ToArray();
            using var q = new QuantizedRows(n, K);
            using var whole = new NativeBuffer<float>(n * Rows);
            using var parts = new NativeBuffer<float>(n * Rows);
            Quantize(kernels, x, n, K, q);
            kernels.MatMulTernary(w, 0, Rows, q.Values, q.Stride, q.Multipliers, q.Sums, n, whole.Pointer, Rows);
            for (var t = 0; t < n; t++)
            {
                var split = random.Next(Rows + 1);
                kernels.MatMulTernary(w, 0, split, q.Values + (t * q.Stride), q.Stride, q.Multipliers + t, q.Sums + t, 1, parts.Pointer + (t * Rows), Rows);
                kernels.MatMulTernary(w, split, Rows, q.Values + (t * q.Stride), q.Stride, q.Multipliers + t, q.Sums + t, 1, parts.Pointer + (t * Rows), Rows);
            }

            Assert.That(whole.Span.SequenceEqual(parts.Span), $"{n} tokens");
        }
    }

    [Test]
    public void QuantizeRow_RoundsHalfToEvenByLargestMagnitude([Values(128, 256, 384, 2560)] int k)
    {
        var kernels = Paths.Get(path);
        var random = new Random(k);
        var x = new float[k];
        for (var i = 0; i < k; i++)
        {
            x[i] = (random.Next(0, 255) - 127) / 2f; // halves: the largest is 63.5 or, below, set to 127, so that ties occur
        }

        x[k - 1] = -127f;
        using var q = new QuantizedRows(1, k);
        Quantize(kernels, x, 1, k, q);
        Assert.That(q.Multipliers[0], Is.EqualTo(1f));
        Assert.That(q.Sums[0], Is.EqualTo(x.Sum(v => (int)Math.Round((double)v, MidpointRounding.ToEven))));

        // The order of q is the path's own: read it back through rows that pick one column each.
        var pick = new float[k * k];
        for (var i = 0; i < k; i++)
        {
            pick[(i * k) + i] = 1f;
        }

        var w = WeightMatrix.Encode("pick", QuantType.I2_S, k, k, pick);
        using var y = new NativeBuffer<float>(k);
        kernels.MatMulTernary(w, 0, k, q.Values, q.Stride, q.Multipliers, q.Sums, 1, y.Pointer, k);
        for (var i = 0; i < k; i++)
        {
            Assert.That(y.Span[i], Is.EqualTo((float)Math.Round((double)x[i], MidpointRounding.ToEven)), $"column {i}");
        }
    }

    [Test]
    public void QuantizeRow_SmallestAndNegativeInputs()
    {
        var kernels = Paths.Get(path);
        using var q = new QuantizedRows(1, 128);
        var x = new float[128];
        Quantize(kernels, x, 1, 128, q);
        Assert.That(q.Multipliers[0], Is.EqualTo(127f / 1e-5f), "zeros");
        Assert.That(q.Sums[0], Is.Zero);
        x[77] = -3e30f;
        Quantize(kernels, x, 1, 128, q);
        Assert.That(q.Multipliers[0], Is.EqualTo(127f / 3e30f));
        Assert.That(q.Sums[0], Is.EqualTo(-127));
    }

    [Test]
    public void TryToI2_S_GivesTheSameProducts([Values(QuantType.TQ1_0, QuantType.TQ2_0)] QuantType type)
    {
        var kernels = Paths.Get(path);
        const int K = 512, Rows = 33;
        var random = new Random(3);
        var w = Matrix(type, Rows, K, random, Fill.Random, out _);
        var packed = TernaryPacking.TryToI2_S(w);
        Assert.That(packed, Is.Not.Null);
        Assert.That(packed!.Decode(), Is.EqualTo(w.Decode()));
        Assert.That(TernaryPacking.TryToI2_S(packed), Is.Null, "I2_S needs no repacking");
        var uneven = w.Decode();
        Array.Fill(uneven, 2f, K, 256);
        Assert.That(TernaryPacking.TryToI2_S(WeightMatrix.Encode("uneven", type, Rows, K, uneven)), Is.Null, "several scales");
        Assert.That(() => TernaryPacking.TryToI2_S(WeightMatrix.Encode("f", QuantType.F32, 1, 4, new float[4])), Throws.ArgumentException);
        _ = kernels;
    }

    private void Check(QuantType type, int k, Fill fill, int rows)
    {
        var kernels = Paths.Get(path);
        var random = new Random((k * 31) + (int)type);
        var w = Matrix(type, rows, k, random, fill, out var digits);
        const int Most = 27;
        var x = Activations(random, Most, k, fill);
        var expected = new float[Most * rows];
        for (var i = 0; i < expected.Length; i++)
        {
            var (t, m) = Math.DivRem(i, rows);
            var sum = 0;
            for (var c = 0; c < k; c++)
            {
                sum += digits[(m * k) + c] * (int)x[(t * k) + c];
            }

            expected[i] = sum * Scale;
        }

        using var q = new QuantizedRows(Most, k);
        using var y = new NativeBuffer<float>(Most * rows);
        Quantize(kernels, x, Most, k, q);
        foreach (var n in (int[])[.. Enumerable.Range(1, 24), Most])
        {
            y.Span.Fill(float.NaN);
            kernels.MatMulTernary(w, 0, rows, q.Values, q.Stride, q.Multipliers, q.Sums, n, y.Pointer, rows);
            Assert.That(y.Span[..(n * rows)].SequenceEqual(expected.AsSpan(0, n * rows)), $"{n} tokens");
            Assert.That(y.Span[(n * rows)..].ToArray(), Has.All.NaN, $"{n} tokens: nothing is written behind them");
        }
    }

    private static WeightMatrix Matrix(QuantType type, int rows, int k, Random random, Fill fill, out int[] digits)
    {
        digits = new int[rows * k];
        for (var i = 0; i < digits.Length; i++)
        {
            digits[i] = fill switch { Fill.Random => random.Next(-1, 2), Fill.AllMinusOnesLargest => -1, _ => 1 };
        }

        return WeightMatrix.Encode("w", type, rows, k, digits.Select(d => d * Scale).ToArray());
    }

    /// <summary>Whole numbers with largest magnitude 127: quantisation leaves them as they are.</summary>
    private static float[] Activations(Random random, int n, int k, Fill fill)
    {
        var x = new float[n * k];
        for (var i = 0; i < x.Length; i++)
        {
            x[i] = fill switch { Fill.Random => i % k == 0 ? -127 : random.Next(-127, 128), Fill.AllOnesSmallest => -127, _ => 127 };
        }

        return x;
    }

    private static void Quantize(KernelSet kernels, float[] x, int n, int k, QuantizedRows q)
    {
        fixed (float* p = x)
        {
            for (var t = 0; t < n; t++)
            {
                kernels.QuantizeRow(p + (t * k), k, q.Values + (t * q.Stride), out q.Multipliers[t], out q.Sums[t]);
            }
        }
    }
}
