using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using I = System.Runtime.Intrinsics.Vector512<int>;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace RyzenLlm.Kernels;

// Q8_0 with 16-bit activations: vpmaddwd of sign-extended weights. |S_b| <= 32 * 128 * 32767 = 1.35e8, so 32-bit sums are exact.
// One token: 16 blocks of a row at a time, their sums transposed into one vector. Many tokens: 16 rows in lanes, activations broadcast.
internal sealed unsafe partial class Avx512Kernels
{
    private const int FixedRows = 16;
    private const int FixedTokens = 8;

    // From here on the transposition of weights is cheaper than doing tokens one by one.
    private const int FixedTileFrom = 6;

    // Tokens for which a panel is used before the next rows: their activations stay in the second-level cache.
    private const int FixedBlockTokens = 96;

    public override bool HasFixedPoint => true;

    [MethodImpl(Hot)]
    internal override void QuantizeFixed(float* x, int k, short* q, float* units)
    {
        for (var b = 0; b < k / FixedBlock; b++, x += FixedBlock, q += FixedBlock)
        {
            var low = Vector512.Load(x);
            var high = Vector512.Load(x + 16);
            var m = Vector512.Max(Vector512.Abs(low), Vector512.Abs(high));
            var half = Vector256.Max(m.GetLower(), m.GetUpper());
            var quarter = Vector128.Max(half.GetLower(), half.GetUpper());
            quarter = Vector128.Max(quarter, Vector128.Shuffle(quarter, Vector128.Create(2, 3, 0, 1)));
            quarter = Vector128.Max(quarter, Vector128.Shuffle(quarter, Vector128.Create(1, 0, 3, 2)));
            var max = quarter.ToScalar();
            var unit = max / 32767;
            units[b] = unit;
            var inverse = Vector512.Create(unit == 0 ? 0 : 32767 / max);
            Avx512F.ConvertToVector256Int16WithSaturation(Avx512F.ConvertToVector512Int32(low * inverse)).Store(q);
            Avx512F.ConvertToVector256Int16WithSaturation(Avx512F.ConvertToVector512Int32(high * inverse)).Store(q + 16);
        }
    }

    internal override void MatMulFixed(WeightMatrix w, int begin, int end, short* q, float* units, int n, float* y, long ldy)
    {
        var blocks = w.Columns / FixedBlock;
        if (n < FixedTileFrom)
        {
            // A band of rows stays in the second-level cache for the second and later tokens.
            const int Band = 64;
            for (var first = begin; first < end; first += Band)
            {
                for (var t = 0; t < n; t++)
                {
                    var rows = Math.Min(Band, end - first);
                    FixedRow(w.Data + (first * w.RowBytes), rows, blocks, q + ((long)t * w.Columns), units + ((long)t * blocks), y + (t * ldy) + first);
                }
            }
        }
        else
        {
            MultiplyFixedTiles(w, begin, end, blocks, q, units, n, y, ldy);
        }

        GC.KeepAlive(w);
    }

    private static void MultiplyFixedTiles(WeightMatrix w, int begin, int end, int blocks, short* q, float* units, int n, float* y, long ldy)
    {
        var panel = (short*)Scratch.Take(((long)blocks * FixedRows * ((FixedBlock * sizeof(short)) + sizeof(float))) + (FixedTokens * 16L * FixedRows * sizeof(float)));
        var scales = (float*)(panel + ((long)blocks * FixedRows * FixedBlock));
        var sums = scales + ((long)blocks * FixedRows);
        for (var block = 0; block < n; block += FixedBlockTokens)
        {
            var stop = Math.Min(n, block + FixedBlockTokens);
            for (var first = begin; first < end; first += FixedRows)
            {
                var rows = Math.Min(FixedRows, end - first);
                PackFixedPanel(w.Data + (first * w.RowBytes), w.RowBytes, rows, blocks, panel, scales);
                for (var t = block; t < stop; t += FixedTokens)
                {
                    // Missing tokens of the last tile repeat the last one; their sums are not stored.
                    var tokens = Math.Min(FixedTokens, stop - t);
                    new Span<float>(sums, FixedTokens * 16 * FixedRows).Clear();
                    FixedTile(panel, scales, blocks, q + ((long)t * w.Columns), units + ((long)t * blocks), w.Columns, tokens - 1, sums);
                    StoreFixed(sums, rows, tokens, y + (t * ldy) + first, ldy);
                }
            }
        }
    }

    /// <summary>Rows of one token: y[r].</summary>
    [MethodImpl(Hot)]
    private static void FixedRow(byte* w, int rows, int blocks, short* q, float* units, float* y)
    {
        var factors = stackalloc float[16];
        var sums = stackalloc int[16];
        for (var r = 0; r < rows; r++)
        {
            var x = q;
            var lanes = V.Zero;
            var b = 0;
            for (; b <= blocks - 16; b += 16, w += 16 * 34, x += 16 * FixedBlock)
            {
                Prefetch16(w);
                var s = SumBlocks(w, x);
                lanes = Avx512F.FusedMultiplyAdd(Avx512F.ConvertToVector512Single(s), Scales16(w) * Vector512.Load(units + b), lanes);
            }

            if (b < blocks)
            {
                // Lanes without a block keep their value.
                for (var i = 0; i < 16; i++)
                {
                    sums[i] = 0;
                    factors[i] = 0;
                }

                for (var i = 0; b < blocks; i++, b++, w += 34, x += FixedBlock)
                {
                    var s = Sums(w, x);
                    sums[i] = SumLanes(s, s, s, s).ToScalar();
                    factors[i] = Half(w) * units[b];
                }

                lanes = Avx512F.FusedMultiplyAdd(Avx512F.ConvertToVector512Single(Vector512.Load(sums)), Vector512.Load(factors), lanes);
            }

            y[r] = SumLanes(lanes, lanes, lanes, lanes).ToScalar();
        }
    }

    /// <summary>Sixteen sums of pairs whose total is S of one block.</summary>
    [MethodImpl(Inline)]
    private static I Sums(byte* block, short* x) =>
        Avx512BW.MultiplyAddAdjacent(Avx512BW.ConvertToVector512Int16(Vector256.Load((sbyte*)block + 2)), Vector512.Load(x));

    /// <summary>S of sixteen blocks, in order.</summary>
    [MethodImpl(Inline)]
    private static I SumBlocks(byte* w, short* x)
    {
        var a = Sum4(w, x);
        var b = Sum4(w + (4 * 34), x + (4 * FixedBlock));
        var low = Avx512F.Shuffle4x128(a, b, 0x88) + Avx512F.Shuffle4x128(a, b, 0xDD);
        a = Sum4(w + (8 * 34), x + (8 * FixedBlock));
        b = Sum4(w + (12 * 34), x + (12 * FixedBlock));
        var high = Avx512F.Shuffle4x128(a, b, 0x88) + Avx512F.Shuffle4x128(a, b, 0xDD);
        return Avx512F.Shuffle4x128(low, high, 0x88) + Avx512F.Shuffle4x128(low, high, 0xDD);
    }

    /// <summary>Four blocks: each quarter holds a part of the four sums.</summary>
    [MethodImpl(Inline)]
    private static I Sum4(byte* w, short* x)
    {
        var a = Sums(w, x);
        var b = Sums(w + 34, x + FixedBlock);
        var ab = Avx512F.UnpackLow(a, b) + Avx512F.UnpackHigh(a, b);
        a = Sums(w + 68, x + (2 * FixedBlock));
        b = Sums(w + 102, x + (3 * FixedBlock));
        var cd = Avx512F.UnpackLow(a, b) + Avx512F.UnpackHigh(a, b);
        return Avx512F.UnpackLow(ab.AsInt64(), cd.AsInt64()).AsInt32() + Avx512F.UnpackHigh(ab.AsInt64(), cd.AsInt64()).AsInt32();
    }

    /// <summary>Scales of sixteen blocks as floats.</summary>
    [MethodImpl(Inline)]
    private static V Scales16(byte* w)
    {
        var low = Sse2.UnpackLow(Scales4(w), Scales4(w + (4 * 34)));
        var high = Sse2.UnpackLow(Scales4(w + (8 * 34)), Scales4(w + (12 * 34)));
        var halves = Vector256.Create(low, high).AsInt16();
        return ((Avx512F.ConvertToVector512Int32(halves) << 13) & Vector512.Create(unchecked((int)0x8FFFE000))).AsSingle() * Vector512.Create(HalfScale);
    }

    /// <summary>The halves at bytes 0, 34, 68 and 102, in the lower 64 bits.</summary>
    [MethodImpl(Inline)]
    private static Vector128<long> Scales4(byte* w)
    {
        var words = Avx512BW.PermuteVar32x16x2(Vector512.Load((short*)w), Vector512.Create(0x0033_0022_0011_0000L).AsInt16(), Vector512.Load((short*)(w + 64)));
        return words.AsInt64().GetLower().GetLower();
    }

    /// <summary>All lines of sixteen blocks (544 bytes), 4096 bytes ahead.</summary>
    [MethodImpl(Inline)]
    private static void Prefetch16(byte* p)
    {
        Sse.PrefetchNonTemporal(p + 4096);
        Sse.PrefetchNonTemporal(p + 4096 + 64);
        Sse.PrefetchNonTemporal(p + 4096 + 128);
        Sse.PrefetchNonTemporal(p + 4096 + 192);
        Sse.PrefetchNonTemporal(p + 4096 + 256);
        Sse.PrefetchNonTemporal(p + 4096 + 320);
        Sse.PrefetchNonTemporal(p + 4096 + 384);
        Sse.PrefetchNonTemporal(p + 4096 + 448);
        Sse.PrefetchNonTemporal(p + 4096 + 512);
    }

    /// <summary>
    /// Sixteen rows as [block][16 pairs of columns][16 rows][2] words and their scales as [block][16 rows]: a 16 x 16 transposition of dwords per block.
    /// Rows behind the last repeat it.
    /// </summary>
    [MethodImpl(Hot)]
    private static void PackFixedPanel(byte* w, long rowBytes, int rows, int blocks, short* panel, float* scales)
    {
        var offsets = stackalloc long[FixedRows];
        for (var r = 0; r < FixedRows; r++)
        {
            offsets[r] = Math.Min(r, rows - 1) * rowBytes;
        }

        for (var b = 0; b < blocks; b++, w += 34, panel += FixedRows * FixedBlock, scales += FixedRows)
        {
            for (var r = 0; r < FixedRows; r++)
            {
                scales[r] = Half(w + offsets[r]);
            }

            // Four rows at a time: pairs j, 4 + j, 8 + j and 12 + j of the rows, one in each quarter.
            Transpose4(w, offsets, out var a0, out var a1, out var a2, out var a3);
            Transpose4(w, offsets + 4, out var b0, out var b1, out var b2, out var b3);
            Transpose4(w, offsets + 8, out var c0, out var c1, out var c2, out var c3);
            Transpose4(w, offsets + 12, out var d0, out var d1, out var d2, out var d3);
            StoreQuarters(a0, b0, c0, d0, panel);
            StoreQuarters(a1, b1, c1, d1, panel + 32);
            StoreQuarters(a2, b2, c2, d2, panel + 64);
            StoreQuarters(a3, b3, c3, d3, panel + 96);
        }
    }

    [MethodImpl(Inline)]
    private static void Transpose4(byte* w, long* offsets, out I pair0, out I pair1, out I pair2, out I pair3)
    {
        var r0 = Row(w + offsets[0]);
        var r1 = Row(w + offsets[1]);
        var r2 = Row(w + offsets[2]);
        var r3 = Row(w + offsets[3]);
        var low = Avx512F.UnpackLow(r0, r1).AsInt64();
        var high = Avx512F.UnpackHigh(r0, r1).AsInt64();
        var low2 = Avx512F.UnpackLow(r2, r3).AsInt64();
        var high2 = Avx512F.UnpackHigh(r2, r3).AsInt64();
        pair0 = Avx512F.UnpackLow(low, low2).AsInt32();
        pair1 = Avx512F.UnpackHigh(low, low2).AsInt32();
        pair2 = Avx512F.UnpackLow(high, high2).AsInt32();
        pair3 = Avx512F.UnpackHigh(high, high2).AsInt32();

        [MethodImpl(Inline)]
        static I Row(byte* p) => Avx512BW.ConvertToVector512Int16(Vector256.Load((sbyte*)p + 2)).AsInt32();
    }

    /// <summary>Quarter k of the four operands, as one vector, to the place of pair 4 k.</summary>
    [MethodImpl(Inline)]
    private static void StoreQuarters(I a, I b, I c, I d, short* to)
    {
        var ab = Avx512F.Shuffle4x128(a, b, 0x44);
        var cd = Avx512F.Shuffle4x128(c, d, 0x44);
        Avx512F.Shuffle4x128(ab, cd, 0x88).Store((int*)to);
        Avx512F.Shuffle4x128(ab, cd, 0xDD).Store((int*)(to + 128));
        ab = Avx512F.Shuffle4x128(a, b, 0xEE);
        cd = Avx512F.Shuffle4x128(c, d, 0xEE);
        Avx512F.Shuffle4x128(ab, cd, 0x88).Store((int*)(to + 256));
        Avx512F.Shuffle4x128(ab, cd, 0xDD).Store((int*)(to + 384));
    }

    /// <summary>16 rows x 8 tokens over all blocks; sums[token][block % 16][row] take one FMA per block.</summary>
    [MethodImpl(Hot)]
    private static void FixedTile(short* panel, float* scales, int blocks, short* x, float* units, long ldx, int last, float* sums)
    {
        var x1 = x + (Math.Min(1, last) * ldx);
        var x2 = x + (Math.Min(2, last) * ldx);
        var x3 = x + (Math.Min(3, last) * ldx);
        var x4 = x + (Math.Min(4, last) * ldx);
        var x5 = x + (Math.Min(5, last) * ldx);
        var x6 = x + (Math.Min(6, last) * ldx);
        var x7 = x + (Math.Min(7, last) * ldx);
        for (var b = 0; b < blocks; b++, scales += FixedRows)
        {
            I a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
            for (var pair = 0; pair < FixedBlock / 2; pair++, panel += 2 * FixedRows)
            {
                var w = Vector512.Load(panel);
                var k = (b * FixedBlock) + (2 * pair);
                a0 += MultiplyPair(w, x + k);
                a1 += MultiplyPair(w, x1 + k);
                a2 += MultiplyPair(w, x2 + k);
                a3 += MultiplyPair(w, x3 + k);
                a4 += MultiplyPair(w, x4 + k);
                a5 += MultiplyPair(w, x5 + k);
                a6 += MultiplyPair(w, x6 + k);
                a7 += MultiplyPair(w, x7 + k);
            }

            var d = Vector512.Load(scales);
            var to = sums + (b % 16 * FixedRows);
            var unit = units + b;
            AddBlock(a0, d, unit, to);
            AddBlock(a1, d, unit + (Math.Min(1, last) * (long)blocks), to + (16 * FixedRows));
            AddBlock(a2, d, unit + (Math.Min(2, last) * (long)blocks), to + (32 * FixedRows));
            AddBlock(a3, d, unit + (Math.Min(3, last) * (long)blocks), to + (48 * FixedRows));
            AddBlock(a4, d, unit + (Math.Min(4, last) * (long)blocks), to + (64 * FixedRows));
            AddBlock(a5, d, unit + (Math.Min(5, last) * (long)blocks), to + (80 * FixedRows));
            AddBlock(a6, d, unit + (Math.Min(6, last) * (long)blocks), to + (96 * FixedRows));
            AddBlock(a7, d, unit + (Math.Min(7, last) * (long)blocks), to + (112 * FixedRows));
        }
    }

    [MethodImpl(Inline)]
    private static I MultiplyPair(Vector512<short> w, short* x) => Avx512BW.MultiplyAddAdjacent(w, Vector512.Create(*(int*)x).AsInt16());

    [MethodImpl(Inline)]
    private static void AddBlock(I sum, V scale, float* unit, float* to) =>
        Avx512F.FusedMultiplyAdd(Avx512F.ConvertToVector512Single(sum), scale * Vector512.Create(*unit), Vector512.Load(to)).Store(to);

    /// <summary>Adds the sixteen lanes of every row and token in the order of SumLanes.</summary>
    [MethodImpl(Hot)]
    private static void StoreFixed(float* sums, int rows, int tokens, float* y, long ldy)
    {
        var spare = stackalloc float[FixedRows];
        for (var t = 0; t < tokens; t++, sums += 16 * FixedRows)
        {
            var total = Quarter(sums) + Quarter(sums + (8 * FixedRows)) + (Quarter(sums + (4 * FixedRows)) + Quarter(sums + (12 * FixedRows)));
            if (rows == FixedRows)
            {
                total.Store(y + (t * ldy));
                continue;
            }

            total.Store(spare);
            for (var r = 0; r < rows; r++)
            {
                y[(t * ldy) + r] = spare[r];
            }
        }

        [MethodImpl(Inline)]
        static V Quarter(float* p) =>
            Vector512.Load(p) + Vector512.Load(p + (2 * FixedRows)) + (Vector512.Load(p + FixedRows) + Vector512.Load(p + (3 * FixedRows)));
    }
}
