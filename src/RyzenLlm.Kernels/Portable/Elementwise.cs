namespace RyzenLlm.Kernels;

public unsafe partial class KernelSet
{
    /// <summary>y = x / sqrt(mean(x²) + eps) * w over n elements; the mean is taken in double. y may be x.</summary>
    public virtual void RmsNorm(float* x, float* w, float eps, int n, float* y)
    {
        var squares = 0d;
        for (var i = 0; i < n; i++)
        {
            squares += (double)x[i] * x[i];
        }

        var scale = (float)(1 / Math.Sqrt((squares / n) + eps));
        for (var i = 0; i < n; i++)
        {
            y[i] = x[i] * scale * w[i];
        }
    }

    /// <summary>y = (x - mean) / sqrt(var + eps) * w + b over n elements, population variance, moments in double. y may be x.
    /// A group norm over heads is this per head with w and b advanced.</summary>
    public virtual void LayerNorm(float* x, float* w, float* b, float eps, int n, float* y)
    {
        var sum = 0d;
        for (var i = 0; i < n; i++)
        {
            sum += x[i];
        }

        var mean = sum / n;
        var squares = 0d;
        for (var i = 0; i < n; i++)
        {
            squares += (x[i] - mean) * (x[i] - mean);
        }

        var scale = 1 / Math.Sqrt((squares / n) + eps);
        for (var i = 0; i < n; i++)
        {
            y[i] = ((float)((x[i] - mean) * scale) * w[i]) + b[i];
        }
    }

    /// <summary>x += d.</summary>
    public virtual void Add(float* x, float* d, int n)
    {
        for (var i = 0; i < n; i++)
        {
            x[i] += d[i];
        }
    }

    /// <summary>y = a * b, element by element; y may be a or b.</summary>
    public virtual void Multiply(float* a, float* b, int n, float* y)
    {
        for (var i = 0; i < n; i++)
        {
            y[i] = a[i] * b[i];
        }
    }

    /// <summary>y = h + (previous - h) * mix: RWKV's token shift.</summary>
    public virtual void Lerp(float* h, float* previous, float* mix, int n, float* y)
    {
        for (var i = 0; i < n; i++)
        {
            y[i] = h[i] + ((previous[i] - h[i]) * mix[i]);
        }
    }

    /// <summary>y = exp(x); relative error at most 3e-7 on [-87, 88], 0 below, infinity above. y may be x.</summary>
    public virtual void Exp(float* x, int n, float* y)
    {
        for (var i = 0; i < n; i++)
        {
            y[i] = MathF.Exp(x[i]);
        }
    }

    /// <summary>y = 1 / (1 + exp(-x)). y may be x.</summary>
    public virtual void Sigmoid(float* x, int n, float* y)
    {
        for (var i = 0; i < n; i++)
        {
            y[i] = 1 / (1 + MathF.Exp(-x[i]));
        }
    }

    /// <summary>y = tanh(x). y may be x.</summary>
    public virtual void Tanh(float* x, int n, float* y)
    {
        for (var i = 0; i < n; i++)
        {
            y[i] = MathF.Tanh(x[i]);
        }
    }

    /// <summary>y = x sigmoid(x). y may be x.</summary>
    public virtual void Silu(float* x, int n, float* y)
    {
        for (var i = 0; i < n; i++)
        {
            y[i] = x[i] / (1 + MathF.Exp(-x[i]));
        }
    }

    /// <summary>y = x above 20, else log(1 + exp(x)): Mamba's step size. y may be x.</summary>
    public virtual void Softplus(float* x, int n, float* y)
    {
        for (var i = 0; i < n; i++)
        {
            // log1p by way of double keeps small results exact to float precision.
            y[i] = x[i] > 20 ? x[i] : (float)Math.Log(1 + Math.Exp(x[i]));
        }
    }

    /// <summary>y = max(x, 0)². y may be x.</summary>
    public virtual void ReluSquared(float* x, int n, float* y)
    {
        for (var i = 0; i < n; i++)
        {
            var positive = Math.Max(x[i], 0);
            y[i] = positive * positive;
        }
    }

    /// <summary>Rotary embedding, half-split form, of <paramref name="heads"/> consecutive vectors of <paramref name="headSize"/>:
    /// (z[d], z[d + h/2]) becomes (z[d] cos[d] - z[d + h/2] sin[d], z[d] sin[d] + z[d + h/2] cos[d]).</summary>
    public virtual void Rotate(float* z, int heads, int headSize, float* cos, float* sin)
    {
        var half = headSize / 2;
        for (var h = 0; h < heads; h++, z += headSize)
        {
            for (var d = 0; d < half; d++)
            {
                var (a, b) = (z[d], z[d + half]);
                z[d] = (a * cos[d]) - (b * sin[d]);
                z[d + half] = (a * sin[d]) + (b * cos[d]);
            }
        }
    }

    /// <summary>y = x rounded to binary16 (nearest even, subnormals kept).</summary>
    public virtual void ToHalf(float* x, int n, ushort* y)
    {
        for (var i = 0; i < n; i++)
        {
            y[i] = BitConverter.HalfToUInt16Bits((Half)x[i]);
        }
    }
}
