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
        foreach (var (rows, n) in columns > 512 ? ((int, int)[])[(131, 9)] : [(1, 1), (63, 2), (64, 5), (65, 1), (200, 35)])
        {
            Check(type, rows, columns, fill, threads, n);
        }
    }

    [Test]
    public void TernaryLinear_OddNumberOfHalves_EqualsTheProductInPlace([Values(128, 384, 640, 16640)] int columns, [Values] Fill fill) =>
        Check(QuantType.I2_S, 130, columns, fill, 1, 3);

    [Test]
    public void TernaryLinear_AnyNumberOfTokens_EqualsTheProductInPlace([Range(1, 20)] int n) => Check(QuantType.I2_S, 700, 640, Fill.Random, 2, n);

    [Test]
    public void TernaryLinear_MixedWithMatricesInPlace_GivesTheSameBits([Values(1, 6)] int n)
    {
        using var ops = new Ops(Paths.Get(path), 2, pin: false);
        var random = new Random(n);
        using var q = new QuantizedRows(n, 256);
        using var x = new Data.Operand(n * 256);
        foreach (ref var value in x.Span)
        {
            value = random.NextSingle() - 0.5f;
        }

        ops.Quantize(x.Pointer, n, 256, q);
        var matrices = ((int[])[70, 3, 300, 64]).Select(rows => WeightMatrix.Encode($"{rows}", QuantType.TQ2_0, rows, 256, Digits(random, rows * 256))).ToArray();
        using var expected = new Data.Operand(n * 437);
        using var y = new Data.Operand(n * 437);
        var copies = new List<LookupMatrix>();
        var products = new List<TernaryProduct>();
        var at = 0;
        foreach (var w in matrices)
        {
            ops.TernaryLinear(w, q, n, expected.Pointer + at);
            if (w.Rows % 2 == 0)
            {
                copies.Add(Pack(w, ops));
            }

            products.Add(new(w, y.Pointer + at, w.Rows % 2 == 0 ? copies[^1] : null));
            at += n * w.Rows;
        }

        var before = ops.WeightBytes;
        ops.TernaryLinear(products.ToArray(), q, n);
        Assert.That(y.ToArray(), Is.EqualTo(expected.ToArray()));
        Assert.That(ops.WeightBytes - before, Is.EqualTo(matrices[1].Bytes + copies.Sum(copy => copy.Bytes)));
    }

    [Test]
    public void Lookup_EqualsThePortableLoop([Values(1, 4, 27, 28)] int count, [Range(1, 8)] int tokens)
    {
        var random = new Random(count);
        using var words = new NativeBuffer<ushort>(count * KernelSet.LookupRows);
        using var tables = new NativeBuffer<short>(count * KernelSet.TablesPerWord * tokens * KernelSet.TableEntries);
        using var starts = new NativeBuffer<short>(tokens);
        const int Stride = KernelSet.LookupRows + 16;
        using var expected = new NativeBuffer<int>(tokens * Stride);
        using var sums = new NativeBuffer<int>(tokens * Stride);
        for (var i = 0; i < words.Length; i++)
        {
            words.Pointer[i] = (ushort)random.Next(65536);
        }

        // The largest that three activations of -127 to 127 make, often: 84 * 381 + 760 fits 16 bits.
        for (var i = 0; i < tables.Length; i++)
        {
            tables.Pointer[i] = (short)(random.Next(3) switch { 0 => 381, 1 => -381, _ => random.Next(-381, 382) });
        }

        for (var i = 0; i < sums.Length; i++)
        {
            expected.Pointer[i] = sums.Pointer[i] = random.Next(-100_000, 100_000);
            starts.Pointer[i % tokens] = (short)random.Next(-760, 760);
        }

        KernelSet.Portable.Lookup(words.Pointer, count, tables.Pointer, starts.Pointer, tokens, words.Pointer, expected.Pointer, Stride);
        Paths.Get(path).Lookup(words.Pointer, count, tables.Pointer, starts.Pointer, tokens, words.Pointer, sums.Pointer, Stride);
        Assert.That(sums.Span.ToArray(), Is.EqualTo(expected.Span.ToArray()));
    }

    [Test]
    public void TryPack_WhereItIsOfNoUse_GivesNull()
    {
        using var ops = new Ops(Paths.Get(path), 1);
        using var memory = new NativeBuffer<byte>(LookupMatrix.BytesOf(512, 512));
        var uneven = new float[256 * 512];
        Array.Fill(uneven, 1f);
        Array.Fill(uneven, 2f, 0, 256);
        Assert.That(TryPack("uneven", QuantType.TQ2_0, 256, 512, uneven), Is.Null, "two scales");
        var packed = TryPack("whole", QuantType.I2_S, 512, 256, new float[512 * 256]);
        Assert.That(packed is not null, Is.EqualTo(ops.Kernels.HasLookup));
        Assert.That(packed?.Bytes, Is.EqualTo(packed is null ? (long?)null : 512 * 32 * 2)); // 7.1 quads of 36 columns: 8 of 4 words
        Assert.That(() => TryPack("f", QuantType.F32, 256, 4, new float[1024]), Throws.ArgumentException);

        LookupMatrix? TryPack(string name, QuantType type, int rows, int columns, float[] values) =>
            LookupMatrix.TryPack(WeightMatrix.Encode(name, type, rows, columns, values), ops, memory.Pointer, memory);
    }

    [Test]
    public void Constructor_MemoryThatIsNotAligned_IsRefused()
    {
        using var memory = new NativeBuffer<byte>(LookupMatrix.BytesOf(64, 128) + 64);
        Assert.That(() => new LookupMatrix(64, 128, 1, memory.Pointer + 2, memory), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void Group_PartsAnyNumberOfRowsIntoGroupsOfEightAtMost([Range(1, 40)] int n)
    {
        var sizes = new List<int>();
        for (var t = 0; t < n; t += sizes[^1])
        {
            sizes.Add(Ops.GroupOf(t, n));
        }

        Assert.That(sizes.Sum(), Is.EqualTo(n));
        Assert.That(sizes.Max(), Is.LessThanOrEqualTo(KernelSet.LookupTokens));
        Assert.That(sizes.Count, Is.EqualTo((n + 7) / 8));
        Assert.That(sizes.Max() - sizes.Min(), Is.LessThan(2));
    }

    private static LookupMatrix Pack(WeightMatrix w, Ops ops)
    {
        var memory = new NativeBuffer<byte>(LookupMatrix.BytesOf(w.Rows, w.Columns));
        return LookupMatrix.Pack(w, 0.25f, ops, memory.Pointer, memory);
    }

    private static float[] Digits(Random random, int length)
    {
        var digits = new float[length];
        for (var i = 0; i < length; i++)
        {
            digits[i] = i % 128 == 0 ? 0.25f : 0.25f * random.Next(-1, 2);
        }

        return digits;
    }

    private void Check(QuantType type, int rows, int columns, Fill fill, int threads, int n)
    {
        var random = new Random((rows * 31) + columns);
        var digits = Digits(random, rows * columns);
        for (var i = 0; fill != Fill.Random && i < digits.Length; i++)
        {
            // One weight of every block that bears a scale is not zero, so that all blocks have the same scale.
            digits[i] = fill switch { Fill.SmallestSums => -0.25f, Fill.AlternatingSigns => (i / 64 % 2 * 0.5f) - 0.25f, _ => 0.25f };
        }

        var w = WeightMatrix.Encode("w", type, rows, columns, digits);
        using var ops = new Ops(Paths.Get(path), threads, pin: false);
        var packed = Pack(w, ops);
        using var q = new QuantizedRows(n, columns);
        using var x = new Data.Operand(n * columns);
        using var expected = new Data.Operand(n * rows);
        using var y = new Data.Operand(n * rows);
        for (var batch = 0; batch < 2; batch++)
        {
            for (var k = 0; k < n * columns; k++)
            {
                x.Span[k] = fill == Fill.Random ? (random.NextSingle() * 2) - 1 : fill == Fill.AlternatingSigns && k / 64 % 2 == 0 ? -1.7f : 1.7f;
            }

            ops.Quantize(x.Pointer, n, columns, q);
            ops.TernaryLinear(w, q, n, expected.Pointer);
            ops.TernaryLinear([new(w, y.Pointer, packed)], q, n);
            Assert.That(y.ToArray(), Is.EqualTo(expected.ToArray()), $"{rows} rows, {n} tokens, batch {batch}");
        }
    }
}
