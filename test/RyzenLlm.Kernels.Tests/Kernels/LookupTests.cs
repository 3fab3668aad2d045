using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>Ternary products by lookup have the bits of the products in place.</summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class LookupTests(string path)
{
    public enum Fill
    {
        Random,
        LargestSums,
        SmallestSums,
        AlternatingSigns,
    }

    [Test]
    public void TernaryLinear_OfThePackedCopy_EqualsTheProductInPlace(
        [Values(QuantType.I2_S, QuantType.TQ1_0, QuantType.TQ2_0)] QuantType type,
        [Values(256, 512, 2560, 6912)] int columns,
        [Values] Fill fill,
        [Values(1, 2)] int threads)
    {
        foreach (var rows in columns > 512 ? (int[])[259] : [1, 255, 256, 257, 600])
        {
            Check(type, rows, columns, fill, threads);
        }
    }

    [Test]
    public void TernaryLinear_OddNumberOfHalves_EqualsTheProductInPlace([Values(128, 384, 640, 16640)] int columns, [Values] Fill fill) =>
        Check(QuantType.I2_S, 130, columns, fill, 1);

    [Test]
    public void Lookup_EqualsThePortableLoop([Values(1, 50, 51, 52, 130)] int groups, [Values(1, 2)] int blocks)
    {
        var kernels = Paths.Get(path);
        var random = new Random(groups);
        using var codes = new NativeBuffer<byte>(blocks * groups * KernelSet.LookupRows);
        using var tables = new NativeBuffer<byte>(groups * KernelSet.TableBytes);
        using var expected = new NativeBuffer<int>(blocks * KernelSet.LookupRows);
        using var sums = new NativeBuffer<int>(blocks * KernelSet.LookupRows);
        random.NextBytes(codes.Span);
        for (var g = 0; g < groups; g++)
        {
            for (var u = 0; u < 128; u++)
            {
                // The largest that five activations of -128 to 127 make, often.
                var v = random.Next(3) switch { 0 => 640, 1 => -640, _ => random.Next(-640, 641) };
                tables.Pointer[(g * KernelSet.TableBytes) + u] = (byte)v;
                tables.Pointer[(g * KernelSet.TableBytes) + 128 + u] = (byte)(v >> 8);
            }
        }

        KernelSet.Portable.Lookup(codes.Pointer, blocks, tables.Pointer, groups, expected.Pointer);
        kernels.Lookup(codes.Pointer, blocks, tables.Pointer, groups, sums.Pointer);
        Assert.That(sums.Span.ToArray(), Is.EqualTo(expected.Span.ToArray()));
    }

    [Test]
    public void TryPack_WhereItIsOfNoUse_GivesNull()
    {
        using var ops = new Ops(Paths.Get(path), 1);
        var uneven = new float[256 * 512];
        Array.Fill(uneven, 1f);
        Array.Fill(uneven, 2f, 0, 256);
        Assert.That(LookupMatrix.TryPack(WeightMatrix.Encode("uneven", QuantType.TQ2_0, 256, 512, uneven), ops), Is.Null, "two scales");
        Assert.That(LookupMatrix.TryPack(WeightMatrix.Encode("padded", QuantType.I2_S, 200, 128, new float[200 * 128]), ops), Is.Null, "padding");
        using var packed = LookupMatrix.TryPack(WeightMatrix.Encode("whole", QuantType.I2_S, 512, 256, new float[512 * 256]), ops);
        using var three = new Ops(Paths.Get(path), 3, pin: false);
        Assert.That(LookupMatrix.TryPack(WeightMatrix.Encode("uneven", QuantType.I2_S, 512, 256, new float[512 * 256]), three), Is.Null, "two blocks for three threads");
        Assert.That(packed is not null, Is.EqualTo(ops.Kernels.HasLookup));
        Assert.That(packed?.Bytes, Is.EqualTo(packed is null ? (long?)null : (512 * 52) + (512 * 4)));
        Assert.That(() => LookupMatrix.TryPack(WeightMatrix.Encode("f", QuantType.F32, 256, 4, new float[1024]), ops), Throws.ArgumentException);
    }

    private void Check(QuantType type, int rows, int columns, Fill fill, int threads)
    {
        var random = new Random((rows * 31) + columns);
        var digits = new float[rows * columns];
        for (var i = 0; i < digits.Length; i++)
        {
            digits[i] = 0.25f * (fill switch
            {
                Fill.Random => random.Next(-1, 2),
                Fill.SmallestSums => -1,
                Fill.AlternatingSigns => (i / 64 % 2 * 2) - 1,
                _ => 1,
            });
        }

        // One weight of every scale-bearing block is not zero, so that all blocks have the same scale.
        for (var i = 0; i < digits.Length; i += 128)
        {
            digits[i] = 0.25f;
        }

        var w = WeightMatrix.Encode("w", type, rows, columns, digits);
        using var ops = new Ops(Paths.Get(path), threads, pin: false);
        using var packed = LookupMatrix.Pack(w, 0.25f, ops);
        using var q = new QuantizedRows(1, columns);
        using var x = new Data.Operand(columns);
        using var expected = new Data.Operand(rows);
        using var y = new Data.Operand(rows);
        for (var token = 0; token < 2; token++)
        {
            for (var k = 0; k < columns; k++)
            {
                x.Span[k] = fill == Fill.Random ? (random.NextSingle() * 2) - 1 : fill == Fill.AlternatingSigns && k / 64 % 2 == 0 ? -1.7f : 1.7f;
            }

            ops.Quantize(x.Pointer, 1, columns, q);
            ops.TernaryLinear(w, q, 1, expected.Pointer);
            ops.TernaryLinear(packed, q, y.Pointer);
            Assert.That(y.ToArray(), Is.EqualTo(expected.ToArray()), $"{rows} rows, token {token}");
            ops.TernaryLinear(packed, q, y.Pointer);
            Assert.That(y.ToArray(), Is.EqualTo(expected.ToArray()), "tables used again");
        }
    }
}
