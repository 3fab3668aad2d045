using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using V = System.Runtime.Intrinsics.Vector256<float>;

namespace RyzenLlm.Kernels;

// Products with float activations. One reduction order for every format, row count and split:
//   - columns in chunks of 1024; in a chunk, 8-column vector v goes to chain v % 4, each chain one FMA after another from zero;
//   - at the end of a chunk total = (((total + chain 0) + chain 1) + chain 2) + chain 3, lane by lane;
//   - at the end of the row the 8 lanes of the total in the tree of SumLanes;
//   - columns are padded with zeros to a multiple of 32.
// Four chains let one row run at the latency of FMA; chunks let a tile of rows and tokens finish one chain at a time in registers.
internal unsafe partial class Avx2Kernels
{
    private const int GroupColumns = 32;
    private const int ChunkGroups = 32;
    private const int Chains = 4;

    public override void MatMul(WeightMatrix w, int begin, int end, float* x, long ldx, int n, float* y, long ldy)
    {
        var p = w.Data + (begin * w.RowBytes);
        var product = new Product(p, w.RowBytes, w.Data + w.Bytes, end - begin, w.Columns, x, ldx, n, y + begin, ldy);
        switch (w.Format.Type)
        {
            case QuantType.F32:
                Multiply<F32Decoder>(product);
                break;
            case QuantType.F16:
                Multiply<F16Decoder>(product);
                break;
            case QuantType.BF16:
                Multiply<BF16Decoder>(product);
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

    private static void Multiply<TDecoder>(in Product product)
        where TDecoder : struct, IDecoder
    {
        if (product.N == 1)
        {
            var tails = Scratch.Take(TailColumns.Floats(1, GroupColumns) * sizeof(float));
            MultiplyRows<TDecoder>(product, TailColumns.Prepare(product, GroupColumns, TDecoder.Bytes, (float*)tails));
        }
        else if (product.N > 1)
        {
            MultiplyTiles<TDecoder>(product);
        }
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

    [MethodImpl(Inline)]
    private static void Accumulate(V w0, V w1, V w2, V w3, float* x, ref V c0, ref V c1, ref V c2, ref V c3)
    {
        c0 = Fma.MultiplyAdd(w0, Vector256.Load(x), c0);
        c1 = Fma.MultiplyAdd(w1, Vector256.Load(x + 8), c1);
        c2 = Fma.MultiplyAdd(w2, Vector256.Load(x + 16), c2);
        c3 = Fma.MultiplyAdd(w3, Vector256.Load(x + 24), c3);
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
        w0 = (w0.AsInt32() & Vector256.Load(tail.Mask)).AsSingle();
        w1 = (w1.AsInt32() & Vector256.Load(tail.Mask + 8)).AsSingle();
        w2 = (w2.AsInt32() & Vector256.Load(tail.Mask + 16)).AsSingle();
        w3 = (w3.AsInt32() & Vector256.Load(tail.Mask + 24)).AsSingle();
    }

    /// <summary>The cache lines of a block, 4096 bytes ahead; behind the end a prefetch does nothing.</summary>
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

    /// <summary>Sums of the lanes of four vectors, all in the same tree: (0+2)+(1+3) inside each half, then the halves.</summary>
    [MethodImpl(Inline)]
    private static Vector128<float> SumLanes(V a, V b, V c, V d)
    {
        var ab = Avx.UnpackLow(a, b) + Avx.UnpackHigh(a, b);
        var cd = Avx.UnpackLow(c, d) + Avx.UnpackHigh(c, d);
        var halves = Avx.UnpackLow(ab.AsDouble(), cd.AsDouble()).AsSingle() + Avx.UnpackHigh(ab.AsDouble(), cd.AsDouble()).AsSingle();
        return halves.GetLower() + halves.GetUpper();
    }
}
