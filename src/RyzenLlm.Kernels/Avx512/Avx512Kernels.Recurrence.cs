using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace RyzenLlm.Kernels;

// State updates in whole 512-bit vectors; the channels that are left go through the 256-bit kernels, whose operations per lane are the same.
internal sealed unsafe partial class Avx512Kernels
{
    public override void ScanStep(float* stateIn, float* stateOut, float* a, float* d, float* dt, float* x, float* b, float* c, int channels, int states, int begin, int end, float* y)
    {
        var whole = begin + ((end - begin) & ~15);
        ScanChannels(stateIn, stateOut, a, d, dt, x, b, c, channels, states, begin, whole, y);
        base.ScanStep(stateIn, stateOut, a, d, dt, x, b, c, channels, states, whole, end, y);
    }

    public override void Wkv6Step(float* stateIn, float* stateOut, float* r, float* w, float* k, float* v, float* u, int h, float* y)
    {
        if (h % 64 != 0)
        {
            base.Wkv6Step(stateIn, stateOut, r, w, k, v, u, h, y);
            return;
        }

        Wkv6Channels(stateIn, stateOut, r, w, k, v, u, h, y);
    }

    public override void Wkv7Step(float* stateIn, float* stateOut, float* r, float* w, float* k, float* v, float* kk, float* b, int h, float* y)
    {
        if (h % 64 != 0)
        {
            base.Wkv7Step(stateIn, stateOut, r, w, k, v, kk, b, h, y);
            return;
        }

        Wkv7Channels(stateIn, stateOut, r, w, k, v, kk, b, h, y);
    }

    /// <summary>The exponential of <see cref="Avx2Kernels.Exp(Vector256{float})"/>, scaled in one instruction.</summary>
    [MethodImpl(Inline)]
    private static V Exp(V x)
    {
        x = Avx512F.Min(Vector512.Create(89f), Avx512F.Max(Vector512.Create(-104f), x));
        var n = Avx512F.RoundScale(x * Vector512.Create(1.44269504f), 0);
        var f = Avx512F.FusedMultiplySubtract(x, Vector512.Create(1.44269502f), n);
        f = Avx512F.FusedMultiplyAdd(x, Vector512.Create(1.92596299e-8f), f);
        var p = Avx512F.FusedMultiplyAdd(Vector512.Create(1.5403530e-4f), f, Vector512.Create(1.3333558e-3f));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(9.6181291e-3f));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(5.5504109e-2f));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(2.4022651e-1f));
        p = Avx512F.FusedMultiplyAdd(p, f, Vector512.Create(6.9314718e-1f));
        p = Avx512F.FusedMultiplyAdd(p, f, V.One);
        return Avx512F.Scale(p, n);
    }

    [MethodImpl(Hot)]
    private static void ScanChannels(float* stateIn, float* stateOut, float* a, float* d, float* dt, float* x, float* b, float* c, int channels, int states, int begin, int end, float* y)
    {
        for (var i = begin; i < end; i += 16)
        {
            var step = Vector512.Load(dt + i);
            var input = Vector512.Load(x + i);
            var scaled = step * input;
            var sum = V.Zero;
            for (var k = 0; k < states; k++)
            {
                var at = ((long)k * channels) + i;
                var s = Avx512F.FusedMultiplyAdd(Exp(step * Vector512.Load(a + at)), Vector512.Load(stateIn + at), scaled * Vector512.Create(b[k]));
                s.Store(stateOut + at);
                sum = Avx512F.FusedMultiplyAdd(s, Vector512.Create(c[k]), sum);
            }

            Avx512F.FusedMultiplyAdd(Vector512.Load(d + i), input, sum).Store(y + i);
        }
    }

    [MethodImpl(Hot)]
    private static void Wkv6Channels(float* stateIn, float* stateOut, float* r, float* w, float* k, float* v, float* u, int h, float* y)
    {
        for (var p = 0; p < h; p += 64)
        {
            var v0 = Vector512.Load(v + p);
            var v1 = Vector512.Load(v + p + 16);
            var v2 = Vector512.Load(v + p + 32);
            var v3 = Vector512.Load(v + p + 48);
            V y0 = default, y1 = default, y2 = default, y3 = default;
            for (var q = 0; q < h; q++)
            {
                var at = (q * h) + p;
                var key = Vector512.Create(k[q]);
                var bonus = Vector512.Create(u[q]);
                var decay = Vector512.Create(w[q]);
                var gate = Vector512.Create(r[q]);
                Wkv6Lanes(stateIn + at, stateOut + at, key * v0, bonus, decay, gate, ref y0);
                Wkv6Lanes(stateIn + at + 16, stateOut + at + 16, key * v1, bonus, decay, gate, ref y1);
                Wkv6Lanes(stateIn + at + 32, stateOut + at + 32, key * v2, bonus, decay, gate, ref y2);
                Wkv6Lanes(stateIn + at + 48, stateOut + at + 48, key * v3, bonus, decay, gate, ref y3);
            }

            y0.Store(y + p);
            y1.Store(y + p + 16);
            y2.Store(y + p + 32);
            y3.Store(y + p + 48);
        }
    }

    [MethodImpl(Inline)]
    private static void Wkv6Lanes(float* stateIn, float* stateOut, V kv, V bonus, V decay, V gate, ref V y)
    {
        var s = Vector512.Load(stateIn);
        y = Avx512F.FusedMultiplyAdd(gate, Avx512F.FusedMultiplyAdd(bonus, kv, s), y);
        Avx512F.FusedMultiplyAdd(decay, s, kv).Store(stateOut);
    }

    [MethodImpl(Hot)]
    private static void Wkv7Channels(float* stateIn, float* stateOut, float* r, float* w, float* k, float* v, float* kk, float* b, int h, float* y)
    {
        for (var p = 0; p < h; p += 64)
        {
            V a0 = default, a1 = default, a2 = default, a3 = default;
            for (var q = 0; q < h; q++)
            {
                var s = stateIn + (q * h) + p;
                var key = Vector512.Create(kk[q]);
                a0 = Avx512F.FusedMultiplyAddNegated(Vector512.Load(s), key, a0);
                a1 = Avx512F.FusedMultiplyAddNegated(Vector512.Load(s + 16), key, a1);
                a2 = Avx512F.FusedMultiplyAddNegated(Vector512.Load(s + 32), key, a2);
                a3 = Avx512F.FusedMultiplyAddNegated(Vector512.Load(s + 48), key, a3);
            }

            var v0 = Vector512.Load(v + p);
            var v1 = Vector512.Load(v + p + 16);
            var v2 = Vector512.Load(v + p + 32);
            var v3 = Vector512.Load(v + p + 48);
            V y0 = default, y1 = default, y2 = default, y3 = default;
            for (var q = 0; q < h; q++)
            {
                var at = (q * h) + p;
                var decay = Vector512.Create(w[q]);
                var add = Vector512.Create(b[q]);
                var key = Vector512.Create(k[q]);
                var gate = Vector512.Create(r[q]);
                Wkv7Lanes(stateIn + at, stateOut + at, a0, v0, decay, add, key, gate, ref y0);
                Wkv7Lanes(stateIn + at + 16, stateOut + at + 16, a1, v1, decay, add, key, gate, ref y1);
                Wkv7Lanes(stateIn + at + 32, stateOut + at + 32, a2, v2, decay, add, key, gate, ref y2);
                Wkv7Lanes(stateIn + at + 48, stateOut + at + 48, a3, v3, decay, add, key, gate, ref y3);
            }

            y0.Store(y + p);
            y1.Store(y + p + 16);
            y2.Store(y + p + 32);
            y3.Store(y + p + 48);
        }
    }

    [MethodImpl(Inline)]
    private static void Wkv7Lanes(float* stateIn, float* stateOut, V removed, V value, V decay, V add, V key, V gate, ref V y)
    {
        var s = Avx512F.FusedMultiplyAdd(value, key, Avx512F.FusedMultiplyAdd(removed, add, Vector512.Load(stateIn) * decay));
        s.Store(stateOut);
        y = Avx512F.FusedMultiplyAdd(s, gate, y);
    }
}
