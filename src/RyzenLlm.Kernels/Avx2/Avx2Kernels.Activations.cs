using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using V = System.Runtime.Intrinsics.Vector256<float>;

namespace RyzenLlm.Kernels;

// Activations. Each is one vector function; the last n % 8 elements go through the same function in a padded vector, so that a
// result depends on its argument alone and not on its place.
internal unsafe partial class Avx2Kernels
{
    private interface IFunction
    {
        static abstract V Apply(V x);
    }

    public override void Exp(float* x, int n, float* y) => Map<ExpFunction>(x, n, y);

    public override void Sigmoid(float* x, int n, float* y) => Map<SigmoidFunction>(x, n, y);

    public override void Tanh(float* x, int n, float* y) => Map<TanhFunction>(x, n, y);

    public override void Silu(float* x, int n, float* y) => Map<SiluFunction>(x, n, y);

    public override void Softplus(float* x, int n, float* y) => Map<SoftplusFunction>(x, n, y);

    public override void ReluSquared(float* x, int n, float* y) => Map<ReluSquaredFunction>(x, n, y);

    [MethodImpl(Hot)]
    private static void Map<TFunction>(float* x, int n, float* y)
        where TFunction : struct, IFunction
    {
        var i = 0;
        for (; i <= n - 8; i += 8)
        {
            TFunction.Apply(Vector256.Load(x + i)).Store(y + i);
        }

        if (i < n)
        {
            var mask = TailMask(n - i);
            Avx.MaskStore(y + i, mask, TFunction.Apply(Avx.MaskLoad(x + i, mask)));
        }
    }

    /// <summary>
    /// exp(x) = 2^n p(f) with x log2 e = n + f, |f| at most 1/2, p of degree 6: relative error below 3e-7.
    /// Beyond the range of float the result is infinity, a subnormal or 0; NaN stays NaN.
    /// </summary>
    [MethodImpl(Inline)]
    private protected static V Exp(V x)
    {
        // The second operand comes through where one is NaN.
        x = Avx.Min(Vector256.Create(89f), Avx.Max(Vector256.Create(-104f), x));
        var n = Avx.RoundToNearestInteger(x * Vector256.Create(1.44269504f));
        var f = Fma.MultiplySubtract(x, Vector256.Create(1.44269502f), n);
        f = Fma.MultiplyAdd(x, Vector256.Create(1.92596299e-8f), f);
        var p = Fma.MultiplyAdd(Vector256.Create(1.5403530e-4f), f, Vector256.Create(1.3333558e-3f));
        p = Fma.MultiplyAdd(p, f, Vector256.Create(9.6181291e-3f));
        p = Fma.MultiplyAdd(p, f, Vector256.Create(5.5504109e-2f));
        p = Fma.MultiplyAdd(p, f, Vector256.Create(2.4022651e-1f));
        p = Fma.MultiplyAdd(p, f, Vector256.Create(6.9314718e-1f));
        p = Fma.MultiplyAdd(p, f, V.One);

        // 2^n in two factors: n reaches from -150 to 128, one exponent field does not.
        var whole = Avx.ConvertToVector256Int32(n);
        var half = whole >> 1;
        return p * PowerOfTwo(half) * PowerOfTwo(whole - half);
    }

    /// <summary>Lanes 0 .. count - 1.</summary>
    [MethodImpl(Inline)]
    private protected static V TailMask(int count) =>
        Vector256.LessThan(Vector256<int>.Indices, Vector256.Create(count)).AsSingle();

    [MethodImpl(Inline)]
    private static V PowerOfTwo(Vector256<int> n) => ((n + Vector256.Create(127)) << 23).AsSingle();

    private readonly struct ExpFunction : IFunction
    {
        [MethodImpl(Inline)]
        public static V Apply(V x) => Exp(x);
    }

    private readonly struct SigmoidFunction : IFunction
    {
        [MethodImpl(Inline)]
        public static V Apply(V x) => V.One / (V.One + Exp(-x));
    }

    private readonly struct SiluFunction : IFunction
    {
        [MethodImpl(Inline)]
        public static V Apply(V x) => x / (V.One + Exp(-x));
    }

    private readonly struct ReluSquaredFunction : IFunction
    {
        [MethodImpl(Inline)]
        public static V Apply(V x)
        {
            var positive = Avx.Max(V.Zero, x);
            return positive * positive;
        }
    }

    private readonly struct TanhFunction : IFunction
    {
        /// <summary>An odd polynomial below 0.625, where 1 - 2 / (exp(2|x|) + 1) would cancel.</summary>
        [MethodImpl(Inline)]
        public static V Apply(V x)
        {
            var z = x * x;
            var p = Fma.MultiplyAdd(Vector256.Create(-5.70498872745e-3f), z, Vector256.Create(2.06390887954e-2f));
            p = Fma.MultiplyAdd(p, z, Vector256.Create(-5.37397155531e-2f));
            p = Fma.MultiplyAdd(p, z, Vector256.Create(1.33314422036e-1f));
            p = Fma.MultiplyAdd(p, z, Vector256.Create(-3.33332819422e-1f));
            var small = Fma.MultiplyAdd(p * z, x, x);
            var magnitude = Vector256.Abs(x);
            var large = V.One - (Vector256.Create(2f) / (Exp(magnitude + magnitude) + V.One));
            large |= x & Vector256.Create(-0f);
            return Avx.BlendVariable(large, small, Avx.CompareLessThan(magnitude, Vector256.Create(0.625f)));
        }
    }

    private readonly struct SoftplusFunction : IFunction
    {
        /// <summary>max(x, 0) + log(1 + u), u = exp(-|x|); log(1 + u) = 2 atanh(s), s = u / (2 + u), a series in s² of at most 1/9.</summary>
        [MethodImpl(Inline)]
        public static V Apply(V x)
        {
            var u = Exp(-Vector256.Abs(x));
            var s = u / (u + Vector256.Create(2f));
            var z = s * s;
            var p = Fma.MultiplyAdd(Vector256.Create(2f / 17), z, Vector256.Create(2f / 15));
            p = Fma.MultiplyAdd(p, z, Vector256.Create(2f / 13));
            p = Fma.MultiplyAdd(p, z, Vector256.Create(2f / 11));
            p = Fma.MultiplyAdd(p, z, Vector256.Create(2f / 9));
            p = Fma.MultiplyAdd(p, z, Vector256.Create(2f / 7));
            p = Fma.MultiplyAdd(p, z, Vector256.Create(2f / 5));
            p = Fma.MultiplyAdd(p, z, Vector256.Create(2f / 3));
            p = Fma.MultiplyAdd(p, z, Vector256.Create(2f));
            return Fma.MultiplyAdd(p, s, Avx.Max(V.Zero, x));
        }
    }
}
