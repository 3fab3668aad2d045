using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Memory;
using V = System.Runtime.Intrinsics.Vector256<float>;

namespace RyzenLlm.Kernels;

// Products with many tokens: up to 48 tokens at a time, 4 rows are decoded once per chunk of 1024 columns and multiplied in tiles of 4 rows x 3 tokens.
// Both operands are laid out by chain, [chunk][row or token][chain][step][8 lanes], so that a tile walks one chain in a straight line.
internal unsafe partial class Avx2Kernels
{
    // Tile of the many-token kernel: 12 accumulators of the 16 registers.
    private const int TileRows = 4;
    private const int TileTokens = 3;
    private const int BlockTokens = 48;
    private const int ChainFloats = ChunkGroups * 8;
    private const int ChunkFloats = Chains * ChainFloats;

    private static void MultiplyTiles<TDecoder>(in Product product)
        where TDecoder : struct, IDecoder
    {
        var groups = (product.Columns + GroupColumns - 1) / GroupColumns;
        var chunks = (groups + ChunkGroups - 1) / ChunkGroups;
        var xFloats = (long)chunks * BlockTokens * ChunkFloats;
        const long TotalFloats = BlockTokens * TileRows * 8;
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
                new Span<float>(totals, (int)TotalFloats).Clear();
                for (var chunk = 0; chunk < chunks; chunk++)
                {
                    var steps = Math.Min(ChunkGroups, groups - (chunk * ChunkGroups));
                    DecodePanel<TDecoder>(product, rest, m, rows, chunk, steps, panel);
                    for (var t = 0; t < count; t += TileTokens)
                    {
                        var tokens = packed + ((((long)chunk * BlockTokens) + t) * ChunkFloats);
                        for (var chain = 0; chain < Chains; chain++)
                        {
                            AddTile(panel + (chain * ChainFloats), tokens + (chain * ChainFloats), steps, totals + (t * TileRows * 8));
                        }
                    }
                }

                StoreTotals(totals, rows, count, y + m, product.LdY);
            }
        }
    }

    /// <summary>Activations by chain; columns and tokens behind the last are zero.</summary>
    private static void PackTokens(float* x, long ldx, int count, int columns, int groups, float* packed)
    {
        for (var t = 0; t < (count + TileTokens - 1) / TileTokens * TileTokens; t++)
        {
            for (var group = 0; group < groups; group++)
            {
                var to = packed + (((((long)(group / ChunkGroups)) * BlockTokens) + t) * ChunkFloats) + (group % ChunkGroups * 8);
                for (var chain = 0; chain < Chains; chain++, to += ChainFloats)
                {
                    var column = (group * GroupColumns) + (chain * 8);
                    if (t < count && column + 8 <= columns)
                    {
                        Vector256.Load(x + (t * ldx) + column).Store(to);
                        continue;
                    }

                    V.Zero.Store(to);
                    for (var i = 0; t < count && column + i < columns; i++)
                    {
                        to[i] = x[(t * ldx) + column + i];
                    }
                }
            }
        }
    }

    /// <summary>Decodes one chunk of up to four rows by chain.</summary>
    [MethodImpl(Hot)]
    private static void DecodePanel<TDecoder>(in Product product, in TailColumns tail, int first, int rows, int chunk, int steps, float* panel)
        where TDecoder : struct, IDecoder
    {
        var scales = stackalloc float[BlockScales];
        var groups = product.Columns / GroupColumns;
        for (var r = 0; r < rows; r++)
        {
            var to = panel + (r * ChunkFloats);
            var p = product.W + ((first + r) * product.RowBytes);
            for (var step = 0; step < steps; step++, to += 8)
            {
                var group = (chunk * ChunkGroups) + step;
                var block = p + (group / TDecoder.GroupsPerBlock * (long)TDecoder.Bytes);
                V w0, w1, w2, w3;
                if (group < groups)
                {
                    var part = group & (TDecoder.GroupsPerBlock - 1);
                    if (part == 0)
                    {
                        TDecoder.Prepare(block, scales);
                    }

                    TDecoder.Decode(block, scales, part, out w0, out w1, out w2, out w3);
                }
                else
                {
                    DecodeTail<TDecoder>(tail, block, product.End, out w0, out w1, out w2, out w3);
                }

                w0.Store(to);
                w1.Store(to + ChainFloats);
                w2.Store(to + (2 * ChainFloats));
                w3.Store(to + (3 * ChainFloats));
            }
        }
    }

    /// <summary>One chain of 4 rows x 3 tokens, added to totals [token][row][8 lanes].</summary>
    [MethodImpl(Hot)]
    private static void AddTile(float* w, float* x, int steps, float* totals)
    {
        V a0 = default, a1 = default, a2 = default, a3 = default;
        V b0 = default, b1 = default, b2 = default, b3 = default;
        V c0 = default, c1 = default, c2 = default, c3 = default;
        for (var step = 0; step < steps; step++, w += 8, x += 8)
        {
            var xa = Vector256.Load(x);
            var xb = Vector256.Load(x + ChunkFloats);
            var xc = Vector256.Load(x + (2 * ChunkFloats));
            Tile3(Vector256.Load(w), xa, xb, xc, ref a0, ref b0, ref c0);
            Tile3(Vector256.Load(w + ChunkFloats), xa, xb, xc, ref a1, ref b1, ref c1);
            Tile3(Vector256.Load(w + (2 * ChunkFloats)), xa, xb, xc, ref a2, ref b2, ref c2);
            Tile3(Vector256.Load(w + (3 * ChunkFloats)), xa, xb, xc, ref a3, ref b3, ref c3);
        }

        Add4(totals, a0, a1, a2, a3);
        Add4(totals + 32, b0, b1, b2, b3);
        Add4(totals + 64, c0, c1, c2, c3);
    }

    [MethodImpl(Inline)]
    private static void Tile3(V w, V xa, V xb, V xc, ref V a, ref V b, ref V c)
    {
        a = Fma.MultiplyAdd(w, xa, a);
        b = Fma.MultiplyAdd(w, xb, b);
        c = Fma.MultiplyAdd(w, xc, c);
    }

    [MethodImpl(Inline)]
    private static void Add4(float* to, V a, V b, V c, V d)
    {
        (Vector256.Load(to) + a).Store(to);
        (Vector256.Load(to + 8) + b).Store(to + 8);
        (Vector256.Load(to + 16) + c).Store(to + 16);
        (Vector256.Load(to + 24) + d).Store(to + 24);
    }

    [MethodImpl(Hot)]
    private static void StoreTotals(float* totals, int rows, int tokens, float* y, long ldy)
    {
        for (var t = 0; t < tokens; t++, totals += TileRows * 8)
        {
            var sums = SumLanes(Vector256.Load(totals), Vector256.Load(totals + 8), Vector256.Load(totals + 16), Vector256.Load(totals + 24));
            var to = y + (t * ldy);
            if (rows == TileRows)
            {
                sums.Store(to);
                continue;
            }

            for (var r = 0; r < rows; r++)
            {
                to[r] = sums[r];
            }
        }
    }
}
