using System.Runtime.InteropServices;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>
/// No kernel touches what lies before or behind its operands, whatever bytes the weights hold: matrix, activations and results each lie
/// against a page that cannot be touched, at both ends in turn.
/// </summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class GuardPageTests(string path)
{
    private static readonly QuantType[] Types = [.. QuantFormat.All.Select(f => f.Type)];

    [Test]
    public void MatMul_StaysInside([ValueSource(nameof(Types))] QuantType type, [Values] Guard guard, [Values] bool anyBytes)
    {
        var kernels = Paths.Get(path);
        foreach (var k in Widths(type))
        {
            foreach (var (rows, n) in ((int, int)[])[(1, 1), (5, 1), (5, 3), (9, 4), (7, 6), (33, 9)])
            {
                using var weights = new GuardedMemory(QuantFormat.Of(type).TensorBytes(rows, k), guard);
                var w = Matrix(weights, type, rows, k, anyBytes);
                using var x = Activations(k + n, n * k, guard);
                using var y = new GuardedMemory((long)n * rows * sizeof(float), guard);
                kernels.MatMul(w, 0, rows, x.Floats, k, n, y.Floats, rows);
                kernels.MatMul(w, rows / 2, rows, x.Floats, k, n, y.Floats, rows);
                if (!anyBytes)
                {
                    CheckSame(kernels, w, x, n, y);
                }

                using var row = new GuardedMemory(k * sizeof(float), guard);
                kernels.DecodeRow(w, rows - 1, row.Floats);
                w.DecodeRow(rows - 1, new Span<float>(row.Floats, k));
            }
        }
    }

    [Test]
    public void MatMulTernary_StaysInside([Values(QuantType.I2_S, QuantType.TQ1_0, QuantType.TQ2_0)] QuantType type, [Values] Guard guard, [Values] bool anyBytes)
    {
        var kernels = Paths.Get(path);
        foreach (var k in Widths(type))
        {
            foreach (var (rows, n) in ((int, int)[])[(1, 1), (5, 1), (5, 3), (9, 8), (33, 17)])
            {
                using var weights = new GuardedMemory(QuantFormat.Of(type).TensorBytes(rows, k), guard);
                var w = Matrix(weights, type, rows, k, anyBytes);
                using var x = Activations(k + n, n * k, guard);
                using var q = new QuantizedRows(n, k); // padded by contract
                using var y = new GuardedMemory((long)n * rows * sizeof(float), guard);
                for (var t = 0; t < n; t++)
                {
                    kernels.QuantizeRow(x.Floats + ((long)t * k), k, q.Values + ((long)t * q.Stride), out q.Multipliers[t], out q.Sums[t]);
                }

                kernels.MatMulTernary(w, 0, rows, q.Values, q.Stride, q.Multipliers, q.Sums, n, y.Floats, rows);
            }
        }
    }

    [Test]
    public void MatMulFixed_StaysInside([Values(QuantType.Q8_0, QuantType.Q4_0)] QuantType type, [Values] Guard guard, [Values] bool anyBytes)
    {
        var kernels = Paths.Get(path);
        foreach (var k in Widths(type))
        {
            foreach (var (rows, n) in ((int, int)[])[(1, 1), (5, 1), (9, 4), (33, 9)])
            {
                using var weights = new GuardedMemory(QuantFormat.Of(type).TensorBytes(rows, k), guard);
                var w = Matrix(weights, type, rows, k, anyBytes);
                using var x = Activations(k + n, n * k, guard);
                using var q = new GuardedMemory((long)n * k * sizeof(short), guard);
                using var units = new GuardedMemory((long)n * k / KernelSet.FixedBlock * sizeof(float), guard);
                using var y = new GuardedMemory((long)n * rows * sizeof(float), guard);
                for (var t = 0; t < n; t++)
                {
                    kernels.QuantizeFixed(x.Floats + ((long)t * k), k, (short*)q.Pointer + ((long)t * k), units.Floats + ((long)t * (k / KernelSet.FixedBlock)));
                }

                kernels.MatMulFixed(w, 0, rows, (short*)q.Pointer, units.Floats, n, y.Floats, rows);
            }
        }
    }

    [Test]
    public void Elementwise_StaysInside([Values] Guard guard)
    {
        var kernels = Paths.Get(path);
        foreach (var n in Enumerable.Range(1, 66))
        {
            using var a = Activations(n, n, guard);
            using var b = Activations(n + 1, n, guard);
            using var c = Activations(n + 2, n, guard);
            using var y = new GuardedMemory(n * sizeof(float), guard);
            using var half = new GuardedMemory(n * sizeof(ushort), guard);
            kernels.RmsNorm(a.Floats, b.Floats, 1e-5f, n, y.Floats);
            kernels.LayerNorm(a.Floats, b.Floats, c.Floats, 1e-5f, n, y.Floats);
            kernels.Add(y.Floats, a.Floats, n);
            kernels.Multiply(a.Floats, b.Floats, n, y.Floats);
            kernels.Lerp(a.Floats, b.Floats, c.Floats, n, y.Floats);
            kernels.Exp(a.Floats, n, y.Floats);
            kernels.Sigmoid(a.Floats, n, y.Floats);
            kernels.Tanh(a.Floats, n, y.Floats);
            kernels.Silu(a.Floats, n, y.Floats);
            kernels.Softplus(a.Floats, n, y.Floats);
            kernels.ReluSquared(a.Floats, n, y.Floats);
            kernels.ToHalf(a.Floats, n, (ushort*)half.Pointer);
            _ = kernels.Dot(a.Floats, b.Floats, n);
        }
    }

    [Test]
    public void Recurrence_StaysInside([Values] Guard guard, [Values(1, 2, 8, 15, 16, 33, 64)] int n)
    {
        var kernels = Paths.Get(path);
        GuardedMemory[] rows = [.. Enumerable.Range(0, 8).Select(i => Activations(n + i, n, guard))];
        using var square = Activations(n, n * n, guard);
        using var next = new GuardedMemory((long)n * n * sizeof(float), guard);
        using var three = Activations(n, 3 * n, guard);
        using var threeNext = new GuardedMemory(3L * n * sizeof(float), guard);
        using var y = new GuardedMemory(n * sizeof(float), guard);
        kernels.Wkv4Step(three.Floats, threeNext.Floats, rows[0].Floats, rows[1].Floats, rows[2].Floats, rows[3].Floats, n, y.Floats);
        if (n % 8 == 0)
        {
            kernels.Wkv6Step(square.Floats, next.Floats, rows[0].Floats, rows[1].Floats, rows[2].Floats, rows[3].Floats, rows[4].Floats, n, y.Floats);
            kernels.Wkv7Step(square.Floats, next.Floats, rows[0].Floats, rows[1].Floats, rows[2].Floats, rows[3].Floats, rows[4].Floats, rows[5].Floats, n, y.Floats);
        }

        using var taps = Activations(n, 4 * n, guard);
        kernels.ConvolveStep(three.Floats, threeNext.Floats, rows[0].Floats, taps.Floats, rows[1].Floats, 4, n, 0, n, y.Floats);
        Array.ForEach(rows, r => r.Dispose());
    }

    [Test]
    public void Attend_StaysInside([Values] Guard guard, [Values] KvType type, [Values(4, 8, 24, 80, 128)] int headSize, [Values(1, 3, 4)] int group)
    {
        var kernels = Paths.Get(path);
        foreach (var (positions, rows) in ((int, int)[])[(1, 1), (7, 1), (7, 4), (17, 5), (64, 3), (64, 17)])
        {
            using var keys = Vectors(kernels, type, positions, headSize, guard);
            using var values = Vectors(kernels, type, positions, headSize, guard);
            using var q = Activations(positions, rows * group * headSize, guard);
            using var output = new GuardedMemory((long)rows * group * headSize * sizeof(float), guard);
            using var slot = GuardedMemory.Of<int>([positions - 1], guard);
            var block = keys.Pointer;
            var views = new KvView[rows];
            for (var r = 0; r < rows; r++)
            {
                // The last rows see all there is; every third as branches of a tree.
                var prefix = Math.Max(1, positions - rows + 1 + r);
                views[r] = new() { Blocks = &block, ValueOffset = values.Pointer - keys.Pointer, Type = type, KvHeads = 1, HeadSize = headSize, Prefix = prefix };
                if (r % 3 == 2)
                {
                    views[r].Prefix--;
                    views[r].Tail = (int*)slot.Pointer;
                    views[r].TailCount = 1;
                }
            }

            kernels.Attend(views, 0, q.Floats, group * headSize, group, 0.3f, output.Floats);
            Assert.That(new ReadOnlySpan<float>(output.Floats, rows * group * headSize).ToArray(), Has.All.Matches<float>(float.IsFinite), $"{positions} positions, {rows} rows");
        }
    }

    [Test]
    public void Rotate_StaysInside([Values] Guard guard, [Values(1, 3)] int heads)
    {
        var kernels = Paths.Get(path);
        foreach (var half in Enumerable.Range(1, 66))
        {
            using var z = Activations(half, heads * 2 * half, guard);
            using var cos = Activations(half + 1, half, guard);
            using var sin = Activations(half + 2, half, guard);
            kernels.Rotate(z.Floats, heads, 2 * half, cos.Floats, sin.Floats);
        }
    }

    [Test]
    public void ScanStep_StaysInside([Values] Guard guard, [Values(1, 3, 16)] int states)
    {
        var kernels = Paths.Get(path);
        foreach (var channels in (int[])[1, 7, 8, 15, 16, 17, 33, 48, 65])
        {
            using var state = Activations(channels, states * channels, guard);
            using var next = new GuardedMemory((long)states * channels * sizeof(float), guard);
            using var a = Activations(channels + 1, states * channels, guard);
            GuardedMemory[] rows = [.. Enumerable.Range(0, 3).Select(i => Activations(channels + i, channels, guard))];
            using var b = Activations(1, states, guard);
            using var c = Activations(2, states, guard);
            using var y = new GuardedMemory(channels * sizeof(float), guard);
            foreach (var begin in (int[])[0, channels / 2])
            {
                kernels.ScanStep(state.Floats, next.Floats, a.Floats, rows[0].Floats, rows[1].Floats, rows[2].Floats, b.Floats, c.Floats, channels, states, begin, channels, y.Floats);
            }

            Array.ForEach(rows, r => r.Dispose());
        }
    }

    [Test]
    public void Lookup_StaysInside([Values] Guard guard, [Values(1, 27, 28)] int count, [Range(1, 8)] int tokens)
    {
        using var words = new GuardedMemory((long)count * KernelSet.LookupRows * sizeof(ushort), guard);
        using var tables = new GuardedMemory((long)count * KernelSet.TablesPerWord * tokens * KernelSet.TableEntries * sizeof(short), guard);
        using var starts = new GuardedMemory(tokens * sizeof(short), guard);
        using var sums = new GuardedMemory((long)tokens * KernelSet.LookupRows * sizeof(int), guard);
        using var expected = new GuardedMemory(sums.Length, guard);
        new Random(count).NextBytes(words.Span);
        foreach (ref var entry in MemoryMarshal.Cast<byte, short>(tables.Span))
        {
            entry = (short)Random.Shared.Next(-381, 382);
        }

        var w = (ushort*)words.Pointer;
        var t = (short*)tables.Pointer;
        var s = (short*)starts.Pointer;
        KernelSet.Portable.Lookup(w, count, t, s, tokens, w, (int*)expected.Pointer, KernelSet.LookupRows);
        Paths.Get(path).Lookup(w, count, t, s, tokens, w, (int*)sums.Pointer, KernelSet.LookupRows);
        Assert.That(sums.Span.SequenceEqual(expected.Span));
    }

    [Test]
    public void PackLookup_StaysInside([Values] Guard guard, [Values(QuantType.I2_S, QuantType.TQ2_0)] QuantType type, [Values(128, 256, 640, 768)] int columns)
    {
        if (type == QuantType.TQ2_0 && columns % 256 != 0)
        {
            return;
        }

        foreach (var rows in (int[])[1, 31, 64, 65])
        {
            var format = QuantFormat.Of(type);
            var bytes = format.TensorBytes(rows, columns);
            using var weights = new GuardedMemory(bytes, guard);
            using var words = new GuardedMemory((long)KernelSet.LookupWords(columns) * KernelSet.LookupRows * sizeof(ushort), guard);
            var w = new WeightMatrix("w", format, rows, columns, weights.Pointer, bytes, weights);
            for (var first = 0; first < rows; first += KernelSet.LookupRows)
            {
                Assert.That(() => Paths.Get(path).PackLookup(w, first, (ushort*)words.Pointer), Throws.Nothing);
            }
        }
    }

    [Test]
    public void ToCache_StaysInside([Values] Guard guard, [Values] KvType type)
    {
        foreach (var n in Enumerable.Range(1, 66))
        {
            using var x = Activations(n, n, guard);
            using var cached = new GuardedMemory(KvView.VectorBytes(type, n), guard);
            Paths.Get(path).ToCache(x.Floats, n, type, cached.Pointer);
        }
    }

    // Where the matrix lies changes nothing.
    private static void CheckSame(KernelSet kernels, WeightMatrix w, GuardedMemory x, int n, GuardedMemory y)
    {
        var copy = WeightMatrix.Encode("w", QuantType.F32, w.Rows, w.Columns, w.Decode());
        using var expected = new NativeBuffer<float>((long)n * w.Rows);
        kernels.MatMul(copy, 0, w.Rows, x.Floats, w.Columns, n, expected.Pointer, w.Rows);
        kernels.MatMul(w, 0, w.Rows, x.Floats, w.Columns, n, y.Floats, w.Rows);
        Assert.That(new Span<float>(y.Floats, n * w.Rows).SequenceEqual(expected.Span), $"{w}, {n} tokens");
    }

    private static int[] Widths(QuantType type) => QuantFormat.Of(type).BlockLength switch
    {
        1 => [1, 3, 15, 16, 17, 31, 33, 63, 65, 127, 1025, 1088],
        32 => [32, 64, 96, 160, 992, 1056, 1088],
        128 => [128, 256, 384, 640],
        _ => [256, 512, 768, 1280],
    };

    // The bytes of a proper matrix, or any at all: what a file may hold.
    private static WeightMatrix Matrix(GuardedMemory memory, QuantType type, int rows, int columns, bool anyBytes)
    {
        var random = new Random(columns + rows);
        if (anyBytes)
        {
            random.NextBytes(memory.Span);
        }
        else
        {
            var values = new float[rows * columns];
            foreach (ref var v in values.AsSpan())
            {
                v = KernelSet.IsTernary(type) ? random.Next(-1, 2) * 0.75f : random.NextSingle() - 0.5f;
            }

            var w = WeightMatrix.Encode("w", type, rows, columns, values);
            new ReadOnlySpan<byte>(w.Data, checked((int)w.Bytes)).CopyTo(memory.Span);
        }

        return new WeightMatrix("guarded", QuantFormat.Of(type), rows, columns, memory.Pointer, memory.Length, memory);
    }

    private static GuardedMemory Vectors(KernelSet kernels, KvType type, int count, int headSize, Guard guard)
    {
        var bytes = KvView.VectorBytes(type, headSize);
        var vectors = new GuardedMemory((long)count * bytes, guard);
        using var x = Activations(count, count * headSize, guard);
        for (var p = 0; p < count; p++)
        {
            kernels.ToCache(x.Floats + (p * headSize), headSize, type, vectors.Pointer + ((long)p * bytes));
        }

        return vectors;
    }

    private static GuardedMemory Activations(int seed, int count, Guard guard)
    {
        var random = new Random(seed);
        var values = new float[count];
        foreach (ref var v in values.AsSpan())
        {
            v = random.NextSingle() - 0.5f;
        }

        return GuardedMemory.Of<float>(values, guard);
    }
}
