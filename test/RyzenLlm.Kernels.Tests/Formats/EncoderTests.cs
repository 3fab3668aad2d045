using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Kernels.Tests.Formats;

public sealed class EncoderTests
{
    private const int Rows = 4;
    private const int Columns = 512;

    private static IEnumerable<QuantFormat> All => QuantFormat.All;

    /// <summary>
    /// Root mean square error of normally distributed weights, relative to the weights'. The budgets lie a few percent above
    /// what the encoders reach.
    /// </summary>
    [TestCase(QuantType.F32, 0)]
    [TestCase(QuantType.F16, 2.2e-4)]
    [TestCase(QuantType.BF16, 1.75e-3)]
    [TestCase(QuantType.Q8_0, 5.6e-3)]
    [TestCase(QuantType.Q6_K, 1.8e-2)]
    [TestCase(QuantType.Q5_K, 3.7e-2)]
    [TestCase(QuantType.Q4_K, 7.5e-2)]
    [TestCase(QuantType.Q4_0, 9.1e-2)]
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

    [TestCase(QuantType.F32)]
    [TestCase(QuantType.F16)]
    [TestCase(QuantType.BF16)]
    [TestCase(QuantType.TQ1_0)]
    [TestCase(QuantType.TQ2_0)]
    [TestCase(QuantType.I2_S)]
    public void TernaryValuesStayExact(QuantType type)
    {
        var random = new Random(5);
        var values = Enumerable.Range(0, Rows * Columns).Select(_ => 0.25f * random.Next(-1, 2)).ToArray();

        Assert.That(WeightMatrix.Encode("w", type, Rows, Columns, values).Decode(), Is.EqualTo(values));
    }

    [Test]
    public void BF16KeepsNaN()
    {
        var nan = BitConverter.Int32BitsToSingle(0x7F800001);

        Assert.That(WeightMatrix.Encode("w", QuantType.BF16, 1, 1, [nan]).Decode(), Is.All.NaN);
    }

    [Test]
    public void I2_SStoresOneScaleForTheTensor()
    {
        var matrix = WeightMatrix.Encode("w", QuantType.I2_S, 2, 128, [.. Enumerable.Repeat(-0.5f, 128), .. Enumerable.Repeat(0f, 128)]);

        Assert.That(matrix.Scale, Is.EqualTo(0.5f));
        Assert.That(matrix.Bytes, Is.EqualTo(2 * 32 + 32));
        Assert.That(matrix.Row(0).ToArray(), Has.All.EqualTo(0b00000000));
        Assert.That(matrix.Row(1).ToArray(), Has.All.EqualTo(0b01010101));
    }

    [Test]
    public void RowsOutsideTheMatrixAreRefused()
    {
        var matrix = WeightMatrix.Encode("w", QuantType.F32, 2, 3, new float[6]);

        Assert.That(() => matrix.DecodeRow(2, new float[3]), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => matrix.DecodeRow(-1, new float[3]), Throws.InstanceOf<ArgumentOutOfRangeException>());
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
