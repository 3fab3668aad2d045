using System.Runtime.InteropServices;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>Attention over a paged cache.</summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class AttentionTests(string path)
{
    private const int KvHeads = 2;

    // Positions that the vector paths weigh together: past them sums and outputs are rescaled.
    private const int Stretch = 1024;

    [Test]
    public void Attend_AgreesWithDouble(
        [Values] KvType type,
        [Values(4, 8, 16, 24, 64, 80, 128)] int headSize,
        [Values(1, 3, 4, 5)] int group,
        [Values(1, 2, 7, 9, 63, 64, 65, 130)] int count)
    {
        using var cache = new Cache(type, headSize, blocks: 4, seed: count);
        CheckAgainstDouble(cache, headSize, group, count, 0.3f);
    }

    [Test]
    public void Attend_ManyPositions_AgreesWithDouble([Values] KvType type, [Values(Stretch - 1, Stretch, Stretch + 1, (2 * Stretch) + 70)] int count)
    {
        using var cache = new Cache(type, 24, blocks: (count / 64) + 1, seed: count);
        CheckAgainstDouble(cache, 24, 2, count, 0.3f);

        // One position outweighs all others: so large scores fall into the last, a middle or the first stretch.
        CheckAgainstDouble(cache, 24, 2, count, 40f);
    }

    [Test]
    public void Attend_RowsTogether_SameBitsAsAlone([Values] KvType type, [Values(4, 24, 80, 128)] int headSize, [Values(1, 3, 4, 6)] int group)
    {
        using var cache = new Cache(type, headSize, blocks: 20, seed: headSize);
        foreach (var (position, rows) in ((int, int)[])[(0, 2), (0, 17), (3, 5), (61, 6), (130, 9), (Stretch - 9, 13)])
        {
            if (position > 200 && path == KernelSet.Portable.Name)
            {
                continue; // it has no stretches
            }

            CheckSameAsAlone([.. Enumerable.Range(position + 1, rows).Select(cache.Chain)], headSize, group);
        }
    }

    [Test]
    public void Attend_TreeRowsTogether_SameBitsAsAlone([Values] KvType type, [Values(24, 128)] int headSize, [Values(1, 3, 4)] int group)
    {
        using var cache = new Cache(type, headSize, blocks: 20, seed: group);
        var random = new Random(group);
        foreach (var prefix in (int[])[0, 1, 62, Stretch - 3])
        {
            // Branches of all depths; none sees the others.
            using var tails = new NativeBuffer<int>(12 * 12);
            var views = new KvView[12];
            for (var r = 0; r < views.Length; r++)
            {
                var own = Enumerable.Range(prefix, 20).OrderBy(_ => random.Next()).Take(r + 1).Order().ToArray();
                own.CopyTo(tails.Span[(r * 12)..]);
                views[r] = cache.Chain(prefix) with { Tail = tails.Pointer + (r * 12), TailCount = own.Length };
            }

            CheckSameAsAlone(views, headSize, group);
        }
    }

    [Test]
    public void Attend_RowsTogether_IgnoreWhatTheyDoNotSee([Values] KvType type)
    {
        using var cache = new Cache(type, 64, blocks: 2, seed: 5);
        KvView[] views = [.. Enumerable.Range(60, 8).Select(cache.Chain)];
        using var q = Data.Uniform(3, views.Length * 4 * 64, -2, 2);
        using var before = new Data.Operand(views.Length * 4 * 64);
        using var after = new Data.Operand(views.Length * 4 * 64);
        Paths.Get(path).Attend(views, 0, q.Pointer, 4 * 64, 4, 0.2f, before.Pointer);
        for (var p = 65; p < 128; p++)
        {
            new Span<byte>(views[0].Key(p, 0), KvView.VectorBytes(type, 64)).Fill(0xFF); // NaN, where the type has it
            new Span<byte>(views[0].Value(p, 0), KvView.VectorBytes(type, 64)).Fill(0xFF);
        }

        // Rows 0 to 5 see positions up to 64.
        Paths.Get(path).Attend(views, 0, q.Pointer, 4 * 64, 4, 0.2f, after.Pointer);
        Assert.That(after.ToArray()[..(6 * 4 * 64)], Is.EqualTo(before.ToArray()[..(6 * 4 * 64)]));
    }

    [Test]
    public void Attend_TreeRow_SameBitsAsChain([Values] KvType type, [Values(16, 24, 64, 128)] int headSize, [Values(1, 4, 6)] int group)
    {
        var kernels = Paths.Get(path);
        var random = new Random(headSize);
        foreach (var (prefix, tail) in ((int, int)[])[(0, 5), (1, 3), (60, 9), (64, 1), (70, 30), (127, 4)])
        {
            using var chain = new Cache(type, headSize, blocks: 3, seed: prefix);
            using var tree = new Cache(type, headSize, blocks: 6, seed: 99);
            var count = prefix + tail;

            // The same keys and values: the prefix in place, the tail at ascending slots with gaps, as drafted branches leave them.
            var slots = Enumerable.Range(prefix, 3 * tail).OrderBy(_ => random.Next()).Take(tail).Order().ToArray();
            for (var p = 0; p < count; p++)
            {
                tree.CopyPosition(p < prefix ? p : slots[p - prefix], chain, p);
            }

            using var pinned = new NativeBuffer<int>(tail);
            slots.CopyTo(pinned.Span);
            var treeView = tree.Chain(prefix);
            treeView.Tail = pinned.Pointer;
            treeView.TailCount = tail;
            using var q = Data.Uniform(3, group * headSize, -2, 2);
            using var expected = new Data.Operand(group * headSize);
            using var output = new Data.Operand(group * headSize);
            kernels.Attend([chain.Chain(count)], 1, q.Pointer, 0, group, 0.2f, expected.Pointer);
            kernels.Attend([treeView], 1, q.Pointer, 0, group, 0.2f, output.Pointer);
            Assert.That(output.ToArray(), Is.EqualTo(expected.ToArray()), $"prefix {prefix}, tail {tail}");
        }
    }

    [Test]
    public void Attend_Sinks_TakeTheirOwnQueries([Values] KvType type, [Values(4, 24, 128)] int headSize, [Values(1, 3, 4)] int group, [Values(1, 70, Stretch + 3)] int sinks)
    {
        const int Window = 90;
        using var cache = new Cache(type, headSize, blocks: 20, seed: sinks);
        using var q = Data.Uniform(3, KvHeads * group * headSize, -1, 1);
        using var sinkQueries = Data.Uniform(4, KvHeads * group * headSize, -1, 1);
        using var slots = new NativeBuffer<int>(Window);
        Enumerable.Range(sinks + 17, Window).ToArray().CopyTo(slots.Span);
        using var output = new Data.Operand(group * headSize);
        for (var kvHead = 0; kvHead < KvHeads; kvHead++)
        {
            var at = kvHead * group * headSize;
            var view = cache.Chain(sinks) with { Tail = slots.Pointer, TailCount = Window, Sinks = sinks, SinkQueries = sinkQueries.Pointer };
            Paths.Get(path).Attend([view], kvHead, q.Pointer + at, 0, group, 0.3f, output.Pointer);
            for (var j = 0; j < group; j++)
            {
                double Score(int p, float* queries) => Enumerable.Range(0, headSize).Sum(d => (double)queries[at + (j * headSize) + d] * cache.Key(p, kvHead, d)) * 0.3f;
                int[] seen = [.. Enumerable.Range(0, sinks), .. Enumerable.Range(sinks + 17, Window)];
                double[] weights = [.. seen.Select((p, i) => Math.Exp(Score(p, i < sinks ? sinkQueries.Pointer : q.Pointer)))];
                for (var d = 0; d < headSize; d++)
                {
                    var expected = seen.Select((p, i) => weights[i] * cache.Value(p, kvHead, d)).Sum() / weights.Sum();
                    Assert.That(output[(j * headSize) + d], Is.EqualTo(expected).Within(3e-6), $"kv head {kvHead}, query {j}, dimension {d}");
                }
            }
        }
    }

    [Test]
    public void Attend_RowsAtTheBorderTogether_SameBitsAsAlone([Values] KvType type, [Values(24, 128)] int headSize, [Values(1, 3, 4)] int group, [Values(0, 3)] int sinks)
    {
        // The first rows see all, the later ones sinks and a window, as in a prompt that outgrows it.
        const int Window = 40;
        using var cache = new Cache(type, headSize, blocks: 3, seed: group);
        using var sinkQueries = Data.Uniform(4, KvHeads * group * headSize, -1, 1);
        using var slots = new NativeBuffer<int>(3 * KvView.BlockPositions);
        Enumerable.Range(0, (int)slots.Length).ToArray().CopyTo(slots.Span);
        KvView[] views =
        [
            .. Enumerable.Range(0, 9).Select(i => sinks + Window - 4 + i).Select(p => p < sinks + Window
                ? cache.Chain(p + 1)
                : cache.Chain(sinks) with { Tail = slots.Pointer + p - Window + 1, TailCount = Window, Sinks = sinks, SinkQueries = sinkQueries.Pointer }),
        ];
        CheckSameAsAlone(views, headSize, group);
    }

    [Test]
    public void Attend_LargeScores_StayFinite([Values] KvType type)
    {
        using var cache = new Cache(type, 64, blocks: 20, seed: 1);
        KvView[] views = [.. Enumerable.Range(Stretch - 2, 6).Select(cache.Chain)];
        using var q = Data.Uniform(3, views.Length * 4 * 64, -2000, 2000);
        using var output = new Data.Operand(views.Length * 4 * 64);
        Paths.Get(path).Attend(views, 0, q.Pointer, 4 * 64, 4, 10f, output.Pointer);
        Assert.That(output.ToArray(), Has.All.Matches<float>(v => Math.Abs(v) <= 1.001f));
    }

    [Test]
    public void ToCache_I8_IsWithinHalfAStepOfTheLargest([Values(8, 24, 128)] int n, [Values(0f, 1e-42f, 1f, 3e5f)] float size)
    {
        using var x = Data.Uniform(n, n, -size, size);
        var cached = stackalloc byte[n + 4];
        Paths.Get(path).ToCache(x.Pointer, n, KvType.I8, cached);
        var scale = *(float*)(cached + n);
        var largest = x.ToArray().Max(Math.Abs);
        Assert.That(scale, Is.EqualTo(largest / 127));
        for (var d = 0; d < n; d++)
        {
            Assert.That(((sbyte*)cached)[d] * (double)scale, Is.EqualTo(x[d]).Within(size < 1e-30f ? largest : (0.5001 * scale)), $"element {d}");
        }
    }

    private void CheckAgainstDouble(Cache cache, int headSize, int group, int count, float scale)
    {
        using var q = Data.Uniform(headSize + group, group * headSize, -2, 2);
        using var output = new Data.Operand(group * headSize);
        for (var kvHead = 0; kvHead < KvHeads; kvHead++)
        {
            Paths.Get(path).Attend([cache.Chain(count)], kvHead, q.Pointer, 0, group, scale, output.Pointer);
            for (var j = 0; j < group; j++)
            {
                var scores = Enumerable.Range(0, count).Select(p => Enumerable.Range(0, headSize).Sum(d => (double)q[(j * headSize) + d] * cache.Key(p, kvHead, d)) * scale).ToArray();
                var largest = scores.Max();
                var weights = Array.ConvertAll(scores, s => Math.Exp(s - largest));
                for (var d = 0; d < headSize; d++)
                {
                    var expected = Enumerable.Range(0, count).Sum(p => weights[p] * cache.Value(p, kvHead, d)) / weights.Sum();
                    Assert.That(output[(j * headSize) + d], Is.EqualTo(expected).Within(3e-6 * Math.Max(1, scale)), $"kv head {kvHead}, query {j}, dimension {d}");
                }
            }
        }
    }

    private void CheckSameAsAlone(KvView[] views, int headSize, int group)
    {
        // Query heads of other groups lie between those of one row and the next.
        var ld = (group * headSize) + 16;
        using var q = Data.Uniform(7, views.Length * ld, -2, 2);
        using var together = new Data.Operand(views.Length * ld);
        using var alone = new Data.Operand(views.Length * ld);
        var kernels = Paths.Get(path);
        kernels.Attend(views, 1, q.Pointer, ld, group, 0.2f, together.Pointer);
        for (var r = 0; r < views.Length; r++)
        {
            kernels.Attend(views.AsSpan(r, 1), 1, q.Pointer + (r * ld), ld, group, 0.2f, alone.Pointer + (r * ld));
        }

        Assert.That(together.ToArray(), Is.EqualTo(alone.ToArray()), $"{views.Length} rows from {views[0].Count} positions on");
    }

    /// <summary>One layer of a paged cache, uniform in [-1, 1].</summary>
    private sealed class Cache : IDisposable
    {
        private readonly KvType _type;
        private readonly int _headSize;
        private readonly NativeBuffer<byte>[] _blocks;
        private readonly byte** _table;

        public Cache(KvType type, int headSize, int blocks, int seed)
        {
            (_type, _headSize) = (type, headSize);
            var random = new Random(seed);
            _table = (byte**)NativeMemory.Alloc((nuint)(blocks * sizeof(byte*)));
            _blocks = new NativeBuffer<byte>[blocks];
            var vector = stackalloc float[headSize];
            for (var b = 0; b < blocks; b++)
            {
                _blocks[b] = new(2L * Vectors * Bytes);
                _table[b] = _blocks[b].Pointer;
                for (var i = 0; i < 2 * Vectors; i++)
                {
                    for (var d = 0; d < headSize; d++)
                    {
                        vector[d] = (random.NextSingle() * 2) - 1;
                    }

                    KernelSet.Portable.ToCache(vector, headSize, type, _table[b] + (i * Bytes));
                }
            }
        }

        private static int Vectors => KvHeads * KvView.BlockPositions;

        private int Bytes => KvView.VectorBytes(_type, _headSize);

        public KvView Chain(int count) => new()
        {
            Blocks = _table,
            KeyOffset = 0,
            ValueOffset = (long)Vectors * Bytes,
            Type = _type,
            KvHeads = KvHeads,
            HeadSize = _headSize,
            Prefix = count,
        };

        public double Key(int p, int head, int d) => Read(p, head, d, 0);

        public double Value(int p, int head, int d) => Read(p, head, d, 1);

        public void CopyPosition(int to, Cache from, int position)
        {
            for (var part = 0; part < 2; part++)
            {
                for (var head = 0; head < KvHeads; head++)
                {
                    Buffer.MemoryCopy(from.Address(position, head, part), Address(to, head, part), Bytes, Bytes);
                }
            }
        }

        public void Dispose()
        {
            foreach (var block in _blocks)
            {
                block.Dispose();
            }

            NativeMemory.Free(_table);
        }

        private double Read(int p, int head, int d, int part)
        {
            var vector = Address(p, head, part);
            return _type switch
            {
                KvType.F16 => (double)((Half*)vector)[d],
                KvType.I8 => ((sbyte*)vector)[d] * (double)*(float*)(vector + _headSize),
                _ => ((float*)vector)[d],
            };
        }

        private byte* Address(int p, int head, int part) =>
            _table[p / KvView.BlockPositions] + (((part * Vectors) + (head * KvView.BlockPositions) + (p % KvView.BlockPositions)) * (long)Bytes);
    }
}
