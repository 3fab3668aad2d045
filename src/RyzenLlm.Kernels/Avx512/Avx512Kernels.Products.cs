using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace RyzenLlm.Kernels;

// Products with float activations. One reduction order for every format, row count and split:
//   - columns in chunks of 1024; in a chunk, 16-column vector v goes to chain v % 4, each chain one FMA after another from zero;
//   - at the end of a chunk total = (((total + chain 0) + chain 1) + chain 2) + chain 3, lane by lane;
//   - at the end of the row the 16 lanes of the total in the tree of SumLanes;
//   - columns are padded with zeros to a multiple of 64.
// Four chains let one row run at the latency of FMA; chunks let a tile of rows and tokens finish one chain at a time in registers.
internal sealed unsafe partial class Avx512Kernels
{
    private const int GroupColumns = 64;
    private const int ChunkGroups = 16;
    private const int Chains = 4;

    // Tile of the many-token kernel: 24 accumulators. Its rows of one chunk (32 KB as floats) stay in the first-level cache, its tokens in the second.
    private const int TileRows = 8;
    private const int TileTokens = 3;
    private const int BlockTokens = 48;

    public override void MatMul(WeightMatrix w, int begin, int end, float* x, long ldx, int n, float* y, long ldy)
    {
        var p = w.Data + (begin * w.RowBytes);
        var product = new Product(p, w.RowBytes, w.Data + w.Bytes, end - begin, w.Columns, x, ldx, n, y + begin, ldy);
        switch (w.Format.Type)
        {
            case QuantType.F32:
                MultiplyVectors<F32Decoder>(product);
                break;
            case QuantType.F16:
                MultiplyVectors<F16Decoder>(product);
                break;
            case QuantType.BF16:
                MultiplyVectors<BF16Decoder>(product);
                break;
            case QuantType.Q8_0:
                Multiply<Q8_0Decoder>(product);
                break;
            case QuantType.Q4_0:
                Multiply<Q4_0Decoder>(product);
                break;
            case QuantType.Q4_K:
                Multiply<Q4_KDecoder>(product);
                break;
            case QuantType.Q5_K:
                Multiply<Q5_KDecoder>(product);
                break;
            case QuantType.Q6_K:
                Multiply<Q6_KDecoder>(product);
                break;
            default:
                MultiplyDecoded(w, begin, product);
                break;
        }

        GC.KeepAlive(w);
    }

    /// <summary>Formats without a vector decoder: some rows at a time decoded, then multiplied as floats.</summary>
    private static void MultiplyDecoded(WeightMatrix w, int begin, in Product all)
    {
        const int Rows = 32;
        var decoded = (float*)Scratch.TakeOuter((long)Rows * all.Columns * sizeof(float));
        for (var m = 0; m < all.Rows; m += Rows)
        {
            var rows = Math.Min(Rows, all.Rows - m);
            for (var r = 0; r < rows; r++)
            {
                w.DecodeRow(begin + m + r, new Span<float>(decoded + ((long)r * all.Columns), all.Columns));
            }

            Multiply<F32Decoder>(new((byte*)decoded, all.Columns * 4L, (byte*)(decoded + ((long)rows * all.Columns)), rows, all.Columns, all.X, all.LdX, all.N, all.Y + m, all.LdY));
        }
    }

    private static void MultiplyVectors<TDecoder>(in Product product)
        where TDecoder : struct, IVectorDecoder
    {
        if (!TryMultiplyFew<TDecoder>(product))
        {
            Multiply<TDecoder>(product);
        }
    }

    private static void Multiply<TDecoder>(in Product product)
        where TDecoder : struct, IDecoder
    {
        if (product.N == 0)
        {
            return;
        }

        if (product.N <= 4)
        {
            var tails = Scratch.Take(TailColumns.Floats(product.N, GroupColumns) * sizeof(float));
            var rest = TailColumns.Prepare(product, GroupColumns, TDecoder.Bytes, (float*)tails);
            if (product.N == 1)
            {
                MultiplyRows<TDecoder>(product, rest);
            }
            else
            {
                MultiplyRows4<TDecoder>(product, rest);
            }

            return;
        }

        MultiplyTiles<TDecoder>(product);
    }

    /// <summary>One token: streams the weights once, row by row.</summary>
    [MethodImpl(Hot)]
    private static void MultiplyRows<TDecoder>(in Product product, in TailColumns tail)
        where TDecoder : struct, IDecoder
    {
        var scales = stackalloc float[BlockScales];
        var groups = product.Columns / GroupColumns;
        var all = groups + (tail.Columns != 0 ? 1 : 0);
        for (var m = 0; m < product.Rows; m++)
        {
            var p = product.W + (m * product.RowBytes);
            var x = product.X;
            var total = V.Zero;
            for (var group = 0; group < all;)
            {
                var stop = Math.Min(groups, group + ChunkGroups);
                var last = Math.Min(all, group + ChunkGroups);
                V c0 = default, c1 = default, c2 = default, c3 = default;
                V w0, w1, w2, w3;
                for (; group < stop; group++, x += GroupColumns)
                {
                    DecodeNext<TDecoder>(ref p, scales, group, out w0, out w1, out w2, out w3);
                    Accumulate(w0, w1, w2, w3, x, ref c0, ref c1, ref c2, ref c3);
                }

                if (group < last)
                {
                    DecodeTail<TDecoder>(tail, p, product.End, out w0, out w1, out w2, out w3);
                    Accumulate(w0, w1, w2, w3, tail.X, ref c0, ref c1, ref c2, ref c3);
                    group++;
                }

                total = total + c0 + c1 + c2 + c3;
            }

            product.Y[m] = SumLanes(total, total, total, total).ToScalar();
        }
    }

    /// <summary>Two to four tokens: as one token, each decoded group meets four rows of activations (missing ones repeat the last).</summary>
    [MethodImpl(Hot)]
    private static void MultiplyRows4<TDecoder>(in Product product, in TailColumns tail)
        where TDecoder : struct, IDecoder
    {
        var scales = stackalloc float[BlockScales];
        var groups = product.Columns / GroupColumns;
        var n = product.N;
        var last = n - 1;
        for (var m = 0; m < product.Rows; m++)
        {
            var p = product.W + (m * product.RowBytes);
            var xa = product.X;
            var xb = product.X + product.LdX;
            var xc = product.X + (Math.Min(2, last) * product.LdX);
            var xd = product.X + (last * product.LdX);
            V ta = default, tb = default, tc = default, td = default;
            var all = groups + (tail.Columns != 0 ? 1 : 0);
            for (var group = 0; group < all;)
            {
                var stop = Math.Min(all, group + ChunkGroups);
                V a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
                V c0 = default, c1 = default, c2 = default, c3 = default, d0 = default, d1 = default, d2 = default, d3 = default;
                for (; group < stop; group++, xa += 64, xb += 64, xc += 64, xd += 64)
                {
                    V w0, w1, w2, w3;
                    if (group < groups)
                    {
                        DecodeNext<TDecoder>(ref p, scales, group, out w0, out w1, out w2, out w3);
                    }
                    else
                    {
                        DecodeTail<TDecoder>(tail, p, product.End, out w0, out w1, out w2, out w3);
                        xa = tail.X;
                        xb = tail.X + GroupColumns;
                        xc = tail.X + (Math.Min(2, last) * GroupColumns);
                        xd = tail.X + (last * GroupColumns);
                    }

                    Accumulate(w0, w1, w2, w3, xa, ref a0, ref a1, ref a2, ref a3);
                    Accumulate(w0, w1, w2, w3, xb, ref b0, ref b1, ref b2, ref b3);
                    Accumulate(w0, w1, w2, w3, xc, ref c0, ref c1, ref c2, ref c3);
                    Accumulate(w0, w1, w2, w3, xd, ref d0, ref d1, ref d2, ref d3);
                }

                ta = ta + a0 + a1 + a2 + a3;
                tb = tb + b0 + b1 + b2 + b3;
                tc = tc + c0 + c1 + c2 + c3;
                td = td + d0 + d1 + d2 + d3;
            }

            var sums = SumLanes(ta, tb, tc, td);
            var y = product.Y + m;
            y[0] = sums[0];
            y[product.LdY] = sums[1];
            if (n > 2)
            {
                y[2 * product.LdY] = sums[2];
            }

            if (n > 3)
            {
                y[3 * product.LdY] = sums[3];
            }
        }
    }

    /// <summary>The next group of a row; p moves on at the end of each block.</summary>
    [MethodImpl(Inline)]
    private static void DecodeNext<TDecoder>(ref byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        where TDecoder : struct, IDecoder
    {
        var part = group & (TDecoder.GroupsPerBlock - 1);
        if (part == 0)
        {
            Prefetch<TDecoder>(p);
            TDecoder.Prepare(p, scales);
        }

        TDecoder.Decode(p, scales, part, out w0, out w1, out w2, out w3);
        if (part == TDecoder.GroupsPerBlock - 1)
        {
            p += TDecoder.Bytes;
        }
    }

    [MethodImpl(Inline)]
    private static void Accumulate(V w0, V w1, V w2, V w3, float* x, ref V c0, ref V c1, ref V c2, ref V c3)
    {
        c0 = Vector512.FusedMultiplyAdd(w0, Vector512.Load(x), c0);
        c1 = Vector512.FusedMultiplyAdd(w1, Vector512.Load(x + 16), c1);
        c2 = Vector512.FusedMultiplyAdd(w2, Vector512.Load(x + 32), c2);
        c3 = Vector512.FusedMultiplyAdd(w3, Vector512.Load(x + 48), c3);
    }

    /// <summary>The group that holds the last columns of a row, with zeros behind them.</summary>
    [MethodImpl(Inline)]
    private static void DecodeTail<TDecoder>(in TailColumns tail, byte* p, byte* end, out V w0, out V w1, out V w2, out V w3)
        where TDecoder : struct, IDecoder
    {
        if (end - p < TDecoder.Bytes)
        {
            // A whole group would reach behind the matrix. Bytes of zero decode to zero in every format with tails.
            for (var i = 0; i < tail.Bytes; i++)
            {
                tail.Spare[i] = p[i];
            }

            p = tail.Spare;
        }

        TDecoder.Decode(p, null, 0, out w0, out w1, out w2, out w3);
        w0 = (w0.AsInt32() & Vector512.Load(tail.Mask)).AsSingle();
        w1 = (w1.AsInt32() & Vector512.Load(tail.Mask + 16)).AsSingle();
        w2 = (w2.AsInt32() & Vector512.Load(tail.Mask + 32)).AsSingle();
        w3 = (w3.AsInt32() & Vector512.Load(tail.Mask + 48)).AsSingle();
    }

    /// <summary>All cache lines of a block, 4096 bytes ahead; behind the end a prefetch does nothing.</summary>
    [MethodImpl(Inline)]
    private static void Prefetch<TDecoder>(byte* p)
        where TDecoder : struct, IDecoder
    {
        Sse.PrefetchNonTemporal(p + 4096);
        if (TDecoder.Bytes > 64)
        {
            Sse.PrefetchNonTemporal(p + 4096 + 64);
        }

        if (TDecoder.Bytes > 128)
        {
            Sse.PrefetchNonTemporal(p + 4096 + 128);
        }

        if (TDecoder.Bytes > 192)
        {
            Sse.PrefetchNonTemporal(p + 4096 + 192);
        }
    }
}
