using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Memory;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace RyzenLlm.Kernels;

// Products of 5 to 23 tokens, the next tokens of as many users, with weights of 16 and 32 bits. So few do not repay the panel of decoded weights that
// prompts use: tiles of 3 rows x 8 tokens decode as they go, one chain at a time, on ports that the multiplications leave idle. 24 rows pass before
// the next chunk of columns, so that the activations of a chunk (32 KB) stay in the first-level cache; all tokens pass before the next 24 rows.
internal sealed unsafe partial class Avx512Kernels
{
    private const int FewRows = 3;
    private const int FewTokens = 8;
    private const int FewBand = 24;

    private interface IVectorDecoder : IDecoder
    {
        /// <summary>Columns i .. i + 15 of the row at p.</summary>
        static abstract V Load(byte* p, long i);
    }

    /// <summary>The product where it can be done this way: a whole number of groups, and enough tokens but not too many.</summary>
    private static bool TryMultiplyFew<TDecoder>(in Product product)
        where TDecoder : struct, IVectorDecoder
    {
        if (product.N <= 4 || product.N >= PanelsFrom || product.Columns % GroupColumns != 0)
        {
            return false;
        }

        var totals = (float*)Scratch.Take(FewBand * FewTokens * 16 * sizeof(float));
        for (var m = 0; m < product.Rows; m += FewBand)
        {
            var rows = Math.Min(FewBand, product.Rows - m);
            var w = product.W + (m * product.RowBytes);
            for (var t = 0; t < product.N; t += FewTokens)
            {
                var tokens = Math.Min(FewTokens, product.N - t);
                var x = product.X + (t * product.LdX);
                var y = product.Y + (t * product.LdY) + m;
                if (tokens <= 4)
                {
                    Multiply<TDecoder>(new(w, product.RowBytes, product.End, rows, product.Columns, x, product.LdX, tokens, y, product.LdY));
                    continue;
                }

                new Span<float>(totals, FewBand * FewTokens * 16).Clear();
                for (var column = 0; column < product.Columns; column += ChunkGroups * GroupColumns)
                {
                    var columns = Math.Min(ChunkGroups * GroupColumns, product.Columns - column);
                    AddBand<TDecoder>(w, product.RowBytes, rows, column, columns, x, product.LdX, tokens - 1, totals);
                }

                StoreBand(totals, rows, tokens, y, product.LdY);
            }
        }

        return true;
    }

    /// <summary>One chunk of columns of up to 24 rows, added to totals [row][token][16 lanes].</summary>
    private static void AddBand<TDecoder>(byte* w, long rowBytes, int rows, int column, int columns, float* x, long ldx, int last, float* totals)
        where TDecoder : struct, IVectorDecoder
    {
        for (var r = 0; r < rows; r += FewRows)
        {
            // Rows behind the last repeat it; their totals are not looked at.
            var p0 = w + (r * rowBytes);
            var p1 = w + (Math.Min(r + 1, rows - 1) * rowBytes);
            var p2 = w + (Math.Min(r + 2, rows - 1) * rowBytes);
            for (var chain = 0; chain < Chains; chain++)
            {
                AddFew<TDecoder>(p0, p1, p2, column + (chain * 16), column + columns, FewBand * rowBytes, x, ldx, last, totals + (r * FewTokens * 16));
            }
        }
    }

    /// <summary>One chain of 3 rows x 8 tokens (missing ones repeat the last): 24 products for 8 loads and 3 decoded vectors. The same columns of later rows are fetched.</summary>
    [MethodImpl(Hot)]
    private static void AddFew<TDecoder>(byte* p0, byte* p1, byte* p2, long begin, long end, long ahead, float* x, long ldx, int last, float* totals)
        where TDecoder : struct, IVectorDecoder
    {
        V a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
        V b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default, b6 = default, b7 = default;
        V c0 = default, c1 = default, c2 = default, c3 = default, c4 = default, c5 = default, c6 = default, c7 = default;
        var x1 = x + ldx;
        var x2 = x1 + ldx;
        var x3 = x2 + ldx;
        var x4 = x3 + ldx;
        var x5 = x + (Math.Min(5, last) * ldx);
        var x6 = x + (Math.Min(6, last) * ldx);
        var x7 = x + (Math.Min(7, last) * ldx);
        for (var i = begin; i < end; i += GroupColumns)
        {
            var u = TDecoder.Load(p0, i);
            var v = TDecoder.Load(p1, i);
            var w = TDecoder.Load(p2, i);
            var next = ahead + (i * (TDecoder.Bytes / GroupColumns));
            Sse.Prefetch1(p0 + next);
            Sse.Prefetch1(p1 + next);
            Sse.Prefetch1(p2 + next);
            Tile3(Vector512.Load(x + i), u, v, w, ref a0, ref b0, ref c0);
            Tile3(Vector512.Load(x1 + i), u, v, w, ref a1, ref b1, ref c1);
            Tile3(Vector512.Load(x2 + i), u, v, w, ref a2, ref b2, ref c2);
            Tile3(Vector512.Load(x3 + i), u, v, w, ref a3, ref b3, ref c3);
            Tile3(Vector512.Load(x4 + i), u, v, w, ref a4, ref b4, ref c4);
            Tile3(Vector512.Load(x5 + i), u, v, w, ref a5, ref b5, ref c5);
            Tile3(Vector512.Load(x6 + i), u, v, w, ref a6, ref b6, ref c6);
            Tile3(Vector512.Load(x7 + i), u, v, w, ref a7, ref b7, ref c7);
        }

        Add4(totals, a0, a1, a2, a3);
        Add4(totals + 64, a4, a5, a6, a7);
        Add4(totals + 128, b0, b1, b2, b3);
        Add4(totals + 192, b4, b5, b6, b7);
        Add4(totals + 256, c0, c1, c2, c3);
        Add4(totals + 320, c4, c5, c6, c7);
    }

    [MethodImpl(Hot)]
    private static void StoreBand(float* totals, int rows, int tokens, float* y, long ldy)
    {
        for (var r = 0; r < rows; r++, totals += FewTokens * 16)
        {
            var low = SumLanes(Vector512.Load(totals), Vector512.Load(totals + 16), Vector512.Load(totals + 32), Vector512.Load(totals + 48));
            var high = SumLanes(Vector512.Load(totals + 64), Vector512.Load(totals + 80), Vector512.Load(totals + 96), Vector512.Load(totals + 112));
            for (var t = 0; t < tokens; t++)
            {
                y[(t * ldy) + r] = t < 4 ? low[t] : high[t - 4];
            }
        }
    }
}
