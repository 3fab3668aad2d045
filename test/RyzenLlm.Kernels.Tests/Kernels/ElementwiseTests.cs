namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>Norms, rotation, conversion and plain arithmetic.</summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class ElementwiseTests(string path)
{
    private static readonly int[] Lengths = Data.Lengths;

    [Test]
    public void RmsNorm_AgreesWithDouble([ValueSource(nameof(Lengths))] int n, [Values(0, 3)] int offset)
    {
        var kernels = Paths.Get(path);
        using var x = Data.Uniform(n, n, -3, 5, offset);
        using var w = Data.Uniform(n + 1, n, 0, 2, offset);
        using var y = new Data.Operand(n, offset);
        kernels.RmsNorm(x.Pointer, w.Pointer, 1e-5f, n, y.Pointer);
        var scale = 1 / Math.Sqrt((x.ToArray().Sum(v => (double)v * v) / Math.Max(n, 1)) + 1e-5f);
        for (var i = 0; i < n; i++)
        {
            Assert.That(y[i], Is.EqualTo(x[i] * scale * w[i]).Within(3e-7 * Math.Abs(x[i] * scale * w[i])));
        }

        var expected = y.ToArray();
        kernels.RmsNorm(x.Pointer, w.Pointer, 1e-5f, n, x.Pointer);
        Assert.That(x.ToArray(), Is.EqualTo(expected), "in place");
    }

    [Test]
    public void LayerNorm_AgreesWithDouble([ValueSource(nameof(Lengths))] int n, [Values(0, 3)] int offset)
    {
        if (n == 0)
        {
            return;
        }

        var kernels = Paths.Get(path);
        using var x = Data.Uniform(n, n, 95, 105, offset);
        using var w = Data.Uniform(n + 1, n, 0, 2, offset);
        using var b = Data.Uniform(n + 2, n, -1, 1, offset);
        using var y = new Data.Operand(n, offset);
        kernels.LayerNorm(x.Pointer, w.Pointer, b.Pointer, 1e-5f, n, y.Pointer);
        var mean = x.ToArray().Average(v => (double)v);
        var scale = 1 / Math.Sqrt(x.ToArray().Average(v => (v - mean) * (v - mean)) + 1e-5f);
        for (var i = 0; i < n; i++)
        {
            Assert.That(y[i], Is.EqualTo(((x[i] - mean) * scale * w[i]) + b[i]).Within(1e-6));
        }

        var expected = y.ToArray();
        kernels.LayerNorm(x.Pointer, w.Pointer, b.Pointer, 1e-5f, n, x.Pointer);
        Assert.That(x.ToArray(), Is.EqualTo(expected), "in place");
    }

    [Test]
    public void Arithmetic_ExactInEveryElement([ValueSource(nameof(Lengths))] int n, [Values(0, 1)] int offset)
    {
        var kernels = Paths.Get(path);
        using var a = Data.Uniform(n, n, -1, 1, offset);
        using var b = Data.Uniform(n + 1, n, -1, 1, offset);
        using var c = Data.Uniform(n + 2, n, -1, 1, offset);
        using var y = new Data.Operand(n, offset);
        kernels.Multiply(a.Pointer, b.Pointer, n, y.Pointer);
        Assert.That(y.ToArray(), Is.EqualTo(Map(n, i => a[i] * b[i])), "Multiply");
        kernels.Lerp(a.Pointer, b.Pointer, c.Pointer, n, y.Pointer);
        Assert.That(y.ToArray(), Is.EqualTo(Map(n, i => a[i] + ((b[i] - a[i]) * c[i]))), "Lerp");
        kernels.ReluSquared(a.Pointer, n, y.Pointer);
        Assert.That(y.ToArray(), Is.EqualTo(Map(n, i => a[i] > 0 ? a[i] * a[i] : 0)), "ReluSquared");
        var sum = Map(n, i => a[i] + b[i]);
        kernels.Add(a.Pointer, b.Pointer, n);
        Assert.That(a.ToArray(), Is.EqualTo(sum), "Add");
    }

    [Test]
    public void Rotate_TurnsPairsHalfAHeadApart([Values(1, 3)] int heads, [Values(2, 8, 10, 16, 32, 34, 64, 128)] int headSize)
    {
        var kernels = Paths.Get(path);
        var half = headSize / 2;
        using var z = Data.Uniform(headSize, heads * headSize);
        using var cos = Data.Uniform(1, half);
        using var sin = Data.Uniform(2, half);
        var old = z.ToArray();
        kernels.Rotate(z.Pointer, heads, headSize, cos.Pointer, sin.Pointer);
        for (var h = 0; h < heads; h++)
        {
            for (var d = 0; d < half; d++)
            {
                var (a, b) = (old[(h * headSize) + d], old[(h * headSize) + half + d]);
                Assert.That(z[(h * headSize) + d], Is.EqualTo((a * cos[d]) - (b * sin[d])));
                Assert.That(z[(h * headSize) + half + d], Is.EqualTo((a * sin[d]) + (b * cos[d])));
            }
        }
    }

    [Test]
    public void ToHalf_RoundsAsTheRuntimeDoes()
    {
        var kernels = Paths.Get(path);
        var values = new List<float>();
        for (var bits = 0; bits < 0x10000; bits++)
        {
            var half = BitConverter.UInt16BitsToHalf((ushort)bits);
            if (Half.IsNaN(half))
            {
                continue;
            }

            // The value, the midpoint to the next one and the floats beside both.
            var value = (float)half;
            var middle = (value + (float)Half.BitIncrement(half)) / 2;
            values.AddRange([value, MathF.BitIncrement(value), MathF.BitDecrement(value), middle, MathF.BitIncrement(middle), MathF.BitDecrement(middle)]);
        }

        values.RemoveAll(float.IsNaN);
        values.AddRange([65519.996f, 65520f, 1e30f, -1e30f, float.Epsilon, float.PositiveInfinity, float.NegativeInfinity]);
        using var x = new Data.Operand(values.ToArray());
        var y = new ushort[x.Length];
        fixed (ushort* p = y)
        {
            kernels.ToHalf(x.Pointer, y.Length, p);
        }

        for (var i = 0; i < y.Length; i++)
        {
            var expected = BitConverter.HalfToUInt16Bits((Half)values[i]);
            if (y[i] != expected)
            {
                Assert.Fail($"{values[i]:R}: {y[i]:X4} instead of {expected:X4}");
            }
        }

        using var nan = new Data.Operand(Enumerable.Repeat(float.NaN, 17).ToArray());
        fixed (ushort* p = y)
        {
            kernels.ToHalf(nan.Pointer, 17, p);
        }

        Assert.That(y.Take(17), Has.All.Matches<ushort>(h => Half.IsNaN(BitConverter.UInt16BitsToHalf(h))));
    }

    [Test]
    public void ToHalf_EveryTailLength([Range(0, 34)] int n, [Values(0, 1)] int offset)
    {
        var kernels = Paths.Get(path);
        using var x = Data.Uniform(n, n, -100, 100, offset);
        var y = new ushort[n + 1];
        y[n] = 0xABCD;
        fixed (ushort* p = y)
        {
            kernels.ToHalf(x.Pointer, n, p);
        }

        Assert.That(y[..n], Is.EqualTo(x.ToArray().Select(v => BitConverter.HalfToUInt16Bits((Half)v))));
        Assert.That(y[n], Is.EqualTo(0xABCD), "written behind the end");
    }

    private static float[] Map(int n, Func<int, float> f) => [.. Enumerable.Range(0, n).Select(f)];
}
