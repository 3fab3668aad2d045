using System.Diagnostics;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Kernels;

public unsafe partial class KernelSet
{
    /// <summary>
    /// Rounds one row of activations to int8 by its largest magnitude (BitNet b1.58, absmax quantisation):
    /// a = 127 / max(max|x|, 1e-5), q = clamp(round-half-even(x a), -128, 127).
    /// </summary>
    /// <param name="x">Row of <paramref name="k"/> activations.</param>
    /// <param name="k">Length, a multiple of 128.</param>
    /// <param name="q">Receives k values. Their order inside each group of 256 is this path's own: hand them to this path's
    /// <see cref="MatMulTernary"/> only.</param>
    /// <param name="a">Receives the multiplier a.</param>
    /// <param name="sum">Receives the sum of all q, the correction for weight codes 0..2 that stand for -1..1.</param>
    public virtual void QuantizeRow(float* x, int k, sbyte* q, out float a, out int sum)
    {
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
    }

    /// <summary>
    /// Ternary product y[t, m] = (sum over k of q[t, k] w[m, k]) / a[t] * scale for output rows m in [begin, end) and n activation rows.
    /// The sum is an exact integer, so every order gives the same y.
    /// </summary>
    /// <param name="w">Ternary matrix (I2_S, TQ1_0 or TQ2_0). Blocks of TQ types whose scales differ are scaled one by one.</param>
    /// <param name="begin">First output row.</param>
    /// <param name="end">One past the last output row.</param>
    /// <param name="q">Activation rows from <see cref="QuantizeRow"/>, row t at q + t ldq.</param>
    /// <param name="ldq">Elements between activation rows.</param>
    /// <param name="a">Multiplier per activation row.</param>
    /// <param name="sums">Sum of q per activation row.</param>
    /// <param name="n">Activation rows.</param>
    /// <param name="y">Receives y[t, m] at y + t ldy + m (m counted from 0, not from begin).</param>
    /// <param name="ldy">Elements between output rows.</param>
    public virtual void MatMulTernary(WeightMatrix w, int begin, int end, sbyte* q, long ldq, float* a, int* sums, int n, float* y, long ldy)
    {
        Debug.Assert(begin >= 0 && end <= w.Rows);
        var row = new float[w.Columns];
        for (var m = begin; m < end; m++)
        {
            // Decoding gives t * d; the integer t is recovered by sign, and d is the magnitude of the block's nonzero weights.
            w.DecodeRow(m, row);
            for (var t = 0; t < n; t++)
            {
                y[(t * ldy) + m] = DotTernary(row, q + (t * ldq), a[t]);
            }
        }
    }

    private static float DotTernary(ReadOnlySpan<float> row, sbyte* q, float a)
    {
        // One term per run of equal scale: for a tensor with a single scale that is exactly sum / a * scale.
        var result = 0f;
        var sum = 0;
        var scale = 0f;
        for (var k = 0; k < row.Length; k++)
        {
            var magnitude = Math.Abs(row[k]);
            if (magnitude != 0 && magnitude != scale)
            {
                result += sum / a * scale;
                sum = 0;
                scale = magnitude;
            }

            sum += q[k] * Math.Sign(row[k]);
        }

        return result + (sum / a * scale);
    }
}
