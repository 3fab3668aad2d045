using System.Diagnostics;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels;

public unsafe partial class KernelSet
{
    /// <summary>
    /// Product with unrounded activations, y[t, m] = sum over k of w[m, k] x[t, k], for output rows m in [begin, end) and n activation rows.
    /// </summary>
    /// <param name="w">Matrix of any format with finite weights.</param>
    /// <param name="begin">First output row.</param>
    /// <param name="end">One past the last output row.</param>
    /// <param name="x">Activation rows of w.Columns floats, row t at x + t ldx.</param>
    /// <param name="ldx">Elements between activation rows.</param>
    /// <param name="n">Activation rows.</param>
    /// <param name="y">Receives y[t, m] at y + t ldy + m (m counted from 0, not from begin).</param>
    /// <param name="ldy">Elements between output rows.</param>
    public virtual void MatMul(WeightMatrix w, int begin, int end, float* x, long ldx, int n, float* y, long ldy)
    {
        Debug.Assert(begin >= 0 && end <= w.Rows);
        var row = (float*)Scratch.Take((long)w.Columns * sizeof(float));
        for (var m = begin; m < end; m++)
        {
            w.DecodeRow(m, new Span<float>(row, w.Columns));
            for (var t = 0; t < n; t++)
            {
                y[(t * ldy) + m] = Dot(row, x + (t * ldx), w.Columns);
            }
        }
    }

    /// <summary>Inner product of two float vectors of length <paramref name="k"/>.</summary>
    public virtual float Dot(float* a, float* b, int k)
    {
        // Sixteen partial sums: the order of the widest vector path, and close to its rounding.
        var lanes = stackalloc float[16];
        new Span<float>(lanes, 16).Clear();
        for (var i = 0; i < k; i++)
        {
            lanes[i & 15] += a[i] * b[i];
        }

        var sum = 0f;
        for (var i = 0; i < 16; i++)
        {
            sum += lanes[i];
        }

        return sum;
    }

    /// <summary>Decodes row m of a matrix to floats, the bits of <see cref="WeightMatrix.DecodeRow"/>.</summary>
    internal virtual void DecodeRow(WeightMatrix w, int m, float* row) => w.DecodeRow(m, new Span<float>(row, w.Columns));

    /// <summary>Codes q of a row w = s q + d with |q| at most 127; any rounding will do, what it misses is in d.</summary>
    /// <param name="row">Finite values.</param>
    /// <param name="columns">Length.</param>
    /// <param name="codes">Receives the codes.</param>
    /// <param name="squares">Receives |d|², |s q|² and |w|², up to the rounding of double sums.</param>
    /// <returns>The scale s.</returns>
    internal virtual float PackInt8(float* row, int columns, sbyte* codes, out (double Residual, double Quantised, double Values) squares)
    {
        var largest = 0f;
        for (var k = 0; k < columns; k++)
        {
            largest = Math.Max(largest, Math.Abs(row[k]));
        }

        var scale = largest / 127;
        PackInt8(row, columns, scale, codes, out squares);
        return scale;
    }

    private protected static void PackInt8(float* row, int columns, float scale, sbyte* codes, out (double Residual, double Quantised, double Values) squares)
    {
        var inverse = scale == 0 ? 0 : 1 / scale;
        squares = default;
        for (var k = 0; k < columns; k++)
        {
            var q = (int)Math.Clamp(MathF.Round(row[k] * inverse), -127, 127);
            codes[k] = (sbyte)q;
            var value = (double)scale * q;
            squares.Quantised += value * value;
            squares.Values += (double)row[k] * row[k];
            squares.Residual += (row[k] - value) * (row[k] - value);
        }
    }

    /// <summary>scores[4 r + t] = sum over k of q[r, k] x[t, k], up to the rounding of eight or more partial sums, each exact in 32 bits.</summary>
    /// <param name="q">Rows of <paramref name="stride"/> codes.</param>
    /// <param name="stride">Columns, a multiple of 64; the same for x.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="x">Tokens, with sum over any eighth of a row of |q x| below 2^31.</param>
    /// <param name="tokens">1 to 4.</param>
    /// <param name="scores">Receives four per row.</param>
    internal virtual void DotInt8(sbyte* q, int stride, int rows, short* x, int tokens, float* scores)
    {
        for (var r = 0; r < rows; r++)
        {
            for (var t = 0; t < tokens; t++)
            {
                var sum = 0L;
                for (var k = 0; k < stride; k++)
                {
                    sum += q[((long)r * stride) + k] * x[((long)t * stride) + k];
                }

                scores[(4 * r) + t] = sum;
            }
        }
    }
}
