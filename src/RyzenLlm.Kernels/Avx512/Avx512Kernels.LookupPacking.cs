using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels;

// Words of lookup from I2_S and TQ2_0. PackPanel transposes 32 rows x 256 columns to steps [row][4 columns], a byte per digit: 16 rows of a step are one vector.
// Nine steps are a quad: three of them make a number below 27 in each byte (byte b: columns b, b + 4, b + 8), three numbers a word.
internal sealed unsafe partial class Avx512Kernels
{
    private const int StepBytes = PanelRows * 4;

    internal override void PackLookup(WeightMatrix w, int first, ushort* words)
    {
        var isI2_S = w.Format.Type == QuantType.I2_S;
        if (!isI2_S && w.Format.Type != QuantType.TQ2_0)
        {
            throw new ArgumentException($"{w.Name}: {w.Format} is not packed directly; unpack it to I2_S first.", nameof(w));
        }

        var runs = (w.Columns + 255) / 256;
        var quads = LookupWords(w.Columns) / WordsPerQuad;
        var digits = Scratch.TakeOuter(((long)quads * 9 * StepBytes) + (PanelRows * 64));
        var lastRun = digits + ((long)quads * 9 * StepBytes);
        var rows = stackalloc byte*[PanelRows];
        for (var half = 0; half < LookupRows; half += PanelRows)
        {
            // Rows behind the last repeat it; nobody reads their sums.
            for (var r = 0; r < PanelRows; r++)
            {
                rows[r] = w.Data + (Math.Min(first + half + r, w.Rows - 1) * w.RowBytes);
            }

            var whole = w.Columns / 256;
            for (var run = 0; run < whole; run++)
            {
                if (isI2_S)
                {
                    PackPanel<I2_SLayout>(rows, run * 64L, digits + ((long)run * PanelBytes));
                }
                else
                {
                    PackPanel<TQ2_0Layout>(rows, run * 66L, digits + ((long)run * PanelBytes));
                }
            }

            if (whole < runs)
            {
                // Half a run of I2_S: the second half of each field has digits 1.
                for (var r = 0; r < PanelRows; r++)
                {
                    var to = lastRun + (r * 64);
                    Vector256.Load(rows[r] + (whole * 64L)).Store(to);
                    Vector256.Create((byte)0x55).Store(to + 32);
                    rows[r] = to;
                }

                PackPanel<I2_SLayout>(rows, 0, digits + ((long)whole * PanelBytes));
            }

            new Span<byte>(digits + ((long)runs * PanelBytes), (int)(((long)quads * 9 * StepBytes) - ((long)runs * PanelBytes))).Fill(1);
            PackWords(digits, quads, (short*)words + half);
        }

        GC.KeepAlive(w);
    }

    [MethodImpl(Hot)]
    private static void PackWords(byte* digits, int quads, short* words)
    {
        var evens = Vector512<short>.Indices * Vector512.Create((short)2);
        var odds = evens + Vector512<short>.One;
        for (var quad = 0; quad < quads; quad++, digits += 9 * StepBytes, words += WordsPerQuad * LookupRows)
        {
            Numbers(digits, out var low0, out var high0);
            Numbers(digits + 64, out var low1, out var high1);
            Avx512BW.PermuteVar32x16x2(low0, evens, low1).Store(words);
            Avx512BW.PermuteVar32x16x2(high0, evens, high1).Store(words + LookupRows);
            Avx512BW.PermuteVar32x16x2(low0, odds, low1).Store(words + (2 * LookupRows));
            Avx512BW.PermuteVar32x16x2(high0, odds, high1).Store(words + (3 * LookupRows));
        }
    }

    /// <summary>Of 16 rows the words 0 and 2 side by side, and 1 and 3.</summary>
    [MethodImpl(Inline)]
    private static void Numbers(byte* digits, out Vector512<short> even, out Vector512<short> odd)
    {
        var mask = Vector512.Create((short)0xFF);
        var n0 = Number(digits);
        var n1 = Number(digits + (3 * StepBytes));
        var n2 = Number(digits + (6 * StepBytes));
        even = (n0 & mask) | ((n1 & mask) << 5) | ((n2 & mask) << 10);
        odd = (n0 >>> 8) | ((n1 >>> 8) << 5) | ((n2 >>> 8) << 10);
    }

    /// <summary>d_0 + 3 d_1 + 9 d_2 in every byte.</summary>
    [MethodImpl(Inline)]
    private static Vector512<short> Number(byte* digits)
    {
        var d2 = Vector512.Load(digits + (2 * StepBytes));
        var d1 = Vector512.Load(digits + StepBytes) + d2 + d2 + d2;
        return (Vector512.Load(digits) + d1 + d1 + d1).AsInt16();
    }
}
