using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using I = System.Runtime.Intrinsics.Vector512<int>;

namespace RyzenLlm.Kernels;

// Ternary products of prompts. 32 rows at a time, and of these one run of 256 columns at a time, are transposed into a panel in the first-level
// cache in which lanes are rows: no sum runs across lanes, an activation is broadcast, and shift, mask and transposition are paid once for all
// tokens. A panel has 64 steps of 4 columns; step s meets bytes 4 s .. 4 s + 3 of the activations' own order.
//
// A step adds one pair (at most 2 * 2 * 127 = 508, at least 2 * 2 * -128 = -512) to each 16-bit lane, a panel 64 of them: at most
// 32512, at least -32768. Then vpmaddwd by ones widens, and 32-bit sums take all panels: 2 * 128 * columns, exact up to 8 million columns.
internal sealed unsafe partial class Avx512Kernels
{
    private const int PanelRows = 32;
    private const int PanelBytes = PanelRows * 256;
    private const int PanelTokens = 8;

    // From here on a transposition costs less than the sums across lanes that it saves.
    private const int PanelsFrom = 24;

    // Tokens for which a panel is used, all of a chunk where their activations (a megabyte at most) leave the second-level cache room for weights.
    private const int MostPanelTokens = 256;

    private static int PanelBlockTokens(int columns) => columns <= 4096 ? MostPanelTokens : MostPanelTokens / 2;

    private static void MultiplyPanels<TLayout>(WeightMatrix w, int begin, int end, sbyte* q, long ldq, float* a, int* sums, int n, float* y, long ldy)
        where TLayout : struct, ITernaryLayout
    {
        var runs = (w.Columns + 255) / 256;
        var panel = Scratch.Take(PanelBytes + (MostPanelTokens * PanelRows * sizeof(int)));
        var dots = (int*)(panel + PanelBytes);
        var rows = stackalloc byte*[PanelRows];
        var scales = stackalloc float[PanelRows];
        var most = PanelBlockTokens(w.Columns);
        for (var block = 0; block < n;)
        {
            // Equal blocks: the last one would not repay its panels if it were short.
            var blocks = (n - block + most - 1) / most;
            var tokens = Math.Min(n - block, (((n - block + blocks - 1) / blocks) + PanelTokens - 1) & -PanelTokens);
            var fetch = FetchStep(PanelRows * w.RowBytes, runs * ((tokens + PanelTokens - 1) / PanelTokens));
            for (var first = begin; first < end; first += PanelRows)
            {
                // Rows behind the last repeat it.
                var ahead = w.Data + ((first + PanelRows) * w.RowBytes);
                var count = Math.Min(PanelRows, end - first);
                for (var r = 0; r < PanelRows; r++)
                {
                    rows[r] = w.Data + ((first + Math.Min(r, count - 1)) * w.RowBytes);
                }

                new Span<int>(dots, tokens * PanelRows).Clear();
                for (var run = 0; run < runs; run++)
                {
                    PackPanel<TLayout>(rows, (long)run * TLayout.Stride, panel);
                    for (var t = 0; t < tokens; t += PanelTokens)
                    {
                        if (run == runs - 1)
                        {
                            FetchLines(y + ((block + t) * ldy) + first, ldy, Math.Min(PanelTokens, tokens - t));
                        }

                        Fetch(ref ahead, fetch);
                        MultiplyPanel(panel, q + ((block + t) * ldq) + (run * 256L), ldq, Math.Min(PanelTokens, tokens - t) - 1, dots + (t * PanelRows));
                    }
                }

                var uneven = ReadScales<TLayout>(w, rows, count, scales);
                ScalePanel(dots, count, scales, a + block, sums + block, tokens, y + (block * ldy) + first, ldy);
                for (var r = 0; uneven != 0 && r < count; r++)
                {
                    if ((uneven >> r & 1) != 0)
                    {
                        TernaryRows.MultiplyRuns<TernaryDots<I2_SLayout>>(w, first + r, q + (block * ldq), ldq, a + block, tokens, y + (block * ldy), ldy);
                    }
                }
            }

            block += tokens;
        }
    }

    /// <summary>Digits of 256 columns of 32 rows as [field][dword][32 rows][4 columns].</summary>
    [MethodImpl(Hot)]
    private static void PackPanel<TLayout>(byte** rows, long at, byte* panel)
        where TLayout : struct, ITernaryLayout
    {
        for (var half = 0; half < 2; half++, rows += 16, panel += 64)
        {
            // Each group of four rows: dword 4 k + j of these rows in quarter k of vector j.
            Transpose4<TLayout>(rows, at, out var a0, out var a1, out var a2, out var a3);
            Transpose4<TLayout>(rows + 4, at, out var b0, out var b1, out var b2, out var b3);
            Transpose4<TLayout>(rows + 8, at, out var c0, out var c1, out var c2, out var c3);
            Transpose4<TLayout>(rows + 12, at, out var d0, out var d1, out var d2, out var d3);
            StoreFields<TLayout>(a0, b0, c0, d0, panel);
            StoreFields<TLayout>(a1, b1, c1, d1, panel + 128);
            StoreFields<TLayout>(a2, b2, c2, d2, panel + 256);
            StoreFields<TLayout>(a3, b3, c3, d3, panel + 384);
        }
    }

    [MethodImpl(Inline)]
    private static void Transpose4<TLayout>(byte** rows, long at, out I v0, out I v1, out I v2, out I v3)
        where TLayout : struct, ITernaryLayout
    {
        var r0 = Vector512.Load((int*)(rows[0] + at));
        var r1 = Vector512.Load((int*)(rows[1] + at));
        var r2 = Vector512.Load((int*)(rows[2] + at));
        var r3 = Vector512.Load((int*)(rows[3] + at));
        Transpose4(r0, r1, r2, r3, out v0, out v1, out v2, out v3);
    }

    /// <summary>Dword 4 k + j of four vectors to quarter k of vector j.</summary>
    [MethodImpl(Inline)]
    private static void Transpose4(I r0, I r1, I r2, I r3, out I v0, out I v1, out I v2, out I v3)
    {
        var low = Avx512F.UnpackLow(r0, r1).AsInt64();
        var high = Avx512F.UnpackHigh(r0, r1).AsInt64();
        var low2 = Avx512F.UnpackLow(r2, r3).AsInt64();
        var high2 = Avx512F.UnpackHigh(r2, r3).AsInt64();
        v0 = Avx512F.UnpackLow(low, low2).AsInt32();
        v1 = Avx512F.UnpackHigh(low, low2).AsInt32();
        v2 = Avx512F.UnpackLow(high, high2).AsInt32();
        v3 = Avx512F.UnpackHigh(high, high2).AsInt32();
    }

    /// <summary>Dwords j, 4 + j, 8 + j and 12 + j of sixteen rows, all four fields of each.</summary>
    [MethodImpl(Inline)]
    private static void StoreFields<TLayout>(I a, I b, I c, I d, byte* to)
        where TLayout : struct, ITernaryLayout
    {
        var ab = Avx512F.Shuffle4x128(a, b, 0x44);
        var cd = Avx512F.Shuffle4x128(c, d, 0x44);
        StoreDword<TLayout>(Avx512F.Shuffle4x128(ab, cd, 0x88), to);
        StoreDword<TLayout>(Avx512F.Shuffle4x128(ab, cd, 0xDD), to + (4 * 128));
        ab = Avx512F.Shuffle4x128(a, b, 0xEE);
        cd = Avx512F.Shuffle4x128(c, d, 0xEE);
        StoreDword<TLayout>(Avx512F.Shuffle4x128(ab, cd, 0x88), to + (8 * 128));
        StoreDword<TLayout>(Avx512F.Shuffle4x128(ab, cd, 0xDD), to + (12 * 128));
    }

    [MethodImpl(Inline)]
    private static void StoreDword<TLayout>(I v, byte* to)
        where TLayout : struct, ITernaryLayout
    {
        TLayout.Field(v.AsByte(), 0).Store(to);
        TLayout.Field(v.AsByte(), 1).Store(to + (16 * 128));
        TLayout.Field(v.AsByte(), 2).Store(to + (32 * 128));
        TLayout.Field(v.AsByte(), 3).Store(to + (48 * 128));
    }

    /// <summary>
    /// 32 rows x 8 tokens x 256 columns, added to dots[token][row]: 16 products for 2 loads of digits and 8 broadcasts. Missing tokens repeat the last.
    /// </summary>
    [MethodImpl(Hot)]
    private static void MultiplyPanel(byte* panel, sbyte* x, long ldx, int last, int* dots)
    {
        Vector512<short> a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
        Vector512<short> b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default, b6 = default, b7 = default;
        var x1 = x + (Math.Min(1, last) * ldx);
        var x2 = x + (Math.Min(2, last) * ldx);
        var x3 = x + (Math.Min(3, last) * ldx);
        var x4 = x + (Math.Min(4, last) * ldx);
        var x5 = x + (Math.Min(5, last) * ldx);
        var x6 = x + (Math.Min(6, last) * ldx);
        var x7 = x + (Math.Min(7, last) * ldx);
        for (var k = 0L; k < 256; k += 4, panel += 128)
        {
            var w0 = Vector512.Load(panel);
            var w1 = Vector512.Load(panel + 64);
            BroadcastSteps(ref a0, ref b0, ref a1, ref b1, ref a2, ref b2, ref a3, ref b3, w0, w1, x + k, x1 + k, x2 + k, x3 + k);
            BroadcastSteps(ref a4, ref b4, ref a5, ref b5, ref a6, ref b6, ref a7, ref b7, w0, w1, x4 + k, x5 + k, x6 + k, x7 + k);
        }

        AddDots(a0, b0, dots);
        AddDots(a1, b1, dots + PanelRows);
        AddDots(a2, b2, dots + (2 * PanelRows));
        AddDots(a3, b3, dots + (3 * PanelRows));
        AddDots(a4, b4, dots + (4 * PanelRows));
        AddDots(a5, b5, dots + (5 * PanelRows));
        AddDots(a6, b6, dots + (6 * PanelRows));
        AddDots(a7, b7, dots + (7 * PanelRows));
    }

    /// <summary>Four tokens. Products first, then sums: in turn, sums would take the ports of the multipliers.</summary>
    [MethodImpl(Inline)]
    private static void BroadcastSteps(
        ref Vector512<short> a0, ref Vector512<short> b0, ref Vector512<short> a1, ref Vector512<short> b1, ref Vector512<short> a2, ref Vector512<short> b2, ref Vector512<short> a3, ref Vector512<short> b3,
        Vector512<byte> w0, Vector512<byte> w1, sbyte* x0, sbyte* x1, sbyte* x2, sbyte* x3)
    {
        var v0 = Vector512.Create(*(int*)x0).AsSByte();
        var v1 = Vector512.Create(*(int*)x1).AsSByte();
        var v2 = Vector512.Create(*(int*)x2).AsSByte();
        var v3 = Vector512.Create(*(int*)x3).AsSByte();
        var p0 = Avx512BW.MultiplyAddAdjacent(w0, v0);
        var q0 = Avx512BW.MultiplyAddAdjacent(w1, v0);
        var p1 = Avx512BW.MultiplyAddAdjacent(w0, v1);
        var q1 = Avx512BW.MultiplyAddAdjacent(w1, v1);
        var p2 = Avx512BW.MultiplyAddAdjacent(w0, v2);
        var q2 = Avx512BW.MultiplyAddAdjacent(w1, v2);
        var p3 = Avx512BW.MultiplyAddAdjacent(w0, v3);
        var q3 = Avx512BW.MultiplyAddAdjacent(w1, v3);
        a0 += p0;
        b0 += q0;
        a1 += p1;
        b1 += q1;
        a2 += p2;
        b2 += q2;
        a3 += p3;
        b3 += q3;
    }

    /// <summary>Bytes to fetch at each of <paramref name="times"/>, so that the next rows arrive while these are multiplied. Behind the matrix it does no harm.</summary>
    private static long FetchStep(long bytes, int times) => ((bytes / times) + 64) & -64L;

    [MethodImpl(Inline)]
    private static void Fetch(ref byte* p, long bytes)
    {
        for (var stop = p + bytes; p < stop; p += 64)
        {
            Sse.Prefetch1(p);
        }
    }

    /// <summary>Where the results will be stored: rows far apart, which a loop of stores would wait for one by one.</summary>
    [MethodImpl(Inline)]
    private static void FetchLines(float* y, long ldy, int tokens)
    {
        for (var t = 0; t < tokens; t++, y += ldy)
        {
            Sse.Prefetch1(y);
            Sse.Prefetch1(y + 16);
        }
    }

    [MethodImpl(Inline)]
    private static void AddDots(Vector512<short> a, Vector512<short> b, int* dots)
    {
        (Vector512.Load(dots) + Widen(a)).Store(dots);
        (Vector512.Load(dots + 16) + Widen(b)).Store(dots + 16);
    }

    /// <summary>The scale of every row; bit r of the result is set where the blocks of row r have several.</summary>
    [MethodImpl(Hot)]
    private static uint ReadScales<TLayout>(WeightMatrix w, byte** rows, int count, float* scales)
        where TLayout : struct, ITernaryLayout
    {
        var uneven = 0u;
        var rowBytes = w.RowBytes;
        for (var r = 0; r < PanelRows; r++)
        {
            if (TLayout.Stride == 64)
            {
                scales[r] = w.Scale;
                continue;
            }

            var bits = *(ushort*)(rows[r] + 64);
            scales[r] = (float)BitConverter.UInt16BitsToHalf(bits);
            var differences = 0;
            for (var at = 64L; r < count && at < rowBytes; at += TLayout.Stride)
            {
                differences |= *(ushort*)(rows[r] + at) ^ bits;
            }

            uneven |= differences != 0 ? 1u << r : 0;
        }

        return uneven;
    }

    /// <summary>y[t][r] = (dots - sum) / a scale, in the operations of the other kernels.</summary>
    [MethodImpl(Hot)]
    private static void ScalePanel(int* dots, int rows, float* scales, float* a, int* sums, int tokens, float* y, long ldy)
    {
        var low = Vector512.Load(scales);
        var high = Vector512.Load(scales + 16);
        var spare = stackalloc float[PanelRows];
        for (var t = 0; t < tokens; t++, dots += PanelRows)
        {
            var sum = Vector512.Create(sums[t]);
            var divisor = Vector512.Create(a[t]);
            var y0 = Avx512F.ConvertToVector512Single(Vector512.Load(dots) - sum) / divisor * low;
            var y1 = Avx512F.ConvertToVector512Single(Vector512.Load(dots + 16) - sum) / divisor * high;
            var to = y + (t * ldy);
            if (rows == PanelRows)
            {
                y0.Store(to);
                y1.Store(to + 16);
                continue;
            }

            y0.Store(spare);
            y1.Store(spare + 16);
            for (var r = 0; r < rows; r++)
            {
                to[r] = spare[r];
            }
        }
    }
}
