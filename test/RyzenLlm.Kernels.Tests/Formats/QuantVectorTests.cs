using System.Runtime.InteropServices;
using System.Text.Json;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Kernels.Tests.Formats;

/// <summary>Every decoder against blocks with known values, bit for bit.</summary>
public sealed class QuantVectorTests
{
    private static readonly JsonElement Vectors =
        JsonDocument.Parse(File.ReadAllBytes(Fixtures.File("golden/models/quant-vectors.json"))).RootElement;

    public static IEnumerable<QuantType> StoredTypes =>
        QuantFormat.All.Select(f => f.Type).Where(t => t != QuantType.F32);

    public static IEnumerable<QuantType> RandomTypes =>
        StoredTypes.Where(t => Vector(t).TryGetProperty("random_bytes", out _));

    [Test]
    public void EveryTypeHasVectors() =>
        Assert.That(Vectors.GetProperty("types").EnumerateObject().Select(p => p.Name), Is.EquivalentTo(StoredTypes.Select(t => t.ToString())));

    [TestCaseSource(nameof(StoredTypes))]
    public void DecodesExactly(QuantType type) => AssertDecodes(type, "bytes", "values");

    [TestCaseSource(nameof(RandomTypes))]
    public void DecodesRandomBlocksExactly(QuantType type) => AssertDecodes(type, "random_bytes", "random_values");

    [TestCase(QuantType.TQ1_0)]
    [TestCase(QuantType.TQ2_0)]
    [TestCase(QuantType.I2_S)]
    [TestCase(QuantType.F16)]
    [TestCase(QuantType.BF16)]
    public void EncodesBackToTheSameBytes(QuantType type)
    {
        var (rows, columns) = Shape(type);
        var matrix = WeightMatrix.Encode("vectors", type, rows, columns, Floats(type, "values"));

        Assert.That(Encoded(matrix), Is.EqualTo(Vector(type).GetProperty("bytes").GetBytesFromBase64()));
    }

    private static void AssertDecodes(QuantType type, string bytesProperty, string valuesProperty)
    {
        var (rows, columns) = Shape(type);
        var format = QuantFormat.Of(type);
        var bytes = Vector(type).GetProperty(bytesProperty).GetBytesFromBase64();
        Assert.That(format.TensorBytes(rows, columns), Is.EqualTo(bytes.Length));

        var scale = type == QuantType.I2_S ? Vector(type).GetProperty("scale").GetSingle() : 1f;
        var decoded = new float[rows * columns];
        var rowBytes = (int)format.RowBytes(columns);
        for (var row = 0; row < rows; row++)
        {
            format.Decode(bytes.AsSpan(row * rowBytes, rowBytes), decoded.AsSpan(row * columns, columns), scale);
        }

        Assert.That(Bits(decoded), Is.EqualTo(Bits(Floats(type, valuesProperty))));
    }

    private static JsonElement Vector(QuantType type) => Vectors.GetProperty("types").GetProperty(type.ToString());

    private static (int Rows, int Columns) Shape(QuantType type)
    {
        var ne = Vector(type).GetProperty("ne");
        return (ne.GetArrayLength() > 1 ? ne[1].GetInt32() : 1, ne[0].GetInt32());
    }

    private static float[] Floats(QuantType type, string property) =>
        MemoryMarshal.Cast<byte, float>(Vector(type).GetProperty(property).GetBytesFromBase64()).ToArray();

    private static int[] Bits(float[] values) => MemoryMarshal.Cast<float, int>(values).ToArray();

    private static unsafe byte[] Encoded(WeightMatrix matrix) => new ReadOnlySpan<byte>(matrix.Data, (int)matrix.Bytes).ToArray();
}
