namespace RyzenLlm.Kernels;

public unsafe partial class KernelSet
{
    /// <summary>
    /// One step of Mamba's causal depthwise convolution over channels [begin, end), followed by SiLU:
    /// y[i] = silu(bias[i] + sum_j w[j, i] u_{t-(taps-1)+j}[i]), tap taps-1 being the current input.
    /// </summary>
    /// <param name="stateIn">The previous taps-1 inputs, oldest first, [taps-1][channels].</param>
    /// <param name="stateOut">Receives the next window; may be stateIn.</param>
    /// <param name="u">Current input.</param>
    /// <param name="w">Filter, [taps][channels] (transposed from the file, so that lanes are channels).</param>
    /// <param name="bias">Bias per channel.</param>
    /// <param name="taps">Filter length.</param>
    /// <param name="channels">Channels in all (the row stride of state and filter).</param>
    /// <param name="begin">First channel of this call.</param>
    /// <param name="end">One past the last channel.</param>
    /// <param name="y">Receives the activated output per channel; must not alias u.</param>
    public virtual void ConvolveStep(float* stateIn, float* stateOut, float* u, float* w, float* bias, int taps, int channels, int begin, int end, float* y)
    {
        for (var i = begin; i < end; i++)
        {
            var sum = bias[i];
            for (var j = 0; j < taps - 1; j++)
            {
                sum += w[(j * channels) + i] * stateIn[(j * channels) + i];
            }

            sum += w[((taps - 1) * channels) + i] * u[i];
            for (var j = 0; j < taps - 1; j++)
            {
                stateOut[(j * channels) + i] = j + 1 < taps - 1 ? stateIn[((j + 1) * channels) + i] : u[i];
            }

            y[i] = sum / (1 + MathF.Exp(-sum));
        }
    }

    /// <summary>
    /// One step of the selective scan (Mamba, Gu and Dao 2023) over channels [begin, end):
    /// S[k][i] = exp(dt[i] A[k][i]) S[k][i] + dt[i] x[i] B[k];  y[i] = sum_k S[k][i] C[k] + D[i] x[i].
    /// </summary>
    /// <param name="stateIn">State, [states][channels]: lanes are channels, so no sum runs across lanes.</param>
    /// <param name="stateOut">Receives the next state; may be stateIn.</param>
    /// <param name="a">A, negative, [states][channels].</param>
    /// <param name="d">Skip weight per channel.</param>
    /// <param name="dt">Step size per channel, after softplus.</param>
    /// <param name="x">Input per channel, after convolution and SiLU.</param>
    /// <param name="b">B, one per state.</param>
    /// <param name="c">C, one per state.</param>
    /// <param name="channels">Channels in all (the row stride of state and A).</param>
    /// <param name="states">States per channel.</param>
    /// <param name="begin">First channel of this call.</param>
    /// <param name="end">One past the last channel.</param>
    /// <param name="y">Receives the output per channel.</param>
    public virtual void ScanStep(float* stateIn, float* stateOut, float* a, float* d, float* dt, float* x, float* b, float* c, int channels, int states, int begin, int end, float* y)
    {
        for (var i = begin; i < end; i++)
        {
            var sum = 0f;
            for (var k = 0; k < states; k++)
            {
                var at = ((long)k * channels) + i;
                var s = (MathF.Exp(dt[i] * a[at]) * stateIn[at]) + (dt[i] * x[i] * b[k]);
                stateOut[at] = s;
                sum += s * c[k];
            }

            y[i] = sum + (d[i] * x[i]);
        }
    }

    /// <summary>
    /// One step of RWKV-4's numerically safe weighted average over channels [0, n) (Peng et al. 2023, appendix D).
    /// State rows of n floats: numerator, denominator, running maximum (-1e38 at the start).
    /// </summary>
    /// <param name="stateIn">State, [3][n].</param>
    /// <param name="stateOut">Receives the next state; may be stateIn.</param>
    /// <param name="w">-exp(time_decay) per channel.</param>
    /// <param name="u">time_first per channel.</param>
    /// <param name="k">Keys.</param>
    /// <param name="v">Values.</param>
    /// <param name="n">Channels.</param>
    /// <param name="y">Receives the average.</param>
    public virtual void Wkv4Step(float* stateIn, float* stateOut, float* w, float* u, float* k, float* v, int n, float* y)
    {
        for (var i = 0; i < n; i++)
        {
            var (num, den, max) = (stateIn[i], stateIn[n + i], stateIn[(2 * n) + i]);
            var q = Math.Max(max, u[i] + k[i]);
            var (e1, e2) = (MathF.Exp(max - q), MathF.Exp(u[i] + k[i] - q));
            y[i] = ((e1 * num) + (e2 * v[i])) / ((e1 * den) + e2);
            q = Math.Max(max + w[i], k[i]);
            (e1, e2) = (MathF.Exp(max + w[i] - q), MathF.Exp(k[i] - q));
            stateOut[i] = (e1 * num) + (e2 * v[i]);
            stateOut[n + i] = (e1 * den) + e2;
            stateOut[(2 * n) + i] = q;
        }
    }

    /// <summary>
    /// One step of the matrix-valued state of RWKV-5 and RWKV-6 for one head of size h:
    /// y[p] = sum_q r[q] (S[q][p] + u[q] k[q] v[p]);  S[q][p] = w[q] S[q][p] + k[q] v[p]  (q key channel, p value channel).
    /// </summary>
    /// <param name="stateIn">State, [key][value]: lanes are value channels.</param>
    /// <param name="stateOut">Receives the next state; may be stateIn.</param>
    /// <param name="r">Receptance.</param>
    /// <param name="w">Decay factor in (0, 1) per key channel.</param>
    /// <param name="k">Key.</param>
    /// <param name="v">Value.</param>
    /// <param name="u">Bonus of the current token per key channel.</param>
    /// <param name="h">Head size.</param>
    /// <param name="y">Receives h outputs; must not alias an input.</param>
    public virtual void Wkv6Step(float* stateIn, float* stateOut, float* r, float* w, float* k, float* v, float* u, int h, float* y)
    {
        new Span<float>(y, h).Clear();
        for (var q = 0; q < h; q++)
        {
            for (var p = 0; p < h; p++)
            {
                var s = stateIn[(q * h) + p];
                var kv = k[q] * v[p];
                y[p] += r[q] * (s + (u[q] * kv));
                stateOut[(q * h) + p] = (w[q] * s) + kv;
            }
        }
    }

    /// <summary>
    /// One step of RWKV-7's generalised delta rule for one head of size h (Peng et al. 2025):
    /// sa[p] = -sum_q S[q][p] kk[q];  S[q][p] = S[q][p] w[q] + sa[p] b[q] + v[p] k[q];  y[p] = sum_q S[q][p] r[q].
    /// </summary>
    /// <param name="stateIn">State, [key][value]: lanes are value channels.</param>
    /// <param name="stateOut">Receives the next state; may be stateIn.</param>
    /// <param name="r">Receptance.</param>
    /// <param name="w">Decay factor per key channel.</param>
    /// <param name="k">Key, already scaled by the in-context learning rate.</param>
    /// <param name="v">Value.</param>
    /// <param name="kk">Normalised removal key.</param>
    /// <param name="b">kk times the in-context learning rate.</param>
    /// <param name="h">Head size.</param>
    /// <param name="y">Receives h outputs; must not alias an input.</param>
    public virtual void Wkv7Step(float* stateIn, float* stateOut, float* r, float* w, float* k, float* v, float* kk, float* b, int h, float* y)
    {
        for (var p = 0; p < h; p++)
        {
            var sa = 0f;
            for (var q = 0; q < h; q++)
            {
                sa -= stateIn[(q * h) + p] * kk[q];
            }

            var sum = 0f;
            for (var q = 0; q < h; q++)
            {
                var s = (stateIn[(q * h) + p] * w[q]) + (sa * b[q]) + (v[p] * k[q]);
                stateOut[(q * h) + p] = s;
                sum += s * r[q];
            }

            y[p] = sum;
        }
    }
}
