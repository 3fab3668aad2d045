namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>Activations against double over their whole range; the same result at every place of a vector.</summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class ActivationTests(string path)
{
    private delegate void Function(KernelSet kernels, float* x, int n, float* y);

    private static readonly (string Name, Function Kernel, Func<double, double> Exact, double Relative, double Absolute)[] Functions =
    [
        ("Exp", (k, x, n, y) => k.Exp(x, n, y), Math.Exp, 3e-7, 1e-44),
        ("Sigmoid", (k, x, n, y) => k.Sigmoid(x, n, y), x => 1 / (1 + Math.Exp(-x)), 5e-7, 1e-38),
        ("Silu", (k, x, n, y) => k.Silu(x, n, y), x => x / (1 + Math.Exp(-x)), 5e-7, 1e-36),
        ("Tanh", (k, x, n, y) => k.Tanh(x, n, y), Math.Tanh, 4e-7, 0),
        ("Softplus", (k, x, n, y) => k.Softplus(x, n, y), x => Math.Max(x, 0) + double.LogP1(Math.Exp(-Math.Abs(x))), 5e-7, 2e-16),
    ];

    private static string[] Names => [.. Functions.Select(f => f.Name)];

    [Test]
    public void AgreesWithDouble([ValueSource(nameof(Names))] string name)
    {
        var kernels = Paths.Get(path);
        var (_, kernel, exact, relative, absolute) = Functions.Single(f => f.Name == name);
        var values = new List<float> { 0f, -0f, 1e-30f, -1e-30f, 0.625f, -0.625f, 20f, 88f, -87f, 88.7f, -100f };
        for (var x = -87f; x <= 88f; x += 0.0021f)
        {
            values.Add(x);
        }

        for (var x = 1e-20f; x < 1; x *= 1.05f)
        {
            values.AddRange([x, -x]);
        }

        using var input = new Data.Operand(values.ToArray());
        using var y = new Data.Operand(values.Count);
        kernel(kernels, input.Pointer, values.Count, y.Pointer);
        for (var i = 0; i < values.Count; i++)
        {
            var expected = exact(values[i]);
            Assert.That(y[i], Is.EqualTo(expected).Within((relative * Math.Abs(expected)) + absolute), $"{name}({values[i]:R})");
        }
    }

    [Test]
    public void EveryPlaceAndTail_SameBits([ValueSource(nameof(Names))] string name, [Values(0, 1, 5)] int offset)
    {
        var kernels = Paths.Get(path);
        var kernel = Functions.Single(f => f.Name == name).Kernel;
        using var all = Data.Uniform(7, 40, -9, 9, offset);
        var single = new float[40];
        for (var i = 0; i < 40; i++)
        {
            fixed (float* y = &single[i])
            {
                kernel(kernels, all.Pointer + i, 1, y);
            }
        }

        for (var n = 0; n <= 40; n++)
        {
            using var y = new Data.Operand(n, offset);
            kernel(kernels, all.Pointer, n, y.Pointer);
            Assert.That(y.ToArray(), Is.EqualTo(single[..n]), $"{n} elements");
            using var inPlace = new Data.Operand(all.Span[..n], offset);
            kernel(kernels, inPlace.Pointer, n, inPlace.Pointer);
            Assert.That(inPlace.ToArray(), Is.EqualTo(single[..n]), $"{n} elements in place");
        }
    }

    [Test]
    public void Exp_BeyondTheRange()
    {
        var kernels = Paths.Get(path);
        using var x = new Data.Operand([-1000f, float.NegativeInfinity, 89f, 1000f, float.PositiveInfinity, float.NaN, 0f, 88.72f]);
        using var y = new Data.Operand(8);
        kernels.Exp(x.Pointer, 8, y.Pointer);
        Assert.That(y.ToArray()[..6], Is.EqualTo([0f, 0f, float.PositiveInfinity, float.PositiveInfinity, float.PositiveInfinity, float.NaN]));
        Assert.That(y[6], Is.EqualTo(1f));
        Assert.That(y[7], Is.LessThan(float.PositiveInfinity));
    }

    [Test]
    public void Saturated_StaysFinite()
    {
        var kernels = Paths.Get(path);
        using var x = new Data.Operand([-1000f, 1000f, -1e30f, 1e30f]);
        using var y = new Data.Operand(4);
        kernels.Sigmoid(x.Pointer, 4, y.Pointer);
        Assert.That(y.ToArray(), Is.EqualTo([0f, 1f, 0f, 1f]));
        kernels.Tanh(x.Pointer, 4, y.Pointer);
        Assert.That(y.ToArray(), Is.EqualTo([-1f, 1f, -1f, 1f]));
        kernels.Silu(x.Pointer, 4, y.Pointer);
        Assert.That(y.ToArray(), Is.EqualTo([0f, 1000f, 0f, 1e30f]));
        kernels.Softplus(x.Pointer, 4, y.Pointer);
        Assert.That(y.ToArray(), Is.EqualTo([0f, 1000f, 0f, 1e30f]));
    }
}
