using System.Runtime.InteropServices;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>Attention over a paged cache.</summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class AttentionTests(string path)
{
    private const int KvHeads = 2;

    [Test]
    public void Attend_AgreesWithDouble(
        [Values] KvType type,
        [Values(4, 8, 16, 24, 64, 80, 128)] int headSize,
        [Values(1, 3, 4, 5)] int group,
        [Values(1, 2, 7, 9, 63, 64, 65, 130)] int count)
    {
        var kernels = Paths.Get(path);
        using var cache = new Cache(type, headSize, blocks: 4, seed: count);
        var view = cache.Chain(count);
        using var q = Data.Uniform(headSize + group, group * headSize, -2, 2);
        using var scratch = new Data.Operand(group * count);
        using var output = new Data.Operand(group * headSize);
        for (var kvHead = 0; kvHead < KvHeads; kvHead++)
        {
            kernels.Attend(view, kvHead, q.Pointer, group, 0.3f, scratch.Pointer, output.Pointer);
            for (var j = 0; j < group; j++)
            {
                var scores = Enumerable.Range(0, count).Select(p => Enumerable.Range(0, headSize).Sum(d => (double)q[(j * headSize) + d] * cache.Key(p, kvHead, d)) * 0.3f).ToArray();
                var weights = scores.Select(s => Math.Exp(s - scores.Max())).ToArray();
                for (var d = 0; d < headSize; d++)
                {
                    var expected = Enumerable.Range(0, count).Sum(p => weights[p] * cache.Value(p, kvHead, d)) / weights.Sum();
                    Assert.That(output[(j * headSize) + d], Is.EqualTo(expected).Within(3e-6), $"kv head {kvHead}, query {j}, dimension {d}");
                }
            }
        }
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
            using var scratch = new Data.Operand(group * count);
            using var expected = new Data.Operand(group * headSize);
            using var output = new Data.Operand(group * headSize);
            kernels.Attend(chain.Chain(count), 1, q.Pointer, group, 0.2f, scratch.Pointer, expected.Pointer);
            kernels.Attend(treeView, 1, q.Pointer, group, 0.2f, scratch.Pointer, output.Pointer);
            Assert.That(output.ToArray(), Is.EqualTo(expected.ToArray()), $"prefix {prefix}, tail {tail}");
        }
    }

    [Test]
    public void Attend_LargeScores_StayFinite([Values] KvType type)
    {
        var kernels = Paths.Get(path);
        using var cache = new Cache(type, 64, blocks: 2, seed: 1);
        using var q = Data.Uniform(3, 4 * 64, -2000, 2000);
        using var scratch = new Data.Operand(4 * 100);
        using var output = new Data.Operand(4 * 64);
        kernels.Attend(cache.Chain(100), 0, q.Pointer, 4, 10f, scratch.Pointer, output.Pointer);
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
