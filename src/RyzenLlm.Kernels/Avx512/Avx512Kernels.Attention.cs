using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace RyzenLlm.Kernels;

// Scores and values in 512-bit vectors for head sizes that are multiples of 16, otherwise on the 256-bit path: the head size decides, so
// a model sees one order only.
internal sealed unsafe partial class Avx512Kernels
{
    private interface ICache
    {
        static abstract int Bytes { get; }

        /// <summary>Whether the scale of a vector lies behind it.</summary>
        static abstract bool IsScaled { get; }

        static abstract V Load(byte* p);
    }

    private readonly struct F16Cache : ICache
    {
        public static int Bytes => 2;

        public static bool IsScaled => false;

        [MethodImpl(Inline)]
        public static V Load(byte* p) => LoadHalves((short*)p);
    }

    private readonly struct I8Cache : ICache
    {
        public static int Bytes => 1;

        public static bool IsScaled => true;

        [MethodImpl(Inline)]
        public static V Load(byte* p) => Vector512.ConvertToSingle(Avx512F.ConvertToVector512Int32(Vector128.Load((sbyte*)p)));
    }

    private readonly struct F32Cache : ICache
    {
        public static int Bytes => 4;

        public static bool IsScaled => false;

        [MethodImpl(Inline)]
        public static V Load(byte* p) => Vector512.Load((float*)p);
    }

    private protected override void ScoreRun(byte* keys, KvType type, int count, float* q, int group, int h, float scale, float* scores, int ld)
    {
        if (h % 16 != 0)
        {
            base.ScoreRun(keys, type, count, q, group, h, scale, scores, ld);
            return;
        }

        for (var j = 0; j < group;)
        {
            var heads = group - j >= 4 ? 4 : 1;
            switch (type, heads)
            {
                case (KvType.F16, 4):
                    Scores<F16Cache, FourHeads>(keys, count, q + (j * h), h, scale, scores + ((long)j * ld), ld);
                    break;
                case (KvType.F16, _):
                    Scores<F16Cache, OneHead>(keys, count, q + (j * h), h, scale, scores + ((long)j * ld), ld);
                    break;
                case (KvType.I8, 4):
                    Scores<I8Cache, FourHeads>(keys, count, q + (j * h), h, scale, scores + ((long)j * ld), ld);
                    break;
                case (KvType.I8, _):
                    Scores<I8Cache, OneHead>(keys, count, q + (j * h), h, scale, scores + ((long)j * ld), ld);
                    break;
                case (_, 4):
                    Scores<F32Cache, FourHeads>(keys, count, q + (j * h), h, scale, scores + ((long)j * ld), ld);
                    break;
                default:
                    Scores<F32Cache, OneHead>(keys, count, q + (j * h), h, scale, scores + ((long)j * ld), ld);
                    break;
            }

            j += heads;
        }
    }

    private protected override void AddRun(byte* values, KvType type, int count, float* weights, int ld, int group, int h, float* output)
    {
        if (h % 16 != 0)
        {
            base.AddRun(values, type, count, weights, ld, group, h, output);
            return;
        }

        for (var j = 0; j < group;)
        {
            var heads = group - j >= 4 ? 4 : 1;
            switch (type, heads)
            {
                case (KvType.F16, 4):
                    Values<F16Cache, FourHeads>(values, count, weights + ((long)j * ld), ld, h, output + (j * h));
                    break;
                case (KvType.F16, _):
                    Values<F16Cache, OneHead>(values, count, weights + ((long)j * ld), ld, h, output + (j * h));
                    break;
                case (KvType.I8, 4):
                    Values<I8Cache, FourHeads>(values, count, weights + ((long)j * ld), ld, h, output + (j * h));
                    break;
                case (KvType.I8, _):
                    Values<I8Cache, OneHead>(values, count, weights + ((long)j * ld), ld, h, output + (j * h));
                    break;
                case (_, 4):
                    Values<F32Cache, FourHeads>(values, count, weights + ((long)j * ld), ld, h, output + (j * h));
                    break;
                default:
                    Values<F32Cache, OneHead>(values, count, weights + ((long)j * ld), ld, h, output + (j * h));
                    break;
            }

            j += heads;
        }
    }

    /// <summary>Bytes from one position to the next.</summary>
    [MethodImpl(Inline)]
    private static int Stride<TCache>(int h)
        where TCache : struct, ICache => (h * TCache.Bytes) + (TCache.IsScaled ? sizeof(float) : 0);

    /// <summary>A position's weight times the scale of its vector, whose element <paramref name="i"/> is at <paramref name="v"/>.</summary>
    [MethodImpl(Inline)]
    private static float Scaled<TCache>(float weight, byte* v, int i, int h)
        where TCache : struct, ICache => TCache.IsScaled ? weight * *(float*)(v - i + h) : weight;

    [MethodImpl(Hot)]
    private static void Scores<TCache, THeads>(byte* keys, int count, float* q, int h, float scale, float* scores, int ld)
        where TCache : struct, ICache
        where THeads : struct, IHeads
    {
        for (var p = 0; p < count; p++, keys += Stride<TCache>(h))
        {
            V a = default, b = default, c = default, d = default;
            for (var i = 0; i < h; i += 16)
            {
                Sse.PrefetchNonTemporal(keys + (i * TCache.Bytes) + 4096);
                var key = TCache.Load(keys + (i * TCache.Bytes));
                a = Avx512F.FusedMultiplyAdd(key, Vector512.Load(q + i), a);
                if (THeads.Count == 4)
                {
                    b = Avx512F.FusedMultiplyAdd(key, Vector512.Load(q + h + i), b);
                    c = Avx512F.FusedMultiplyAdd(key, Vector512.Load(q + (2 * h) + i), c);
                    d = Avx512F.FusedMultiplyAdd(key, Vector512.Load(q + (3 * h) + i), d);
                }
            }

            var sums = SumLanes(a, b, c, d) * (TCache.IsScaled ? scale * *(float*)(keys + h) : scale);
            scores[p] = sums[0];
            if (THeads.Count == 4)
            {
                scores[p + ld] = sums[1];
                scores[p + (2L * ld)] = sums[2];
                scores[p + (3L * ld)] = sums[3];
            }
        }
    }

    /// <summary>64 dimensions at a time (16 accumulators for four heads), then 16; a block of positions stays in the first-level cache for the later ones.</summary>
    private static void Values<TCache, THeads>(byte* values, int count, float* weights, int ld, int h, float* output)
        where TCache : struct, ICache
        where THeads : struct, IHeads
    {
        var i = 0;
        for (; i <= h - 64; i += 64)
        {
            Add64<TCache, THeads>(values + (i * TCache.Bytes), i, count, weights, ld, h, output + i);
        }

        for (; i < h; i += 16)
        {
            for (var j = 0; j < THeads.Count; j++)
            {
                Add16<TCache>(values + (i * TCache.Bytes), i, count, weights + ((long)j * ld), h, output + (j * h) + i);
            }
        }
    }

    [MethodImpl(Hot)]
    private static void Add16<TCache>(byte* v, int i, int count, float* weights, int h, float* output)
        where TCache : struct, ICache
    {
        var a = Vector512.Load(output);
        for (var p = 0; p < count; p++, v += Stride<TCache>(h))
        {
            a = Avx512F.FusedMultiplyAdd(TCache.Load(v), Vector512.Create(Scaled<TCache>(weights[p], v, i, h)), a);
        }

        a.Store(output);
    }

    [MethodImpl(Hot)]
    private static void Add64<TCache, THeads>(byte* v, int i, int count, float* weights, int ld, int h, float* output)
        where TCache : struct, ICache
        where THeads : struct, IHeads
    {
        V a0 = Vector512.Load(output), a1 = Vector512.Load(output + 16), a2 = Vector512.Load(output + 32), a3 = Vector512.Load(output + 48);
        V b0 = default, b1 = default, b2 = default, b3 = default;
        V c0 = default, c1 = default, c2 = default, c3 = default;
        V d0 = default, d1 = default, d2 = default, d3 = default;
        var w1 = weights + ld;
        var w2 = w1 + ld;
        var w3 = w2 + ld;
        if (THeads.Count == 4)
        {
            Load64(output + h, out b0, out b1, out b2, out b3);
            Load64(output + (2 * h), out c0, out c1, out c2, out c3);
            Load64(output + (3 * h), out d0, out d1, out d2, out d3);
        }

        for (var p = 0; p < count; p++, v += Stride<TCache>(h))
        {
            Sse.PrefetchNonTemporal(v + 4096);
            var v0 = TCache.Load(v);
            var v1 = TCache.Load(v + (16 * TCache.Bytes));
            var v2 = TCache.Load(v + (32 * TCache.Bytes));
            var v3 = TCache.Load(v + (48 * TCache.Bytes));
            Add(v0, v1, v2, v3, Vector512.Create(Scaled<TCache>(weights[p], v, i, h)), ref a0, ref a1, ref a2, ref a3);
            if (THeads.Count == 4)
            {
                Add(v0, v1, v2, v3, Vector512.Create(Scaled<TCache>(w1[p], v, i, h)), ref b0, ref b1, ref b2, ref b3);
                Add(v0, v1, v2, v3, Vector512.Create(Scaled<TCache>(w2[p], v, i, h)), ref c0, ref c1, ref c2, ref c3);
                Add(v0, v1, v2, v3, Vector512.Create(Scaled<TCache>(w3[p], v, i, h)), ref d0, ref d1, ref d2, ref d3);
            }
        }

        Store64(output, a0, a1, a2, a3);
        if (THeads.Count == 4)
        {
            Store64(output + h, b0, b1, b2, b3);
            Store64(output + (2 * h), c0, c1, c2, c3);
            Store64(output + (3 * h), d0, d1, d2, d3);
        }
    }

    [MethodImpl(Inline)]
    private static void Load64(float* p, out V a, out V b, out V c, out V d)
    {
        a = Vector512.Load(p);
        b = Vector512.Load(p + 16);
        c = Vector512.Load(p + 32);
        d = Vector512.Load(p + 48);
    }

    [MethodImpl(Inline)]
    private static void Store64(float* p, V a, V b, V c, V d)
    {
        a.Store(p);
        b.Store(p + 16);
        c.Store(p + 32);
        d.Store(p + 48);
    }
}
