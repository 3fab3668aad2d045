using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using V = System.Runtime.Intrinsics.Vector256<float>;

namespace RyzenLlm.Kernels;

// Element by element these perform the operations of the portable path in its order (no FMA), so that the scalar tails give the bits of
// whole vectors. Moments are summed in double in four vectors of four lanes.
internal unsafe partial class Avx2Kernels
{
    [MethodImpl(Hot)]
    public override void RmsNorm(float* x, float* w, float eps, int n, float* y)
    {
        var scale = (float)(1 / Math.Sqrt((SumOfSquares(x, n, 0) / n) + eps));
        var s = Vector256.Create(scale);
        var i = 0;
        for (; i <= n - 8; i += 8)
        {
            (Vector256.Load(x + i) * s * Vector256.Load(w + i)).Store(y + i);
        }

        for (; i < n; i++)
        {
            y[i] = x[i] * scale * w[i];
        }
    }

    [MethodImpl(Hot)]
    public override void LayerNorm(float* x, float* w, float* b, float eps, int n, float* y)
    {
        var mean = Sum(x, n) / n;
        var scale = 1 / Math.Sqrt((SumOfSquares(x, n, mean) / n) + eps);
        var m = Vector256.Create(mean);
        var s = Vector256.Create(scale);
        var i = 0;
        for (; i <= n - 4; i += 4)
        {
            var normal = Avx.ConvertToVector128Single((Avx.ConvertToVector256Double(Vector128.Load(x + i)) - m) * s);
            ((normal * Vector128.Load(w + i)) + Vector128.Load(b + i)).Store(y + i);
        }

        for (; i < n; i++)
        {
            y[i] = ((float)((x[i] - mean) * scale) * w[i]) + b[i];
        }
    }

    [MethodImpl(Hot)]
    public override void Add(float* x, float* d, int n)
    {
        var i = 0;
        for (; i <= n - 8; i += 8)
        {
            (Vector256.Load(x + i) + Vector256.Load(d + i)).Store(x + i);
        }

        for (; i < n; i++)
        {
            x[i] += d[i];
        }
    }

    [MethodImpl(Hot)]
    public override void Multiply(float* a, float* b, int n, float* y)
    {
        var i = 0;
        for (; i <= n - 8; i += 8)
        {
            (Vector256.Load(a + i) * Vector256.Load(b + i)).Store(y + i);
        }

        for (; i < n; i++)
        {
            y[i] = a[i] * b[i];
        }
    }

    [MethodImpl(Hot)]
    public override void Lerp(float* h, float* previous, float* mix, int n, float* y)
    {
        var i = 0;
        for (; i <= n - 8; i += 8)
        {
            var v = Vector256.Load(h + i);
            (v + ((Vector256.Load(previous + i) - v) * Vector256.Load(mix + i))).Store(y + i);
        }

        for (; i < n; i++)
        {
            y[i] = h[i] + ((previous[i] - h[i]) * mix[i]);
        }
    }

    [MethodImpl(Hot)]
    public override void Rotate(float* z, int heads, int headSize, float* cos, float* sin)
    {
        var half = headSize / 2;
        for (var h = 0; h < heads; h++, z += headSize)
        {
            var d = 0;
            for (; d <= half - 8; d += 8)
            {
                var a = Vector256.Load(z + d);
                var b = Vector256.Load(z + d + half);
                var c = Vector256.Load(cos + d);
                var s = Vector256.Load(sin + d);
                ((a * c) - (b * s)).Store(z + d);
                ((a * s) + (b * c)).Store(z + d + half);
            }

            for (; d < half; d++)
            {
                var (a, b) = (z[d], z[d + half]);
                z[d] = (a * cos[d]) - (b * sin[d]);
                z[d + half] = (a * sin[d]) + (b * cos[d]);
            }
        }
    }

    [MethodImpl(Hot)]
    public override void ToHalf(float* x, int n, ushort* y)
    {
        var i = 0;
        for (; i <= n - 16; i += 16)
        {
            // The pack works inside 128-bit halves: quadruples arrive as 0 2 1 3.
            var packed = Avx2.PackUnsignedSaturate(HalfBits(Vector256.Load(x + i)), HalfBits(Vector256.Load(x + i + 8)));
            Avx2.Permute4x64(packed.AsUInt64(), 0b11_01_10_00).AsUInt16().Store(y + i);
        }

        for (; i < n; i++)
        {
            y[i] = BitConverter.HalfToUInt16Bits((Half)x[i]);
        }
    }

    [MethodImpl(Hot)]
    public override float Dot(float* a, float* b, int k)
    {
        V s0 = default, s1 = default, s2 = default, s3 = default;
        var i = 0;
        for (; i <= k - 32; i += 32)
        {
            s0 = Fma.MultiplyAdd(Vector256.Load(a + i), Vector256.Load(b + i), s0);
            s1 = Fma.MultiplyAdd(Vector256.Load(a + i + 8), Vector256.Load(b + i + 8), s1);
            s2 = Fma.MultiplyAdd(Vector256.Load(a + i + 16), Vector256.Load(b + i + 16), s2);
            s3 = Fma.MultiplyAdd(Vector256.Load(a + i + 24), Vector256.Load(b + i + 24), s3);
        }

        for (; i <= k - 8; i += 8)
        {
            s0 = Fma.MultiplyAdd(Vector256.Load(a + i), Vector256.Load(b + i), s0);
        }

        if (i < k)
        {
            var mask = TailMask(k - i);
            s1 = Fma.MultiplyAdd(Avx.MaskLoad(a + i, mask), Avx.MaskLoad(b + i, mask), s1);
        }

        var s = s0 + s1 + (s2 + s3);
        return SumLanes(s, s, s, s).ToScalar();
    }

    /// <summary>
    /// binary16 bits in 32-bit lanes, rounded to nearest even: the rounding of float addition puts a subnormal's last bit in place
    /// (adding 0.5 aligns it to 2^-24); a normal number gets half a unit, less one where it is even already; NaN becomes the quiet NaN.
    /// </summary>
    [MethodImpl(Inline)]
    private static Vector256<int> HalfBits(V x)
    {
        var bits = x.AsInt32();
        var sign = bits & Vector256.Create(int.MinValue);
        var magnitude = bits ^ sign;
        var small = (magnitude.AsSingle() + Vector256.Create(0.5f)).AsInt32() - Vector256.Create(0x3F000000);
        var odd = (magnitude >>> 13) & Vector256<int>.One;
        var normal = (magnitude + Vector256.Create(0xFFF - ((127 - 15) << 23)) + odd) >>> 13;
        var large = Avx2.BlendVariable(Vector256.Create(0x7C00), Vector256.Create(0x7E00), Vector256.GreaterThan(magnitude, Vector256.Create(0x7F800000)));
        var result = Avx2.BlendVariable(normal, small, Vector256.LessThan(magnitude, Vector256.Create(0x38800000)));
        result = Avx2.BlendVariable(result, large, Vector256.GreaterThan(magnitude, Vector256.Create(0x477FFFFF)));
        return result | (sign >>> 16);
    }

    [MethodImpl(Hot)]
    private static double Sum(float* x, int n)
    {
        Vector256<double> s0 = default, s1 = default;
        var i = 0;
        for (; i <= n - 8; i += 8)
        {
            s0 += Avx.ConvertToVector256Double(Vector128.Load(x + i));
            s1 += Avx.ConvertToVector256Double(Vector128.Load(x + i + 4));
        }

        var sum = Vector256.Sum(s0 + s1);
        for (; i < n; i++)
        {
            sum += x[i];
        }

        return sum;
    }

    /// <summary>Sum of (x - mean)².</summary>
    [MethodImpl(Hot)]
    private static double SumOfSquares(float* x, int n, double mean)
    {
        Vector256<double> s0 = default, s1 = default, s2 = default, s3 = default;
        var m = Vector256.Create(mean);
        var i = 0;
        for (; i <= n - 16; i += 16)
        {
            var a = Avx.ConvertToVector256Double(Vector128.Load(x + i)) - m;
            var b = Avx.ConvertToVector256Double(Vector128.Load(x + i + 4)) - m;
            var c = Avx.ConvertToVector256Double(Vector128.Load(x + i + 8)) - m;
            var d = Avx.ConvertToVector256Double(Vector128.Load(x + i + 12)) - m;
            s0 += a * a;
            s1 += b * b;
            s2 += c * c;
            s3 += d * d;
        }

        var sum = Vector256.Sum(s0 + s1 + (s2 + s3));
        for (; i < n; i++)
        {
            sum += (x[i] - mean) * (x[i] - mean);
        }

        return sum;
    }
}
