using System.Diagnostics;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Kernels;

// Products of Q8_0 and Q4_0 with activations in fixed point: 16 bits with a unit per block of 32, 250 times finer than the weights. A block's sum of
// products is then an exact integer, so that many tokens cost integer multiply-adds, twice as many per instruction as floats.
public unsafe partial class KernelSet
{
    /// <summary>Columns that share a unit: a block of Q8_0 or Q4_0.</summary>
    internal const int FixedBlock = 32;

    /// <summary>Largest value: the high and the low byte, x = 256 h + l, are both signed bytes.</summary>
    internal const int FixedSteps = (127 * 256) + 127;

    /// <summary>Largest value of coarse activations, which have a low byte only.</summary>
    internal const int CoarseSteps = 127;

    /// <summary>The formats of <see cref="MatMulFixed"/>.</summary>
    internal static bool IsFixed(QuantType type) => type is QuantType.Q8_0 or QuantType.Q4_0;

    /// <summary>Whether this path's <see cref="MatMulFixed"/> is faster than its <see cref="MatMul"/>.</summary>
    public virtual bool HasFixedPoint => false;

    /// <summary>
    /// Rounds a row of activations block by block: unit = max|x| / steps, q = round-half-even(x steps / max|x|); a block of zeros has unit 0.
    /// </summary>
    /// <param name="x">Row of <paramref name="k"/> finite activations.</param>
    /// <param name="k">Length, a multiple of 32.</param>
    /// <param name="steps">Largest value: <see cref="FixedSteps"/> or <see cref="CoarseSteps"/>.</param>
    /// <param name="q">Receives the values.</param>
    /// <param name="units">Receives a unit per block.</param>
    internal virtual void QuantizeFixed(float* x, int k, int steps, short* q, float* units)
    {
        for (var b = 0; b < k / FixedBlock; b++, x += FixedBlock, q += FixedBlock)
        {
            var max = 0f;
            for (var i = 0; i < FixedBlock; i++)
            {
                max = Math.Max(max, Math.Abs(x[i]));
            }

            units[b] = max / steps;
            var inverse = units[b] == 0 ? 0 : steps / max;
            for (var i = 0; i < FixedBlock; i++)
            {
                q[i] = (short)Math.Clamp(MathF.Round(x[i] * inverse, MidpointRounding.ToEven), -steps, steps);
            }
        }
    }

    /// <summary>
    /// Product of fixed-point activations. All paths give the same bits: S_b = sum of w q over block b in units of its scale d_b, exact; lane b % 16 takes
    /// fma(S_b, d_b unit_b, lane) in order of b; the lanes are added as ((0+2)+(1+3)) in each quarter, then quarters (0+2)+(1+3).
    /// </summary>
    /// <param name="w">Matrix in Q8_0 or Q4_0.</param>
    /// <param name="begin">First output row.</param>
    /// <param name="end">One past the last output row.</param>
    /// <param name="q">Values from <see cref="QuantizeFixed"/>, [n][w.Columns].</param>
    /// <param name="units">Units, [n][w.Columns / 32].</param>
    /// <param name="steps">Bound of the values, as they were made: a path may leave out what is zero.</param>
    /// <param name="n">Activation rows.</param>
    /// <param name="y">Receives y[t, m] at y + t ldy + m (m counted from 0, not from begin).</param>
    /// <param name="ldy">Elements between output rows.</param>
    internal virtual void MatMulFixed(WeightMatrix w, int begin, int end, short* q, float* units, int steps, int n, float* y, long ldy)
    {
        Debug.Assert(IsFixed(w.Format.Type));
        var lanes = stackalloc float[16];
        var blocks = w.Columns / FixedBlock;
        var blockBytes = w.RowBytes / Math.Max(blocks, 1);
        var nibbles = w.Format.Type == QuantType.Q4_0;
        for (var m = begin; m < end; m++)
        {
            for (var t = 0; t < n; t++)
            {
                new Span<float>(lanes, 16).Clear();
                var p = w.Data + (m * w.RowBytes);
                for (var b = 0; b < blocks; b++, p += blockBytes)
                {
                    var sum = 0;
                    for (var i = 0; i < FixedBlock; i++)
                    {
                        var weight = !nibbles ? (sbyte)p[2 + i] : (i < 16 ? p[2 + i] & 15 : p[2 + i - 16] >> 4) - 8;
                        sum += weight * q[((long)t * w.Columns) + (b * FixedBlock) + i];
                    }

                    lanes[b % 16] = MathF.FusedMultiplyAdd(sum, ReadHalf(p) * units[((long)t * blocks) + b], lanes[b % 16]);
                }

                for (var quarter = 0; quarter < 16; quarter += 4)
                {
                    lanes[quarter] = lanes[quarter] + lanes[quarter + 2] + (lanes[quarter + 1] + lanes[quarter + 3]);
                }

                y[(t * ldy) + m] = lanes[0] + lanes[8] + (lanes[4] + lanes[12]);
            }
        }

        GC.KeepAlive(w);
    }
}
