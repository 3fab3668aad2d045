using System.Diagnostics;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Kernels;

public unsafe partial class KernelSet
{
    /// <summary>Elements between quantised rows are a multiple of this, so that kernels may read whole vectors.</summary>
    internal const int TernaryPadding = 256;

    /// <summary>Whether <see cref="MatMulTernary"/> takes matrices of this type.</summary>
    public static bool IsTernary(QuantType type) => type is QuantType.I2_S or QuantType.TQ1_0 or QuantType.TQ2_0;

    /// <summary>
    /// Rounds one row of activations to int8 by its largest magnitude (BitNet b1.58, absmax quantisation):
    /// a = 127 / max(max|x|, 1e-5), q = clamp(round-half-even(x a), -128, 127).
    /// </summary>
    /// <param name="x">Row of <paramref name="k"/> finite activations.</param>
    /// <param name="k">Length, a multiple of 128.</param>
    /// <param name="q">Receives k values, and zeros up to the next multiple of 256. Their order inside each group of 256 is this
    /// path's own: hand them to this path's <see cref="MatMulTernary"/> only.</param>
    /// <param name="a">Receives the multiplier a.</param>
    /// <param name="sum">Receives the sum of all q, the correction for weight codes 0..2 that stand for -1..1.</param>
    public virtual void QuantizeRow(float* x, int k, sbyte* q, out float a, out int sum)
    {
        Debug.Assert(k % 128 == 0);
        var max = 1e-5f;
        for (var i = 0; i < k; i++)
        {
            max = Math.Max(max, Math.Abs(x[i]));
        }

        a = 127f / max;
        sum = 0;
        for (var i = 0; i < k; i++)
        {
            q[i] = (sbyte)Math.Clamp(MathF.Round(x[i] * a, MidpointRounding.ToEven), -128f, 127f);
            sum += q[i];
        }

        new Span<sbyte>(q + k, -k & (TernaryPadding - 1)).Clear();
    }

    /// <summary>
    /// Ternary product y[t, m] = (sum over k of q[t, k] w[m, k]) / a[t] * scale for output rows m in [begin, end) and n activation rows.
    /// The sum is an exact integer, so every order gives the same y. Where the blocks of a row (TQ types) have different scales
    /// there is one such sum per run of blocks of equal scale, added in order; blocks with scale 0 count nowhere.
    /// </summary>
    /// <param name="w">Ternary matrix (I2_S, TQ1_0 or TQ2_0) with digits 0..2 only.</param>
    /// <param name="begin">First output row.</param>
    /// <param name="end">One past the last output row.</param>
    /// <param name="q">Activation rows from <see cref="QuantizeRow"/>, row t at q + t ldq.</param>
    /// <param name="ldq">Elements between activation rows, a multiple of 256.</param>
    /// <param name="a">Multiplier per activation row.</param>
    /// <param name="sums">Sum of q per activation row.</param>
    /// <param name="n">Activation rows.</param>
    /// <param name="y">Receives y[t, m] at y + t ldy + m (m counted from 0, not from begin).</param>
    /// <param name="ldy">Elements between output rows.</param>
    public virtual void MatMulTernary(WeightMatrix w, int begin, int end, sbyte* q, long ldq, float* a, int* sums, int n, float* y, long ldy)
    {
        Debug.Assert(begin >= 0 && end <= w.Rows && IsTernary(w.Format.Type));
        var values = stackalloc sbyte[256];
        var sum = stackalloc int[n < 64 ? n : 64];
        for (var first = 0; first < n; first += 64)
        {
            var count = Math.Min(64, n - first);
            for (var m = begin; m < end; m++)
            {
                new Span<int>(sum, count).Clear();
                for (var t = 0; t < count; t++)
                {
                    y[((first + t) * ldy) + m] = 0;
                }

                var scale = 0f;
                for (var block = 0; block < w.Columns / w.Format.BlockLength; block++)
                {
                    var d = DecodeTernary(w, m, block, values);
                    if (d != scale && d != 0)
                    {
                        AddRun(sum, scale, a + first, count, y + (first * ldy) + m, ldy);
                        scale = d;
                    }

                    for (var t = 0; d != 0 && t < count; t++)
                    {
                        var row = q + ((first + t) * ldq) + ((long)block * w.Format.BlockLength);
                        for (var k = 0; k < w.Format.BlockLength; k++)
                        {
                            sum[t] += row[k] * values[k];
                        }
                    }
                }

                AddRun(sum, scale, a + first, count, y + (first * ldy) + m, ldy);
            }
        }

        GC.KeepAlive(w);
    }

    private static void AddRun(int* sum, float scale, float* a, int count, float* y, long ldy)
    {
        for (var t = 0; t < count; t++)
        {
            y[t * ldy] += sum[t] / a[t] * scale;
            sum[t] = 0;
        }
    }

    /// <summary>Writes the values -1..1 of one block and returns its scale.</summary>
    private protected static float DecodeTernary(WeightMatrix w, int m, int block, sbyte* values)
    {
        var p = w.Data + (m * w.RowBytes) + ((long)block * w.Format.BlockBytes);
        switch (w.Format.Type)
        {
            case QuantType.I2_S:
                for (var i = 0; i < 128; i++)
                {
                    values[i] = (sbyte)(((p[i % 32] >> (6 - (2 * (i / 32)))) & 3) - 1);
                }

                return w.Scale;

            case QuantType.TQ2_0:
                for (var i = 0; i < 256; i++)
                {
                    values[i] = (sbyte)(((p[(32 * (i / 128)) + (i % 32)] >> (2 * (i / 32 % 4))) & 3) - 1);
                }

                return ReadHalf(p + 64);

            case QuantType.TQ1_0:
                DecodeBase3(p, 32, 5, values);
                DecodeBase3(p + 32, 16, 5, values + 160);
                DecodeBase3(p + 48, 4, 4, values + 240);
                return ReadHalf(p + 52);

            default:
                throw new ArgumentException($"{w.Name}: {w.Format} is not a ternary format.", nameof(w));
        }
    }

    // Digit k of byte b, held as a fixed-point fraction: ((b 3^k mod 256) 3) >> 8; value k count + m is digit k of byte m.
    private static void DecodeBase3(byte* p, int count, int digits, sbyte* values)
    {
        for (var m = 0; m < count; m++)
        {
            var b = p[m];
            for (var k = 0; k < digits; k++, b = (byte)(b * 3))
            {
                values[(k * count) + m] = (sbyte)(((b * 3) >> 8) - 1);
            }
        }
    }

    internal static float ReadHalf(byte* p) => (float)BitConverter.UInt16BitsToHalf(*(ushort*)p);
}
