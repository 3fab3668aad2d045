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
}
