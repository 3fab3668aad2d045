using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace RyzenLlm.Kernels;

// Tiles of 4 queries x 4 keys and of 4 queries x 64 dimensions: 16 accumulators hide the latency of FMA and need half a load each. The 16 sums across lanes
// of a tile of scores are one tree of vectors.
internal sealed unsafe partial class Avx512Kernels
{
    private protected override void Unpack(byte* vectors, KvType type, int count, int from, int n, int h, float* block)
    {
        switch (n % 16, type)
        {
            case (0, KvType.F16):
                Unpack<F16Cache>(vectors, count, from, n, h, block);
                break;
            case (0, KvType.I8):
                Unpack<I8Cache>(vectors, count, from, n, h, block);
                break;
            case (0, _):
                Unpack<F32Cache>(vectors, count, from, n, h, block);
                break;
            default:
                base.Unpack(vectors, type, count, from, n, h, block);
                break;
        }
    }

    [MethodImpl(Hot)]
    private static void Unpack<TCache>(byte* vectors, int count, int from, int n, int h, float* block)
        where TCache : struct, ICache
    {
        vectors += from * TCache.Bytes;
        for (var p = 0; p < count; p++, vectors += Stride<TCache>(h), block += n)
        {
            for (var i = 0; i < n; i += 16)
            {
                TCache.Load(vectors + (i * TCache.Bytes)).Store(block + i);
            }
        }
    }

    private protected override void ScoreBlock(float* keys, int count, float* factors, float* q, int queries, int h, float* scores, int ld)
    {
        if (h % 16 == 0)
        {
            ScoreBlock16(keys, count, factors, q, queries, h, scores, ld);
        }
        else
        {
            base.ScoreBlock(keys, count, factors, q, queries, h, scores, ld);
        }
    }

    private protected override void AddBlock(float* values, int count, int n, float* weights, int ld, float* output, int h)
    {
        if (n == 64)
        {
            AddBlock64(values, count, weights, ld, output, h);
        }
        else
        {
            base.AddBlock(values, count, n, weights, ld, output, h);
        }
    }

    [MethodImpl(Hot)]
    private static void ScoreBlock16(float* keys, int count, float* factors, float* q, int queries, int h, float* scores, int ld)
    {
        for (var j = 0; j < queries; j += TileSide, q += TileSide * h, scores += TileSide * (long)ld)
        {
            var key = keys;
            for (var p = 0; p < count; p += TileSide, key += TileSide * h)
            {
                V a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
                V c0 = default, c1 = default, c2 = default, c3 = default, d0 = default, d1 = default, d2 = default, d3 = default;
                for (var i = 0; i < h; i += 16)
                {
                    var k0 = Vector512.Load(key + i);
                    var k1 = Vector512.Load(key + h + i);
                    var k2 = Vector512.Load(key + (2 * h) + i);
                    var k3 = Vector512.Load(key + (3 * h) + i);
                    Add(k0, k1, k2, k3, Vector512.Load(q + i), ref a0, ref a1, ref a2, ref a3);
                    Add(k0, k1, k2, k3, Vector512.Load(q + h + i), ref b0, ref b1, ref b2, ref b3);
                    Add(k0, k1, k2, k3, Vector512.Load(q + (2 * h) + i), ref c0, ref c1, ref c2, ref c3);
                    Add(k0, k1, k2, k3, Vector512.Load(q + (3 * h) + i), ref d0, ref d1, ref d2, ref d3);
                }

                var a = SumInQuarters(a0, a1, a2, a3);
                var b = SumInQuarters(b0, b1, b2, b3);
                var c = SumInQuarters(c0, c1, c2, c3);
                var d = SumInQuarters(d0, d1, d2, d3);

                // Quarters 0 + 2 and 1 + 3 of two queries each, then both, [query][key].
                var ab = Avx512F.Shuffle4x128(a, b, 0b01_00_01_00) + Avx512F.Shuffle4x128(a, b, 0b11_10_11_10);
                var cd = Avx512F.Shuffle4x128(c, d, 0b01_00_01_00) + Avx512F.Shuffle4x128(c, d, 0b11_10_11_10);
                var sums = Avx512F.Shuffle4x128(ab, cd, 0b10_00_10_00) + Avx512F.Shuffle4x128(ab, cd, 0b11_01_11_01);
                sums *= Avx512F.BroadcastVector128ToVector512(factors + p);
                var to = scores + p;
                sums.GetLower().GetLower().Store(to);
                sums.GetLower().GetUpper().Store(to + ld);
                sums.GetUpper().GetLower().Store(to + (2L * ld));
                sums.GetUpper().GetUpper().Store(to + (3L * ld));
            }
        }
    }

    [MethodImpl(Hot)]
    private static void AddBlock64(float* values, int count, float* weights, int ld, float* output, int h)
    {
        var w1 = weights + ld;
        var w2 = w1 + ld;
        var w3 = w2 + ld;
        Load64(output, out var a0, out var a1, out var a2, out var a3);
        Load64(output + h, out var b0, out var b1, out var b2, out var b3);
        Load64(output + (2 * h), out var c0, out var c1, out var c2, out var c3);
        Load64(output + (3 * h), out var d0, out var d1, out var d2, out var d3);
        for (var p = 0; p < count; p++, values += 64)
        {
            Load64(values, out var v0, out var v1, out var v2, out var v3);
            Add(v0, v1, v2, v3, Vector512.Create(weights[p]), ref a0, ref a1, ref a2, ref a3);
            Add(v0, v1, v2, v3, Vector512.Create(w1[p]), ref b0, ref b1, ref b2, ref b3);
            Add(v0, v1, v2, v3, Vector512.Create(w2[p]), ref c0, ref c1, ref c2, ref c3);
            Add(v0, v1, v2, v3, Vector512.Create(w3[p]), ref d0, ref d1, ref d2, ref d3);
        }

        Store64(output, a0, a1, a2, a3);
        Store64(output + h, b0, b1, b2, b3);
        Store64(output + (2 * h), c0, c1, c2, c3);
        Store64(output + (3 * h), d0, d1, d2, d3);
    }

    [MethodImpl(Inline)]
    private static void Add(V v0, V v1, V v2, V v3, V w, ref V a0, ref V a1, ref V a2, ref V a3)
    {
        a0 = Avx512F.FusedMultiplyAdd(v0, w, a0);
        a1 = Avx512F.FusedMultiplyAdd(v1, w, a1);
        a2 = Avx512F.FusedMultiplyAdd(v2, w, a2);
        a3 = Avx512F.FusedMultiplyAdd(v3, w, a3);
    }

    /// <summary>Raises <paramref name="largest"/> to the largest score; scores become exp(score - largest). Returns their sum, by position modulo 16.</summary>
    [MethodImpl(Hot)]
    private protected override float Weights(float* scores, int count, ref float largest)
    {
        var max = Vector512.Create(largest);
        var whole = count & ~15;
        for (var i = 0; i < whole; i += 16)
        {
            max = Avx512F.Max(max, Vector512.Load(scores + i));
        }

        var mask = Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(count - whole)).AsSingle();
        if (whole < count)
        {
            max = Avx512F.Max(max, Avx512F.MaskLoad(scores + whole, mask, max));
        }

        // The largest lane, everywhere.
        max = Avx512F.Max(max, Avx512F.Shuffle4x128(max, max, 0b01_00_11_10));
        max = Avx512F.Max(max, Avx512F.Shuffle4x128(max, max, 0b10_11_00_01));
        max = Avx512F.Max(max, Avx512F.Permute4x32(max, 0b01_00_11_10));
        max = Avx512F.Max(max, Avx512F.Permute4x32(max, 0b10_11_00_01));
        largest = max.ToScalar();
        var sum = V.Zero;
        for (var i = 0; i < whole; i += 16)
        {
            var e = Exp(Vector512.Load(scores + i) - max);
            e.Store(scores + i);
            sum += e;
        }

        if (whole < count)
        {
            var e = Exp(Avx512F.MaskLoad(scores + whole, mask, max) - max) & mask;
            Avx512F.MaskStore(scores + whole, mask, e);
            sum += e;
        }

        return SumLanes(sum, sum, sum, sum).ToScalar();
    }
}
