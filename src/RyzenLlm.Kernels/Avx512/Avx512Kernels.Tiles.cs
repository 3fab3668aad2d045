using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Memory;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace RyzenLlm.Kernels;

// Products with many tokens: up to 48 tokens at a time, 8 rows are decoded once per chunk of 1024 columns and multiplied in tiles of 8 rows x 3 tokens.
// Both operands are laid out by chain, [chunk][chain][row or token][step][16 lanes]: a tile walks one chain in a straight line, and what all tiles need of a
// chain lies together, so that it does not crowd into a few sets of the first-level cache.
internal sealed unsafe partial class Avx512Kernels
{
    private const int ChainFloats = ChunkGroups * 16;
    private const int ChunkFloats = Chains * ChainFloats;

    private static void MultiplyTiles<TDecoder>(in Product product)
        where TDecoder : struct, IDecoder
    {
        var groups = (product.Columns + GroupColumns - 1) / GroupColumns;
        var chunks = (groups + ChunkGroups - 1) / ChunkGroups;
        var xFloats = (long)chunks * BlockTokens * ChunkFloats;
        const long TotalFloats = BlockTokens * TileRows * 16;
        const long PanelFloats = TileRows * ChunkFloats;
        var packed = (float*)Scratch.Take((xFloats + TotalFloats + PanelFloats + TailColumns.Floats(0, GroupColumns)) * sizeof(float));
        var totals = packed + xFloats;
        var panel = totals + TotalFloats;
        var rest = TailColumns.Prepare(product.WithoutTokens(), GroupColumns, TDecoder.Bytes, panel + PanelFloats);
        for (var first = 0; first < product.N; first += BlockTokens)
        {
            var count = Math.Min(BlockTokens, product.N - first);
            var x = product.X + (first * product.LdX);
            var y = product.Y + (first * product.LdY);
            PackTokens(x, product.LdX, count, product.Columns, groups, packed);
            for (var m = 0; m < product.Rows; m += TileRows)
            {
                var rows = Math.Min(TileRows, product.Rows - m);
                new Span<float>(totals, count * TileRows * 16).Clear();
                for (var chunk = 0; chunk < chunks; chunk++)
                {
                    var steps = Math.Min(ChunkGroups, groups - (chunk * ChunkGroups));
                    DecodePanel<TDecoder>(product, rest, m, rows, chunk, steps, panel);
                    AddTiles(panel, packed + ((long)chunk * BlockTokens * ChunkFloats), steps, count, totals);
                }

                StoreTotals(totals, rows, count, y + m, product.LdY);
            }
        }
    }

    /// <summary>A chunk of 8 rows with all tokens, chain by chain: what a chain takes of the rows stays in the first-level cache meanwhile.</summary>
    private static void AddTiles(float* w, float* x, int steps, int tokens, float* totals)
    {
        for (var chain = 0; chain < Chains; chain++, w += TileRows * ChainFloats, x += BlockTokens * ChainFloats)
        {
            for (var t = 0; t < tokens; t += TileTokens)
            {
                var from = x + (t * ChainFloats);
                var to = totals + (t * TileRows * 16);
                switch (tokens - t)
                {
                    case 1:
                        AddTile1(w, from, steps, to);
                        break;
                    case 2:
                        AddTile2(w, from, steps, to);
                        break;
                    default:
                        AddTile3(w, from, steps, to);
                        break;
                }
            }
        }
    }

    /// <summary>Activations by chain; columns behind the last are zero.</summary>
    private static void PackTokens(float* x, long ldx, int count, int columns, int groups, float* packed)
    {
        for (var t = 0; t < count; t++)
        {
            for (var group = 0; group < groups; group++)
            {
                var to = packed + ((long)(group / ChunkGroups) * BlockTokens * ChunkFloats) + (t * ChainFloats) + (group % ChunkGroups * 16);
                for (var chain = 0; chain < Chains; chain++, to += BlockTokens * ChainFloats)
                {
                    var column = (group * GroupColumns) + (chain * 16);
                    if (column + 16 <= columns)
                    {
                        Vector512.Load(x + (t * ldx) + column).Store(to);
                        continue;
                    }

                    V.Zero.Store(to);
                    for (var i = 0; column + i < columns; i++)
                    {
                        to[i] = x[(t * ldx) + column + i];
                    }
                }
            }
        }
    }

    /// <summary>Decodes one chunk of up to eight rows by chain.</summary>
    [MethodImpl(Hot)]
    private static void DecodePanel<TDecoder>(in Product product, in TailColumns tail, int first, int rows, int chunk, int steps, float* panel)
        where TDecoder : struct, IDecoder
    {
        var scales = stackalloc float[BlockScales];
        var groups = product.Columns / GroupColumns;
        for (var r = 0; r < rows; r++)
        {
            var to = panel + (r * ChainFloats);
            var p = product.W + ((first + r) * product.RowBytes);
            for (var step = 0; step < steps; step++, to += 16)
            {
                var group = (chunk * ChunkGroups) + step;
                var block = p + (group / TDecoder.GroupsPerBlock * (long)TDecoder.Bytes);
                V w0, w1, w2, w3;
                if (group < groups)
                {
                    var part = group & (TDecoder.GroupsPerBlock - 1);
                    if (part == 0)
                    {
                        PrefetchPanel<TDecoder>(block + (TileRows * product.RowBytes));
                        TDecoder.Prepare(block, scales);
                    }

                    TDecoder.Decode(block, scales, part, out w0, out w1, out w2, out w3);
                }
                else
                {
                    DecodeTail<TDecoder>(tail, block, product.End, out w0, out w1, out w2, out w3);
                }

                w0.Store(to);
                w1.Store(to + (TileRows * ChainFloats));
                w2.Store(to + (2 * TileRows * ChainFloats));
                w3.Store(to + (3 * TileRows * ChainFloats));
            }
        }
    }

    /// <summary>The same block of the next eight rows, into the second-level cache: all tokens of these rows are multiplied meanwhile.</summary>
    [MethodImpl(Inline)]
    private static void PrefetchPanel<TDecoder>(byte* block)
        where TDecoder : struct, IDecoder
    {
        for (var line = 0; line < TDecoder.Bytes; line += 64)
        {
            Sse.Prefetch1(block + line);
        }
    }

    /// <summary>One chain of 8 rows x 3 tokens, added to totals [token][row][16 lanes].</summary>
    [MethodImpl(Hot)]
    private static void AddTile3(float* w, float* x, int steps, float* totals)
    {
        V a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
        V b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default, b6 = default, b7 = default;
        V c0 = default, c1 = default, c2 = default, c3 = default, c4 = default, c5 = default, c6 = default, c7 = default;
        var w4 = w + (4 * ChainFloats);
        for (var step = 0; step < steps; step++, w += 16, w4 += 16, x += 16)
        {
            var xa = Vector512.Load(x);
            var xb = Vector512.Load(x + ChainFloats);
            var xc = Vector512.Load(x + (2 * ChainFloats));
            Tile3(Vector512.Load(w), xa, xb, xc, ref a0, ref b0, ref c0);
            Tile3(Vector512.Load(w + ChainFloats), xa, xb, xc, ref a1, ref b1, ref c1);
            Tile3(Vector512.Load(w + (2 * ChainFloats)), xa, xb, xc, ref a2, ref b2, ref c2);
            Tile3(Vector512.Load(w + (3 * ChainFloats)), xa, xb, xc, ref a3, ref b3, ref c3);
            Tile3(Vector512.Load(w4), xa, xb, xc, ref a4, ref b4, ref c4);
            Tile3(Vector512.Load(w4 + ChainFloats), xa, xb, xc, ref a5, ref b5, ref c5);
            Tile3(Vector512.Load(w4 + (2 * ChainFloats)), xa, xb, xc, ref a6, ref b6, ref c6);
            Tile3(Vector512.Load(w4 + (3 * ChainFloats)), xa, xb, xc, ref a7, ref b7, ref c7);
        }

        Add4(totals, a0, a1, a2, a3);
        Add4(totals + 64, a4, a5, a6, a7);
        Add4(totals + 128, b0, b1, b2, b3);
        Add4(totals + 192, b4, b5, b6, b7);
        Add4(totals + 256, c0, c1, c2, c3);
        Add4(totals + 320, c4, c5, c6, c7);
    }

    /// <summary>One chain of 8 rows x 2 tokens: what is left of an even number of users.</summary>
    [MethodImpl(Hot)]
    private static void AddTile2(float* w, float* x, int steps, float* totals)
    {
        V a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
        V b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default, b6 = default, b7 = default;
        var w4 = w + (4 * ChainFloats);
        for (var step = 0; step < steps; step++, w += 16, w4 += 16, x += 16)
        {
            var xa = Vector512.Load(x);
            var xb = Vector512.Load(x + ChainFloats);
            Tile2(Vector512.Load(w), xa, xb, ref a0, ref b0);
            Tile2(Vector512.Load(w + ChainFloats), xa, xb, ref a1, ref b1);
            Tile2(Vector512.Load(w + (2 * ChainFloats)), xa, xb, ref a2, ref b2);
            Tile2(Vector512.Load(w + (3 * ChainFloats)), xa, xb, ref a3, ref b3);
            Tile2(Vector512.Load(w4), xa, xb, ref a4, ref b4);
            Tile2(Vector512.Load(w4 + ChainFloats), xa, xb, ref a5, ref b5);
            Tile2(Vector512.Load(w4 + (2 * ChainFloats)), xa, xb, ref a6, ref b6);
            Tile2(Vector512.Load(w4 + (3 * ChainFloats)), xa, xb, ref a7, ref b7);
        }

        Add4(totals, a0, a1, a2, a3);
        Add4(totals + 64, a4, a5, a6, a7);
        Add4(totals + 128, b0, b1, b2, b3);
        Add4(totals + 192, b4, b5, b6, b7);
    }

    /// <summary>One chain of 8 rows and a single token.</summary>
    [MethodImpl(Hot)]
    private static void AddTile1(float* w, float* x, int steps, float* totals)
    {
        V a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
        var w4 = w + (4 * ChainFloats);
        for (var step = 0; step < steps; step++, w += 16, w4 += 16, x += 16)
        {
            var xa = Vector512.Load(x);
            a0 = Vector512.FusedMultiplyAdd(Vector512.Load(w), xa, a0);
            a1 = Vector512.FusedMultiplyAdd(Vector512.Load(w + ChainFloats), xa, a1);
            a2 = Vector512.FusedMultiplyAdd(Vector512.Load(w + (2 * ChainFloats)), xa, a2);
            a3 = Vector512.FusedMultiplyAdd(Vector512.Load(w + (3 * ChainFloats)), xa, a3);
            a4 = Vector512.FusedMultiplyAdd(Vector512.Load(w4), xa, a4);
            a5 = Vector512.FusedMultiplyAdd(Vector512.Load(w4 + ChainFloats), xa, a5);
            a6 = Vector512.FusedMultiplyAdd(Vector512.Load(w4 + (2 * ChainFloats)), xa, a6);
            a7 = Vector512.FusedMultiplyAdd(Vector512.Load(w4 + (3 * ChainFloats)), xa, a7);
        }

        Add4(totals, a0, a1, a2, a3);
        Add4(totals + 64, a4, a5, a6, a7);
    }

    [MethodImpl(Inline)]
    private static void Tile2(V w, V xa, V xb, ref V a, ref V b)
    {
        a = Vector512.FusedMultiplyAdd(w, xa, a);
        b = Vector512.FusedMultiplyAdd(w, xb, b);
    }

    [MethodImpl(Inline)]
    private static void Tile3(V w, V xa, V xb, V xc, ref V a, ref V b, ref V c)
    {
        a = Vector512.FusedMultiplyAdd(w, xa, a);
        b = Vector512.FusedMultiplyAdd(w, xb, b);
        c = Vector512.FusedMultiplyAdd(w, xc, c);
    }

    [MethodImpl(Inline)]
    private static void Add4(float* to, V a, V b, V c, V d)
    {
        (Vector512.Load(to) + a).Store(to);
        (Vector512.Load(to + 16) + b).Store(to + 16);
        (Vector512.Load(to + 32) + c).Store(to + 32);
        (Vector512.Load(to + 48) + d).Store(to + 48);
    }

    [MethodImpl(Hot)]
    private static void StoreTotals(float* totals, int rows, int tokens, float* y, long ldy)
    {
        for (var t = 0; t < tokens; t++, totals += TileRows * 16)
        {
            var low = SumLanes(Vector512.Load(totals), Vector512.Load(totals + 16), Vector512.Load(totals + 32), Vector512.Load(totals + 48));
            var high = SumLanes(Vector512.Load(totals + 64), Vector512.Load(totals + 80), Vector512.Load(totals + 96), Vector512.Load(totals + 112));
            var to = y + (t * ldy);
            if (rows == TileRows)
            {
                low.Store(to);
                high.Store(to + 4);
                continue;
            }

            for (var r = 0; r < rows; r++)
            {
                to[r] = r < 4 ? low[r] : high[r - 4];
            }
        }
    }
}
