using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>Float products of every format against double sums of the decoded weights.</summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class ProductTests(string path)
{
    // Blocked float summation: far below one rounding per addition, a little above one per product.
    private const double Tolerance = 1e-6;

    private static readonly QuantType[] Types = [.. QuantFormat.All.Select(f => f.Type)];

    [Test]
    public void MatMul_AgreesWithDouble([ValueSource(nameof(Types))] QuantType type)
    {
        var kernels = Paths.Get(path);
        foreach (var k in Lengths(type))
        {
            foreach (var (rows, n) in ((int, int)[])[(1, 1), (9, 1), (3, 2), (11, 3), (5, 4), (8, 5), (19, 7), (k > 3000 ? 9 : 33, 50)])
            {
                var random = new Random(k + (rows * 7) + n);
                var w = Matrix(type, rows, k, random);
                var decoded = w.Decode();
                using var x = Activations(random, n * k);
                using var y = new NativeBuffer<float>(n * rows);
                kernels.MatMul(w, 0, rows, x.Pointer, k, n, y.Pointer, rows);
                for (var t = 0; t < n; t++)
                {
                    for (var m = 0; m < rows; m++)
                    {
                        var (sum, size) = (0d, 0d);
                        for (var i = 0; i < k; i++)
                        {
                            var term = (double)decoded[(m * k) + i] * x.Span[(t * k) + i];
                            sum += term;
                            size += Math.Abs(term);
                        }

                        Assert.That(y.Span[(t * rows) + m], Is.EqualTo(sum).Within((Tolerance * size) + 1e-30), $"{rows} x {k}, {n} tokens: row {m} token {t}");
                    }
                }
            }
        }
    }

    [Test]
    public void MatMul_EqualsProductOfDecodedFloats_BitForBit([ValueSource(nameof(Types))] QuantType type)
    {
        var kernels = Paths.Get(path);
        foreach (var k in Lengths(type))
        {
            const int Rows = 9;
            foreach (var n in (int[])[1, 4, 7])
            {
                var random = new Random(k + n);
                var w = Matrix(type, Rows, k, random);
                var floats = WeightMatrix.Encode("decoded", QuantType.F32, Rows, k, w.Decode());
                using var x = Activations(random, n * k);
                using var y = new NativeBuffer<float>(n * Rows);
                using var expected = new NativeBuffer<float>(n * Rows);
                kernels.MatMul(w, 0, Rows, x.Pointer, k, n, y.Pointer, Rows);
                kernels.MatMul(floats, 0, Rows, x.Pointer, k, n, expected.Pointer, Rows);
                Assert.That(y.Span.SequenceEqual(expected.Span), $"{k} columns, {n} tokens");
            }
        }
    }

    [Test]
    public void MatMul_AnyBatchAndSplit_SameBits([ValueSource(nameof(Types))] QuantType type)
    {
        var kernels = Paths.Get(path);
        const int Rows = 43;
        foreach (var k in Lengths(type).Where(k => k <= 2560))
        {
            var random = new Random(k);
            var w = Matrix(type, Rows, k, random);
            for (var n = 1; n <= 17; n++)
            {
                using var x = Activations(random, n * k);
                using var whole = new NativeBuffer<float>(n * Rows);
                using var parts = new NativeBuffer<float>(n * Rows);
                kernels.MatMul(w, 0, Rows, x.Pointer, k, n, whole.Pointer, Rows);
                for (var t = 0; t < n; t++)
                {
                    var split = random.Next(Rows + 1);
                    kernels.MatMul(w, 0, split, x.Pointer + (t * k), k, 1, parts.Pointer + (t * Rows), Rows);
                    kernels.MatMul(w, split, Rows, x.Pointer + (t * k), k, 1, parts.Pointer + (t * Rows), Rows);
                }

                Assert.That(whole.Span.SequenceEqual(parts.Span), $"{k} columns, {n} tokens");
            }
        }
    }

    [Test]
    public void Dot_AgreesWithDouble([Range(0, 33)] int k, [Values(0, 1, 3)] int offset)
    {
        var kernels = Paths.Get(path);
        using var a = Activations(new Random(k), k + offset);
        using var b = Activations(new Random(k + 1), k + offset);
        var (sum, size) = (0d, 0d);
        for (var i = offset; i < k + offset; i++)
        {
            sum += (double)a.Span[i] * b.Span[i];
            size += Math.Abs((double)a.Span[i] * b.Span[i]);
        }

        Assert.That(kernels.Dot(a.Pointer + offset, b.Pointer + offset, k), Is.EqualTo(sum).Within(Tolerance * size));
    }

    /// <summary>Up to two vectors and their tails, whole chunks, what lies just beside them, and real widths.</summary>
    private static int[] Lengths(QuantType type) => QuantFormat.Of(type).BlockLength switch
    {
        1 => [1, 2, 7, 15, 16, 17, 31, 33, 48, 63, 64, 65, 96, 127, 1000, 1024, 1025, 1087, 1088, 2048, 2049, 2560, 6912],
        32 => [32, 64, 96, 128, 992, 1024, 1056, 1088, 2048, 2080, 2560, 6912],
        128 => [128, 256, 384, 2560],
        _ => [256, 512, 768, 1024, 1280, 2560, 6912],
    };

    private static WeightMatrix Matrix(QuantType type, int rows, int k, Random random)
    {
        var values = new float[rows * k];
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = KernelSet.IsTernary(type) ? random.Next(-1, 2) * 0.75f : (random.NextSingle() - 0.5f) * MathF.Pow(2, random.Next(-6, 1));
        }

        return WeightMatrix.Encode("w", type, rows, k, values);
    }

    private static NativeBuffer<float> Activations(Random random, int count)
    {
        var x = new NativeBuffer<float>(count);
        foreach (ref var v in x.Span)
        {
            v = (random.NextSingle() - 0.5f) * MathF.Pow(2, random.Next(-3, 4));
        }

        return x;
    }
}
