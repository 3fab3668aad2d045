using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using I = System.Runtime.Intrinsics.Vector512<int>;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace RyzenLlm.Kernels;

// Q8_0 and Q4_0 with 16-bit activations: vpmaddwd of weights as words. |S_b| <= 32 * 128 * 32639 = 1.34e8, so 32-bit sums are exact.
// One token of Q8_0: 16 blocks of a row at a time, their sums transposed into one vector. Many tokens: 32 rows in lanes, activations broadcast.
internal sealed unsafe partial class Avx512Kernels
{
    private const int FixedRows = 32;
    private const int FixedTokens = 8;
    private const int FixedLanes = 16;

    // From here on the transposition of weights is cheaper than doing tokens one by one.
    private const int FixedTileFrom = 6;

    // A band of rows stays in the second-level cache for the second and later of so few tokens.
    private const int FixedBand = 64;

    // Tokens for which a panel is used before the next rows: their activations stay in the second-level cache.
    private const int FixedBlockTokens = 128;

    public override bool HasFixedPoint => true;

    [MethodImpl(Hot)]
    internal override void QuantizeFixed(float* x, int k, int steps, short* q, float* units)
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
            var unit = max / steps;
            units[b] = unit;
            var inverse = Vector512.Create(unit == 0 ? 0 : steps / max);
            Avx512F.ConvertToVector256Int16WithSaturation(Avx512F.ConvertToVector512Int32(low * inverse)).Store(q);
            Avx512F.ConvertToVector256Int16WithSaturation(Avx512F.ConvertToVector512Int32(high * inverse)).Store(q + 16);
        }
    }

    internal override void MatMulFixed(WeightMatrix w, int begin, int end, short* q, float* units, int steps, int n, float* y, long ldy)
    {
        var blocks = w.Columns / FixedBlock;
        var nibbles = w.Format.Type == QuantType.Q4_0;
        if (n >= FixedTileFrom)
        {
            if (nibbles)
            {
                MultiplyFixedTiles<Nibbles>(w, begin, end, blocks, q, units, n, y, ldy);
            }
            else
            {
                MultiplyFixedTiles<Bytes>(w, begin, end, blocks, q, units, n, y, ldy);
            }
        }
        else if (nibbles && steps == CoarseSteps)
        {
            MultiplyNibbles<CoarseActivations>(w, begin, end, blocks, q, units, n, y, ldy);
        }
        else if (nibbles)
        {
            MultiplyNibbles<FineActivations>(w, begin, end, blocks, q, units, n, y, ldy);
        }
        else
        {
            for (var first = begin; first < end; first += FixedBand)
            {
                for (var t = 0; t < n; t++)
                {
                    var rows = Math.Min(FixedBand, end - first);
                    FixedRow(w.Data + (first * w.RowBytes), rows, blocks, q + ((long)t * w.Columns), units + ((long)t * blocks), y + (t * ldy) + first);
                }
            }
        }

        GC.KeepAlive(w);
    }

    private interface IFixedStart
    {
        /// <summary>Whether the first block of a lane adds to zero instead of to what the lane holds.</summary>
        static abstract bool OnZeros { get; }
    }

    private readonly struct FirstBlocks : IFixedStart
    {
        public static bool OnZeros => true;
    }

    private readonly struct LaterBlocks : IFixedStart
    {
        public static bool OnZeros => false;
    }

    private static void MultiplyFixedTiles<TBlock>(WeightMatrix w, int begin, int end, int blocks, short* q, float* units, int n, float* y, long ldy)
        where TBlock : struct, IFixedBlock
    {
        // Weights and scales of 32 rows, sums of a tile, and the last tokens if they do not fill a tile.
        var columns = w.Columns;
        var weights = (long)blocks * FixedRows * FixedBlock * sizeof(short);
        var lanes = FixedTokens * FixedLanes * FixedRows * sizeof(float);
        var tail = n % FixedTokens == 0 ? 0 : FixedTokens * (((long)columns * sizeof(short)) + ((long)blocks * sizeof(float)));
        var panel = (short*)Scratch.Take(weights + ((long)blocks * FixedRows * sizeof(float)) + lanes + tail);
        var scales = (float*)((byte*)panel + weights);
        var sums = scales + ((long)blocks * FixedRows);
        var tailUnits = sums + (lanes / sizeof(float));
        var tailValues = (short*)(tailUnits + ((long)FixedTokens * blocks));
        new Span<float>(sums, lanes / sizeof(float)).Clear(); // lanes without a block stay zero
        for (var t = n & -FixedTokens; tail != 0 && t < (n & -FixedTokens) + FixedTokens; t++)
        {
            // Missing tokens repeat the last one; their sums are not stored.
            var from = Math.Min(t, n - 1);
            new Span<short>(q + ((long)from * columns), columns).CopyTo(new(tailValues + ((long)(t % FixedTokens) * columns), columns));
            new Span<float>(units + ((long)from * blocks), blocks).CopyTo(new(tailUnits + ((long)(t % FixedTokens) * blocks), blocks));
        }

        for (var block = 0; block < n;)
        {
            // Equal blocks: the last one would not repay its panels if it were short.
            var parts = (n - block + FixedBlockTokens - 1) / FixedBlockTokens;
            var stop = Math.Min(n, block + ((((n - block + parts - 1) / parts) + FixedTokens - 1) & -FixedTokens));
            var fetch = FetchStep(FixedRows * w.RowBytes, (stop - block + FixedTokens - 1) / FixedTokens);
            for (var first = begin; first < end; first += FixedRows)
            {
                var ahead = w.Data + ((first + FixedRows) * w.RowBytes);
                var rows = Math.Min(FixedRows, end - first);
                PackFixedPanel<TBlock>(w.Data + (first * w.RowBytes), w.RowBytes, rows, blocks, panel, scales);
                for (var t = block; t < stop; t += FixedTokens)
                {
                    var whole = t + FixedTokens <= n;
                    var x = whole ? q + ((long)t * columns) : tailValues;
                    var u = whole ? units + ((long)t * blocks) : tailUnits;
                    Fetch(ref ahead, fetch);
                    FixedTile<FirstBlocks>(panel, scales, Math.Min(FixedLanes, blocks), x, columns, u, blocks, sums);
                    for (var b = FixedLanes; b < blocks; b += FixedLanes)
                    {
                        FixedTile<LaterBlocks>(
                            panel + ((long)b * FixedRows * FixedBlock), scales + ((long)b * FixedRows), Math.Min(FixedLanes, blocks - b),
                            x + ((long)b * FixedBlock), columns, u + b, blocks, sums);
                    }

                    StoreFixed(sums, rows, Math.Min(FixedTokens, n - t), y + (t * ldy) + first, ldy);
                }
            }

            block = stop;
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
        Avx512BW.MultiplyAddAdjacent(Bytes.Words(block), Vector512.Load(x));

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
        return Widen(Vector256.Create(low, high));
    }

    /// <summary>Sixteen halves as floats.</summary>
    [MethodImpl(Inline)]
    private static V Widen(Vector256<long> halves) =>
        ((Avx512F.ConvertToVector512Int32(halves.AsInt16()) << 13) & Vector512.Create(unchecked((int)0x8FFFE000))).AsSingle() * Vector512.Create(HalfScale);

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
    /// 32 rows as [block][16 pairs of columns][32 rows][2] words and their scales as [block][32 rows]: two 16 x 16 transpositions of dwords per
    /// block. Rows behind the last repeat it.
    /// </summary>
    [MethodImpl(Hot)]
    private static void PackFixedPanel<TBlock>(byte* w, long rowBytes, int rows, int blocks, short* panel, float* scales)
        where TBlock : struct, IFixedBlock
    {
        var offsets = stackalloc long[FixedRows];
        for (var r = 0; r < FixedRows; r++)
        {
            offsets[r] = Math.Min(r, rows - 1) * rowBytes;
        }

        for (var b = 0; b < blocks; b++, w += TBlock.Bytes, scales += FixedRows)
        {
            for (var r = 0; r < FixedRows; r++)
            {
                ((int*)scales)[r] = *(short*)(w + offsets[r]);
            }

            for (var half = 0; half < 2; half++, panel += FixedRows)
            {
                // Four rows at a time: pairs j, 4 + j, 8 + j and 12 + j of the rows, one in each quarter.
                var from = offsets + (16 * half);
                Transpose4(Words(w + from[0]), Words(w + from[1]), Words(w + from[2]), Words(w + from[3]), out var a0, out var a1, out var a2, out var a3);
                Transpose4(Words(w + from[4]), Words(w + from[5]), Words(w + from[6]), Words(w + from[7]), out var b0, out var b1, out var b2, out var b3);
                Transpose4(Words(w + from[8]), Words(w + from[9]), Words(w + from[10]), Words(w + from[11]), out var c0, out var c1, out var c2, out var c3);
                Transpose4(Words(w + from[12]), Words(w + from[13]), Words(w + from[14]), Words(w + from[15]), out var d0, out var d1, out var d2, out var d3);
                StoreQuarters(a0, b0, c0, d0, panel);
                StoreQuarters(a1, b1, c1, d1, panel + (2 * FixedRows));
                StoreQuarters(a2, b2, c2, d2, panel + (4 * FixedRows));
                StoreQuarters(a3, b3, c3, d3, panel + (6 * FixedRows));
            }

            panel += (FixedBlock - 2) * FixedRows;
        }

        // Halves to floats, all at once.
        scales -= (long)blocks * FixedRows;
        for (var i = 0L; i < (long)blocks * FixedRows; i += 16)
        {
            var halves = Vector512.Load((int*)(scales + i));
            (((halves << 13) & Vector512.Create(unchecked((int)0x8FFFE000))).AsSingle() * Vector512.Create(HalfScale)).Store(scales + i);
        }

        [MethodImpl(Inline)]
        static I Words(byte* block) => TBlock.Words(block).AsInt32();
    }

    /// <summary>Quarter k of the four operands, as one vector, to the place of pair 4 k.</summary>
    [MethodImpl(Inline)]
    private static void StoreQuarters(I a, I b, I c, I d, short* to)
    {
        var ab = Avx512F.Shuffle4x128(a, b, 0x44);
        var cd = Avx512F.Shuffle4x128(c, d, 0x44);
        Avx512F.Shuffle4x128(ab, cd, 0x88).Store((int*)to);
        Avx512F.Shuffle4x128(ab, cd, 0xDD).Store((int*)(to + (8 * FixedRows)));
        ab = Avx512F.Shuffle4x128(a, b, 0xEE);
        cd = Avx512F.Shuffle4x128(c, d, 0xEE);
        Avx512F.Shuffle4x128(ab, cd, 0x88).Store((int*)(to + (16 * FixedRows)));
        Avx512F.Shuffle4x128(ab, cd, 0xDD).Store((int*)(to + (24 * FixedRows)));
    }

    /// <summary>32 rows x 8 tokens over up to 16 blocks: sums[token][block][row] take one FMA per block, on zeros where that is said.</summary>
    [MethodImpl(Hot)]
    private static void FixedTile<TStart>(short* panel, float* scales, int blocks, short* x, long ldx, float* units, long ldu, float* sums)
        where TStart : struct, IFixedStart
    {
        var ldu3 = 3 * ldu;
        for (var b = 0; b < blocks; b++, scales += FixedRows, units++, sums += FixedRows)
        {
            I a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
            I b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default, b6 = default, b7 = default;
            var x4 = x + (4 * ldx);
            for (var end = x + FixedBlock; x < end; x += 2, x4 += 2, panel += 2 * FixedRows)
            {
                var w0 = Vector512.Load(panel);
                var w1 = Vector512.Load(panel + FixedRows);
                MultiplyQuad<Eight>(0, ref a0, ref b0, ref a1, ref b1, ref a2, ref b2, ref a3, ref b3, w0, w1, x, ldx);
                MultiplyQuad<Eight>(4, ref a4, ref b4, ref a5, ref b5, ref a6, ref b6, ref a7, ref b7, w0, w1, x4, ldx);
            }

            var d0 = Vector512.Load(scales);
            var d1 = Vector512.Load(scales + 16);
            var u4 = units + (4 * ldu);
            AddBlock<TStart>(a0, b0, d0, d1, units, sums);
            AddBlock<TStart>(a1, b1, d0, d1, units + ldu, sums + (FixedLanes * FixedRows));
            AddBlock<TStart>(a2, b2, d0, d1, units + (2 * ldu), sums + (2 * FixedLanes * FixedRows));
            AddBlock<TStart>(a3, b3, d0, d1, units + ldu3, sums + (3 * FixedLanes * FixedRows));
            AddBlock<TStart>(a4, b4, d0, d1, u4, sums + (4 * FixedLanes * FixedRows));
            AddBlock<TStart>(a5, b5, d0, d1, u4 + ldu, sums + (5 * FixedLanes * FixedRows));
            AddBlock<TStart>(a6, b6, d0, d1, u4 + (2 * ldu), sums + (6 * FixedLanes * FixedRows));
            AddBlock<TStart>(a7, b7, d0, d1, u4 + ldu3, sums + (7 * FixedLanes * FixedRows));
        }
    }

    [MethodImpl(Inline)]
    private static void AddBlock<TStart>(I a, I b, V d0, V d1, float* unit, float* to)
        where TStart : struct, IFixedStart
    {
        var u = Vector512.Create(*unit);
        var old0 = TStart.OnZeros ? V.Zero : Vector512.Load(to);
        var old1 = TStart.OnZeros ? V.Zero : Vector512.Load(to + 16);
        Avx512F.FusedMultiplyAdd(Avx512F.ConvertToVector512Single(a), d0 * u, old0).Store(to);
        Avx512F.FusedMultiplyAdd(Avx512F.ConvertToVector512Single(b), d1 * u, old1).Store(to + 16);
    }

    /// <summary>Adds the sixteen lanes of every row and token in the order of SumLanes.</summary>
    [MethodImpl(Hot)]
    private static void StoreFixed(float* sums, int rows, int tokens, float* y, long ldy)
    {
        var spare = stackalloc float[FixedRows];
        for (var t = 0; t < tokens; t++, sums += FixedLanes * FixedRows)
        {
            var low = Total(sums);
            var high = Total(sums + 16);
            if (rows == FixedRows)
            {
                low.Store(y + (t * ldy));
                high.Store(y + (t * ldy) + 16);
                continue;
            }

            low.Store(spare);
            high.Store(spare + 16);
            for (var r = 0; r < rows; r++)
            {
                y[(t * ldy) + r] = spare[r];
            }
        }

        [MethodImpl(Inline)]
        static V Total(float* p) => Quarter(p) + Quarter(p + (8 * FixedRows)) + (Quarter(p + (4 * FixedRows)) + Quarter(p + (12 * FixedRows)));

        [MethodImpl(Inline)]
        static V Quarter(float* p) =>
            Vector512.Load(p) + Vector512.Load(p + (2 * FixedRows)) + (Vector512.Load(p + FixedRows) + Vector512.Load(p + (3 * FixedRows)));
    }
}
