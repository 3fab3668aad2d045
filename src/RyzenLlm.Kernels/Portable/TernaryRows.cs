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

    /// <summary>Tokens that the next call takes, of <paramref name="left"/>; at most <see cref="TernaryRows.Tokens"/>.</summary>
    static abstract int Take(int left);

    /// <summary>
    /// dots[8 r + t] = sum over k of digit(r, k) x[t, k], digits 0..2. With one token also dots[8 r + 1] = 0 if all block scales of
    /// the row are equal: checked in passing, because that call runs at the speed of memory.
    /// </summary>
    /// <param name="w">First row.</param>
    /// <param name="rowBytes">Bytes between rows.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="runs">Runs of 256 columns; the last one may end 32 bytes behind the row, where x holds zeros.</param>
    /// <param name="x">Activations in the path's order.</param>
    /// <param name="ldx">Elements between tokens.</param>
    /// <param name="tokens">A number that <see cref="Take"/> gave.</param>
    /// <param name="dots">Receives the sums.</param>
    static abstract void Dot(byte* w, long rowBytes, int rows, int runs, sbyte* x, long ldx, int tokens, int* dots);
}

/// <summary>
/// Ternary products of the vector paths: sum of (digit - 1) q = sum of digit q - sum of q, integer sums of a band of rows first (leaf kernels),
/// then their scaling.
/// </summary>
internal static unsafe class TernaryRows
{
    /// <summary>Most tokens of one call, and the stride of its sums.</summary>
    public const int Tokens = 8;

    // Rows of a band: their bytes stay in the second-level cache while all groups of tokens pass, so that memory is read once.
    private const int Band = 64;

    /// <summary>The product for a format that is read in place.</summary>
    /// <typeparam name="TDots">Kernel for the matrix.</typeparam>
    /// <typeparam name="TPacked">Kernel for I2_S digits, for rows with several scales.</typeparam>
    public static void MatMul<TDots, TPacked>(WeightMatrix w, int begin, int end, sbyte* q, long ldq, float* a, int* sums, int n, float* y, long ldy)
        where TDots : struct, ITernaryDots
        where TPacked : struct, ITernaryDots
    {
        var runs = (w.Columns + 255) / 256;
        var dots = stackalloc int[Band * Tokens];
        for (var first = begin; first < end; first += Band)
        {
            var rows = Math.Min(Band, end - first);
            var p = w.Data + (first * w.RowBytes);
            for (var t = 0; t < n;)
            {
                var tokens = Take<TDots>(ref t, n);
                TDots.Dot(p, w.RowBytes, rows, runs, q + (t * ldq), ldq, tokens, dots);
                for (var r = 0; r < rows; r++)
                {
                    if (!TryUniformScale<TDots>(w, p + (r * w.RowBytes), tokens == 1 ? dots + (r * Tokens) + 1 : null, out var scale))
                    {
                        MultiplyRuns<TPacked>(w, first + r, q + (t * ldq), ldq, a + t, tokens, y + (t * ldy), ldy);
                        continue;
                    }

                    Scale(dots + (r * Tokens), sums + t, a + t, tokens, scale, y + (t * ldy) + first + r, ldy);
                }

                t += tokens;
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

            for (var t = 0; t < n;)
            {
                var tokens = Take<TPacked>(ref t, n);
                TPacked.Dot(digits, runs * 64L, rows, runs, q + (t * ldq), ldq, tokens, dots);
                for (var r = 0; r < rows; r++)
                {
                    if (float.IsNaN(scales[r]))
                    {
                        MultiplyRuns<TPacked>(w, first + r, q + (t * ldq), ldq, a + t, tokens, y + (t * ldy), ldy);
                        continue;
                    }

                    Scale(dots + (r * Tokens), sums + t, a + t, tokens, scales[r], y + (t * ldy) + first + r, ldy);
                }

                t += tokens;
            }
        }
    }

    /// <summary>Tokens of the next call. What does not fill it begins before t where it can: some tokens twice in one call cost less than several calls.</summary>
    private static int Take<TDots>(ref int t, int n)
        where TDots : struct, ITernaryDots
    {
        var tokens = TDots.Take(n - t);
        var enough = tokens;
        while (enough < n - t)
        {
            enough *= 2;
        }

        if (enough > n || TDots.Take(enough) != enough)
        {
            return tokens;
        }

        t = n - enough;
        return enough;
    }

    /// <summary>y[j ldy] = (dots[j] - sums[j]) / a[j] scale: four tokens to a division, which rounds as one does.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Scale(int* dots, int* sums, float* a, int tokens, float scale, float* y, long ldy)
    {
        var j = 0;
        for (; j + 4 <= tokens; j += 4, y += 4 * ldy)
        {
            var v = Vector128.ConvertToSingle(Vector128.Load(dots + j) - Vector128.Load(sums + j)) / Vector128.Load(a + j) * scale;
            y[0] = v[0];
            y[ldy] = v[1];
            y[2 * ldy] = v[2];
            y[3 * ldy] = v[3];
        }

        for (; j < tokens; j++, y += ldy)
        {
            *y = (dots[j] - sums[j]) / a[j] * scale;
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
        var dots = stackalloc int[Tokens];
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

    /// <summary>The scale of a row, or false if its blocks have several.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool TryUniformScale<TDots>(WeightMatrix w, byte* row, int* known, out float scale)
        where TDots : struct, ITernaryDots
    {
        if (w.Format.Type == QuantType.I2_S)
        {
            scale = w.Scale;
            return true;
        }

        var bits = *(ushort*)(row + 64);
        scale = (float)BitConverter.UInt16BitsToHalf(bits);
        if (known != null)
        {
            return *known == 0;
        }

        var differences = 0;
        for (var at = 64L; at < w.RowBytes; at += TDots.Stride)
        {
            differences |= *(ushort*)(row + at) ^ bits;
        }

        return differences == 0;
    }
}
