using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels;

/// <summary>Integer sums of some ternary rows with some tokens, by the instructions of one path.</summary>
internal unsafe interface ITernaryDots
{
    /// <summary>Bytes from one run of 256 weights to the next: 64 (I2_S) or 66 (TQ2_0).</summary>
    static abstract int Stride { get; }

    /// <summary>Most tokens of one call, <see cref="TernaryRows.Tokens"/> or fewer.</summary>
    static abstract int Tokens { get; }

    /// <summary>dots[Band t + r] = sum over k of digit(r, k) x[t, k], digits 0..2. Groups of four rows may be written whole.</summary>
    /// <param name="w">First row.</param>
    /// <param name="rowBytes">Bytes between rows.</param>
    /// <param name="rows">Rows, 1 to <see cref="TernaryRows.Band"/>.</param>
    /// <param name="runs">Runs of 256 columns; the last one may end 32 bytes behind the row, where x holds zeros.</param>
    /// <param name="x">Activations in the path's order.</param>
    /// <param name="ldx">Elements between tokens.</param>
    /// <param name="tokens">1 to <see cref="Tokens"/>.</param>
    /// <param name="dots">Receives the sums.</param>
    /// <returns>0 if in every row all block scales are equal: compared in passing, because few tokens run at the speed of memory.</returns>
    static abstract int Dot(byte* w, long rowBytes, int rows, int runs, sbyte* x, long ldx, int tokens, int* dots);
}

/// <summary>A number known at compile time: of a kernel over that many tokens only their part is left.</summary>
internal interface ICount
{
    static abstract int Value { get; }
}

internal readonly struct Two : ICount
{
    public static int Value => 2;
}

internal readonly struct Three : ICount
{
    public static int Value => 3;
}

internal readonly struct Four : ICount
{
    public static int Value => 4;
}

internal readonly struct Five : ICount
{
    public static int Value => 5;
}

internal readonly struct Six : ICount
{
    public static int Value => 6;
}

internal readonly struct Seven : ICount
{
    public static int Value => 7;
}

internal readonly struct Eight : ICount
{
    public static int Value => 8;
}

/// <summary>
/// Ternary products of the vector paths: sum of (digit - 1) q = sum of digit q - sum of q, integer sums of a band of rows first (leaf kernels),
/// then their scaling.
/// </summary>
internal static unsafe class TernaryRows
{
    /// <summary>Most tokens of one call.</summary>
    public const int Tokens = 8;

    /// <summary>Most rows of one call, and the stride of its sums. Their bytes stay in the second-level cache while all groups of tokens pass, so that memory is read once.</summary>
    public const int Band = 64;

    /// <summary>The product for a format that is read in place.</summary>
    /// <typeparam name="TDots">Kernel for the matrix.</typeparam>
    /// <typeparam name="TPacked">Kernel for I2_S digits, for rows with several scales.</typeparam>
    public static void MatMul<TDots, TPacked>(WeightMatrix w, int begin, int end, sbyte* q, long ldq, float* a, int* sums, int n, float* y, long ldy)
        where TDots : struct, ITernaryDots
        where TPacked : struct, ITernaryDots
    {
        var dots = stackalloc int[Band * Tokens];
        var scales = stackalloc float[Band];
        var inBlocks = w.Format.Type != QuantType.I2_S;
        new Span<float>(scales, Band).Fill(w.Scale);
        for (var first = begin; first < end; first += Band)
        {
            var rows = Math.Min(Band, end - first);
            var p = w.Data + (first * w.RowBytes);
            for (var r = 0; inBlocks && r < rows; r++)
            {
                scales[r] = KernelSet.ReadHalf(p + (r * w.RowBytes) + 64);
            }

            if (MultiplyBand<TDots>(p, w.RowBytes, rows, (w.Columns + 255) / 256, scales, q, ldq, a, sums, n, dots, y + first, ldy) == 0)
            {
                continue;
            }

            for (var m = first; m < first + rows; m++)
            {
                if (!HasOneScale(w, m))
                {
                    MultiplyRuns<TPacked>(w, m, q, ldq, a, n, y, ldy);
                }
            }
        }
    }

    /// <summary>The product for TQ1_0: a band of rows is unpacked to I2_S digits, once for all tokens.</summary>
    public static void MatMulUnpacked<TPacked>(WeightMatrix w, int begin, int end, sbyte* q, long ldq, float* a, int* sums, int n, float* y, long ldy)
        where TPacked : struct, ITernaryDots
    {
        var runs = w.Columns / 256;
        var dots = stackalloc int[Band * Tokens];
        var scales = stackalloc float[Band];
        var digits = Scratch.TakeOuter((long)Band * runs * 64);
        for (var first = begin; first < end; first += Band)
        {
            var rows = Math.Min(Band, end - first);
            for (var r = 0; r < rows; r++)
            {
                scales[r] = Unpack(w, first + r, runs, digits + ((long)r * runs * 64));
            }

            MultiplyBand<TPacked>(digits, runs * 64L, rows, runs, scales, q, ldq, a, sums, n, dots, y + first, ldy);
            for (var r = 0; r < rows; r++)
            {
                if (float.IsNaN(scales[r]))
                {
                    MultiplyRuns<TPacked>(w, first + r, q, ldq, a, n, y, ldy);
                }
            }
        }
    }

    /// <summary>All tokens with the rows of a band, in calls of about as many tokens each; returns what the calls returned.</summary>
    private static int MultiplyBand<TDots>(byte* p, long rowBytes, int rows, int runs, float* scales, sbyte* q, long ldq, float* a, int* sums, int n, int* dots, float* y, long ldy)
        where TDots : struct, ITernaryDots
    {
        var differences = 0;
        for (var t = 0; t < n;)
        {
            var calls = (n - t + TDots.Tokens - 1) / TDots.Tokens;
            var tokens = (n - t + calls - 1) / calls;
            differences |= TDots.Dot(p, rowBytes, rows, runs, q + (t * ldq), ldq, tokens, dots);
            Scale(dots, rows, scales, a + t, sums + t, tokens, y + (t * ldy), ldy);
            t += tokens;
        }

        return differences;
    }

    /// <summary>y[t ldy + r] = (dots[Band t + r] - sums[t]) / a[t] scales[r]: eight rows to a division, which rounds as one does.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Scale(int* dots, int rows, float* scales, float* a, int* sums, int tokens, float* y, long ldy)
    {
        for (var t = 0; t < tokens; t++, dots += Band, y += ldy)
        {
            var sum = Vector256.Create(sums[t]);
            var divisor = Vector256.Create(a[t]);
            var r = 0;
            for (; r + 8 <= rows; r += 8)
            {
                (Vector256.ConvertToSingle(Vector256.Load(dots + r) - sum) / divisor * Vector256.Load(scales + r)).Store(y + r);
            }

            for (; r < rows; r++)
            {
                y[r] = (dots[r] - sums[t]) / a[t] * scales[r];
            }
        }
    }

    /// <summary>Unpacks a row and returns its scale, or NaN if its blocks have several.</summary>
    private static float Unpack(WeightMatrix w, int m, int runs, byte* digits)
    {
        var scale = TernaryPacking.ReadBlock(w, m, 0, digits);
        for (var run = 1; run < runs; run++)
        {
            if (TernaryPacking.ReadBlock(w, m, run, digits + (run * 64L)) != scale)
            {
                scale = float.NaN;
            }
        }

        return scale;
    }

    /// <summary>One row whose blocks have scales of their own: each block repacked to I2_S digits, one sum per run of equal scale.</summary>
    public static void MultiplyRuns<TPacked>(WeightMatrix w, int m, sbyte* q, long ldq, float* a, int n, float* y, long ldy)
        where TPacked : struct, ITernaryDots
    {
        var digits = stackalloc byte[64];
        var ones = stackalloc byte[64];
        var dots = stackalloc int[4];
        new Span<byte>(ones, 64).Fill(0x55);
        for (var t = 0; t < n; t++)
        {
            var (result, sum, scale) = (0f, 0, 0f);
            for (var block = 0; block < w.Columns / 256; block++)
            {
                var d = TernaryPacking.ReadBlock(w, m, block, digits);
                if (d == 0)
                {
                    continue;
                }

                if (d != scale)
                {
                    result += sum / a[t] * scale;
                    (sum, scale) = (0, d);
                }

                // A product with digits 1 everywhere is the sum of q.
                var x = q + (t * ldq) + (block * 256L);
                TPacked.Dot(digits, 64, 1, 1, x, ldq, 1, dots);
                sum += dots[0];
                TPacked.Dot(ones, 64, 1, 1, x, ldq, 1, dots);
                sum -= dots[0];
            }

            y[(t * ldy) + m] = result + (sum / a[t] * scale);
        }
    }

    private static bool HasOneScale(WeightMatrix w, int m)
    {
        var scale = w.Data + (m * w.RowBytes) + w.Format.BlockBytes - 2;
        var differences = 0;
        for (var at = 0L; at < w.RowBytes; at += w.Format.BlockBytes)
        {
            differences |= *(ushort*)(scale + at) ^ *(ushort*)scale;
        }

        return differences == 0;
    }
}
