namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>State updates of Mamba and RWKV against double, in place and out of place.</summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class RecurrenceTests(string path)
{
    private static readonly int[] Channels = [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 1536];

    private static readonly int[] HeadSizes = [1, 4, 8, 12, 16, 24, 32, 48, 64, 128];

    private delegate void Step(float* stateIn, float* stateOut, float* y);

    [Test]
    public void ConvolveStep_AgreesWithDouble([ValueSource(nameof(Channels))] int n, [Values(2, 3, 4)] int taps)
    {
        var kernels = Paths.Get(path);
        using var u = Data.Uniform(1, n);
        using var w = Data.Uniform(2, taps * n);
        using var bias = Data.Uniform(3, n);
        using var state = Data.Uniform(4, (taps - 1) * n);
        using var next = new Data.Operand((taps - 1) * n);
        using var y = new Data.Operand(n);
        var split = n / 3;
        kernels.ConvolveStep(state.Pointer, next.Pointer, u.Pointer, w.Pointer, bias.Pointer, taps, n, split, n, y.Pointer);
        kernels.ConvolveStep(state.Pointer, next.Pointer, u.Pointer, w.Pointer, bias.Pointer, taps, n, 0, split, y.Pointer);
        for (var i = 0; i < n; i++)
        {
            var sum = (double)bias[i];
            for (var j = 0; j < taps; j++)
            {
                var input = j < taps - 1 ? state[(j * n) + i] : u[i];
                sum += (double)w[(j * n) + i] * input;
                if (j > 0)
                {
                    Assert.That(next[((j - 1) * n) + i], Is.EqualTo(input), "window");
                }
            }

            Assert.That(y[i], Is.EqualTo(sum / (1 + Math.Exp(-sum))).Within(1e-6));
        }

        CheckInPlace(state, next, y, (i, o, to) => kernels.ConvolveStep(i, o, u.Pointer, w.Pointer, bias.Pointer, taps, n, 0, n, to));
    }

    [Test]
    public void ScanStep_AgreesWithDouble([ValueSource(nameof(Channels))] int n, [Values(1, 16)] int states)
    {
        var kernels = Paths.Get(path);
        using var a = Data.Uniform(1, states * n, -16, -0.1f);
        using var d = Data.Uniform(2, n);
        using var dt = Data.Uniform(3, n, 0.001f, 1);
        using var x = Data.Uniform(4, n);
        using var b = Data.Uniform(5, states);
        using var c = Data.Uniform(6, states);
        using var state = Data.Uniform(7, states * n);
        using var next = new Data.Operand(states * n);
        using var y = new Data.Operand(n);
        kernels.ScanStep(state.Pointer, next.Pointer, a.Pointer, d.Pointer, dt.Pointer, x.Pointer, b.Pointer, c.Pointer, n, states, 0, n, y.Pointer);
        for (var i = 0; i < n; i++)
        {
            var sum = (double)d[i] * x[i];
            for (var k = 0; k < states; k++)
            {
                var s = (Math.Exp((double)dt[i] * a[(k * n) + i]) * state[(k * n) + i]) + ((double)dt[i] * x[i] * b[k]);
                Assert.That(next[(k * n) + i], Is.EqualTo(s).Within(1e-6), $"state {k} of channel {i}");
                sum += s * c[k];
            }

            Assert.That(y[i], Is.EqualTo(sum).Within(4e-6), $"channel {i}");
        }

        CheckInPlace(state, next, y, (i, o, to) => kernels.ScanStep(i, o, a.Pointer, d.Pointer, dt.Pointer, x.Pointer, b.Pointer, c.Pointer, n, states, 0, n, to));
        CheckInPlace(state, next, y, (i, o, to) =>
        {
            // Any split of the channels gives the same bits.
            var random = new Random(n);
            for (var begin = 0; begin < n;)
            {
                var end = Math.Min(n, begin + random.Next(1, 40));
                kernels.ScanStep(i, o, a.Pointer, d.Pointer, dt.Pointer, x.Pointer, b.Pointer, c.Pointer, n, states, begin, end, to);
                begin = end;
            }
        });
    }

    [Test]
    public void Wkv4Step_AgreesWithDouble([ValueSource(nameof(Channels))] int n, [Values] bool first)
    {
        var kernels = Paths.Get(path);
        using var w = Data.Uniform(1, n, -5, -0.01f);
        using var u = Data.Uniform(2, n);
        using var k = Data.Uniform(3, n, -8, 8);
        using var v = Data.Uniform(4, n);
        using var state = Data.Uniform(5, 3 * n, 0.1f, 2);
        if (first)
        {
            state.Span[..(2 * n)].Clear();
            state.Span[(2 * n)..].Fill(-1e38f);
        }

        using var next = new Data.Operand(3 * n);
        using var y = new Data.Operand(n);
        kernels.Wkv4Step(state.Pointer, next.Pointer, w.Pointer, u.Pointer, k.Pointer, v.Pointer, n, y.Pointer);
        for (var i = 0; i < n; i++)
        {
            var (num, den, max) = ((double)state[i], (double)state[n + i], (double)state[(2 * n) + i]);
            var q = Math.Max(max, u[i] + k[i]);
            var (e1, e2) = (Math.Exp(max - q), Math.Exp(u[i] + k[i] - q));
            Assert.That(y[i], Is.EqualTo(((e1 * num) + (e2 * v[i])) / ((e1 * den) + e2)).Within(3e-6), $"channel {i}");
            q = Math.Max(max + w[i], k[i]);
            (e1, e2) = (Math.Exp(max + w[i] - q), Math.Exp(k[i] - q));
            Assert.That(next[i], Is.EqualTo((e1 * num) + (e2 * v[i])).Within(4e-6), "numerator");
            Assert.That(next[n + i], Is.EqualTo((e1 * den) + e2).Within(4e-6), "denominator");
            Assert.That(next[(2 * n) + i], Is.EqualTo(q).Within(1e-6), "maximum");
        }

        CheckInPlace(state, next, y, (i, o, to) => kernels.Wkv4Step(i, o, w.Pointer, u.Pointer, k.Pointer, v.Pointer, n, to));
    }

    [Test]
    public void Wkv6Step_AgreesWithDouble([ValueSource(nameof(HeadSizes))] int h)
    {
        var kernels = Paths.Get(path);
        using var r = Data.Uniform(1, h);
        using var w = Data.Uniform(2, h, 0.1f, 1);
        using var k = Data.Uniform(3, h);
        using var v = Data.Uniform(4, h);
        using var u = Data.Uniform(5, h);
        using var state = Data.Uniform(6, h * h);
        using var next = new Data.Operand(h * h);
        using var y = new Data.Operand(h);
        kernels.Wkv6Step(state.Pointer, next.Pointer, r.Pointer, w.Pointer, k.Pointer, v.Pointer, u.Pointer, h, y.Pointer);
        for (var p = 0; p < h; p++)
        {
            var sum = 0d;
            for (var q = 0; q < h; q++)
            {
                var kv = (double)k[q] * v[p];
                sum += r[q] * (state[(q * h) + p] + (u[q] * kv));
                Assert.That(next[(q * h) + p], Is.EqualTo(((double)w[q] * state[(q * h) + p]) + kv).Within(3e-7), $"state {q}, {p}");
            }

            Assert.That(y[p], Is.EqualTo(sum).Within(1e-5), $"output {p}");
        }

        CheckInPlace(state, next, y, (i, o, to) => kernels.Wkv6Step(i, o, r.Pointer, w.Pointer, k.Pointer, v.Pointer, u.Pointer, h, to));
    }

    [Test]
    public void Wkv7Step_AgreesWithDouble([ValueSource(nameof(HeadSizes))] int h)
    {
        var kernels = Paths.Get(path);
        using var r = Data.Uniform(1, h);
        using var w = Data.Uniform(2, h, 0.5f, 1);
        using var k = Data.Uniform(3, h);
        using var v = Data.Uniform(4, h);
        using var kk = Data.Uniform(5, h, -0.2f, 0.2f);
        using var b = Data.Uniform(6, h, -0.2f, 0.2f);
        using var state = Data.Uniform(7, h * h);
        using var next = new Data.Operand(h * h);
        using var y = new Data.Operand(h);
        kernels.Wkv7Step(state.Pointer, next.Pointer, r.Pointer, w.Pointer, k.Pointer, v.Pointer, kk.Pointer, b.Pointer, h, y.Pointer);
        for (var p = 0; p < h; p++)
        {
            var (removed, sum) = (0d, 0d);
            for (var q = 0; q < h; q++)
            {
                removed -= (double)state[(q * h) + p] * kk[q];
            }

            for (var q = 0; q < h; q++)
            {
                var s = ((double)state[(q * h) + p] * w[q]) + (removed * b[q]) + ((double)v[p] * k[q]);
                sum += s * r[q];
                Assert.That(next[(q * h) + p], Is.EqualTo(s).Within(1e-6), $"state {q}, {p}");
            }

            Assert.That(y[p], Is.EqualTo(sum).Within(1e-5), $"output {p}");
        }

        CheckInPlace(state, next, y, (i, o, to) => kernels.Wkv7Step(i, o, r.Pointer, w.Pointer, k.Pointer, v.Pointer, kk.Pointer, b.Pointer, h, to));
    }

    private static void CheckInPlace(Data.Operand state, Data.Operand next, Data.Operand y, Step step)
    {
        using var inPlace = state.Copy();
        using var output = new Data.Operand(y.Length);
        step(inPlace.Pointer, inPlace.Pointer, output.Pointer);
        Assert.That(inPlace.ToArray(), Is.EqualTo(next.ToArray()), "state in place");
        Assert.That(output.ToArray(), Is.EqualTo(y.ToArray()), "output in place");
    }
}
