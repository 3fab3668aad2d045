using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Kernels.Tests.Formats;

public sealed class EncoderTests
{
    private const int Rows = 4;
    private const int Columns = 512;

    private static IEnumerable<QuantFormat> All => QuantFormat.All;

    /// <summary>
    /// Root mean square error of normally distributed weights, relative to theirs. The budgets lie a few percent above what the
    /// encoders reach and below what rounding without a search gives for the K formats.
    /// </summary>
    [TestCase(QuantType.F32, 0)]
    [TestCase(QuantType.F16, 2.5e-4)]
    [TestCase(QuantType.BF16, 2e-3)]
    [TestCase(QuantType.Q8_0, 6e-3)]
    [TestCase(QuantType.Q6_K, 1.9e-2)]
    [TestCase(QuantType.Q5_K, 3.7e-2)]
    [TestCase(QuantType.Q4_K, 7.5e-2)]
    [TestCase(QuantType.Q4_0, 9.5e-2)]
    public void ErrorStaysInBudget(QuantType type, double budget)
    {
        var values = NormalValues(11, Rows * Columns);
        var decoded = WeightMatrix.Encode("w", type, Rows, Columns, values).Decode();

        var error = Math.Sqrt(values.Zip(decoded, (x, y) => Math.Pow(x - (double)y, 2)).Sum() / values.Sum(x => x * (double)x));
        TestContext.Out.WriteLine($"{type}: {error:G4}");
        Assert.That(error, Is.LessThanOrEqualTo(budget));
    }

    [TestCaseSource(nameof(All))]
    public void ZerosStayZero(QuantFormat format)
    {
        var decoded = WeightMatrix.Encode("w", format.Type, Rows, Columns, new float[Rows * Columns]).Decode();

        Assert.That(decoded, Has.All.Zero);
    }

    [TestCaseSource(nameof(All))]
    public void TernaryValuesStayExact(QuantFormat format)
    {
        // With the scale a power of two every format but Q6_K holds -s, 0, +s exactly.
        Assume.That(format.Type, Is.Not.EqualTo(QuantType.Q6_K));
        var random = new Random(5);
        var values = Enumerable.Range(0, Rows * Columns).Select(_ => 0.25f * random.Next(-1, 2)).ToArray();
        var decoded = WeightMatrix.Encode("w", format.Type, Rows, Columns, values).Decode();

        var tolerance = format.Type is QuantType.Q8_0 or QuantType.Q4_0 or QuantType.Q4_K or QuantType.Q5_K ? 0.25 / 100 : 0;
        Assert.That(decoded, Is.EqualTo(values).Within(tolerance));
    }

    [TestCaseSource(nameof(All))]
    public void SecondEncodingKeepsTheValues(QuantFormat format)
    {
        Assume.That(format.Type, Is.Not.AnyOf(QuantType.Q4_K, QuantType.Q5_K, QuantType.Q6_K), "searching encoders may move a scale again");
        Assume.That(format.Type, Is.Not.AnyOf(QuantType.Q8_0, QuantType.Q4_0), "the f16 scale is rounded twice");
        var once = WeightMatrix.Encode("w", format.Type, Rows, Columns, NormalValues(3, Rows * Columns)).Decode();
        var twice = WeightMatrix.Encode("w", format.Type, Rows, Columns, once).Decode();

        Assert.That(twice, Is.EqualTo(once));
    }

    [TestCaseSource(nameof(All))]
    public void LengthsAreChecked(QuantFormat format)
    {
        var bytes = new byte[format.BlockBytes];
        using (Assert.EnterMultipleScope())
        {
            Assert.That(() => format.Decode(bytes, new float[format.BlockLength + 1]), Throws.ArgumentException);
            Assert.That(() => format.Encode(new float[format.BlockLength], new byte[format.BlockBytes + 1]), Throws.ArgumentException);
            Assert.That(() => format.RowBytes(0), Throws.ArgumentException);
            Assert.That(() => format.TensorBytes(long.MaxValue / 8, 1024), Throws.InstanceOf<OverflowException>());
            Assert.That(() => format.RowBytes(format.BlockLength + 1), format.BlockLength > 1 ? Throws.ArgumentException : Throws.Nothing);
        }
    }

    private static float[] NormalValues(int seed, int count)
    {
        var random = new Random(seed);
        var values = new float[count];
        for (var i = 0; i < count; i++)
        {
            values[i] = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()) * 0.02);
        }

        return values;
    }
}
