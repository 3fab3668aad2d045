using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using V = System.Runtime.Intrinsics.Vector256<float>;

namespace RyzenLlm.Kernels;

// State updates: lanes are channels, no sum runs across lanes. Whole blocks of lanes use plain loads and stores, the last channels the same
// operations under a mask (masked stores are slow on some processors).
internal unsafe partial class Avx2Kernels
{
    private interface IAccess
    {
        static abstract V Load(float* p, V mask);

        static abstract void Store(float* p, V mask, V value);
    }

    private readonly struct Whole : IAccess
    {
        [MethodImpl(Inline)]
        public static V Load(float* p, V mask) => Vector256.Load(p);

        [MethodImpl(Inline)]
        public static void Store(float* p, V mask, V value) => value.Store(p);
    }

    private readonly struct Masked : IAccess
    {
        [MethodImpl(Inline)]
        public static V Load(float* p, V mask) => Avx.MaskLoad(p, mask);

        [MethodImpl(Inline)]
        public static void Store(float* p, V mask, V value) => Avx.MaskStore(p, mask, value);
    }

    public override void ConvolveStep(float* stateIn, float* stateOut, float* u, float* w, float* bias, int taps, int channels, int begin, int end, float* y)
    {
        var whole = begin + ((end - begin) & ~7);
        ConvolveChannels<Whole>(stateIn, stateOut, u, w, bias, taps, channels, begin, whole, y);
        ConvolveChannels<Masked>(stateIn, stateOut, u, w, bias, taps, channels, whole, end, y);
    }

    public override void ScanStep(float* stateIn, float* stateOut, float* a, float* d, float* dt, float* x, float* b, float* c, int channels, int states, int begin, int end, float* y)
    {
        var whole = begin + ((end - begin) & ~7);
        ScanChannels<Whole>(stateIn, stateOut, a, d, dt, x, b, c, channels, states, begin, whole, y);
        ScanChannels<Masked>(stateIn, stateOut, a, d, dt, x, b, c, channels, states, whole, end, y);
    }

    public override void Wkv4Step(float* stateIn, float* stateOut, float* w, float* u, float* k, float* v, int n, float* y)
    {
        var whole = n & ~7;
        Wkv4Channels<Whole>(stateIn, stateOut, w, u, k, v, n, 0, whole, y);
        Wkv4Channels<Masked>(stateIn, stateOut, w, u, k, v, n, whole, n, y);
    }

    public override void Wkv6Step(float* stateIn, float* stateOut, float* r, float* w, float* k, float* v, float* u, int h, float* y)
    {
        var whole = h & ~15;
        Wkv6Channels<Whole>(stateIn, stateOut, r, w, k, v, u, h, 0, whole, y);
        Wkv6Channels<Masked>(stateIn, stateOut, r, w, k, v, u, h, whole, h, y);
    }

    public override void Wkv7Step(float* stateIn, float* stateOut, float* r, float* w, float* k, float* v, float* kk, float* b, int h, float* y)
    {
        var whole = h & ~15;
        Wkv7Channels<Whole>(stateIn, stateOut, r, w, k, v, kk, b, h, 0, whole, y);
        Wkv7Channels<Masked>(stateIn, stateOut, r, w, k, v, kk, b, h, whole, h, y);
    }

    [MethodImpl(Hot)]
    private static void ConvolveChannels<TAccess>(float* stateIn, float* stateOut, float* u, float* w, float* bias, int taps, int channels, int begin, int end, float* y)
        where TAccess : struct, IAccess
    {
        for (var i = begin; i < end; i += 8)
        {
            var mask = TailMask(end - i);
            var input = TAccess.Load(u + i, mask);
            var sum = TAccess.Load(bias + i, mask);
            for (var j = 0; j < taps - 1; j++)
            {
                sum += TAccess.Load(w + ((long)j * channels) + i, mask) * TAccess.Load(stateIn + ((long)j * channels) + i, mask);
            }

            sum += TAccess.Load(w + ((taps - 1L) * channels) + i, mask) * input;
            for (var j = 0; j < taps - 2; j++)
            {
                TAccess.Store(stateOut + ((long)j * channels) + i, mask, TAccess.Load(stateIn + ((j + 1L) * channels) + i, mask));
            }

            if (taps > 1)
            {
                TAccess.Store(stateOut + ((taps - 2L) * channels) + i, mask, input);
            }

            TAccess.Store(y + i, mask, sum / (V.One + Exp(-sum)));
        }
    }

    [MethodImpl(Hot)]
    private static void ScanChannels<TAccess>(float* stateIn, float* stateOut, float* a, float* d, float* dt, float* x, float* b, float* c, int channels, int states, int begin, int end, float* y)
        where TAccess : struct, IAccess
    {
        for (var i = begin; i < end; i += 8)
        {
            var mask = TailMask(end - i);
            var step = TAccess.Load(dt + i, mask);
            var input = TAccess.Load(x + i, mask);
            var scaled = step * input;
            var sum = V.Zero;
            for (var k = 0; k < states; k++)
            {
                var at = ((long)k * channels) + i;
                var s = Fma.MultiplyAdd(Exp(step * TAccess.Load(a + at, mask)), TAccess.Load(stateIn + at, mask), scaled * Vector256.Create(b[k]));
                TAccess.Store(stateOut + at, mask, s);
                sum = Fma.MultiplyAdd(s, Vector256.Create(c[k]), sum);
            }

            TAccess.Store(y + i, mask, Fma.MultiplyAdd(TAccess.Load(d + i, mask), input, sum));
        }
    }

    [MethodImpl(Hot)]
    private static void Wkv4Channels<TAccess>(float* stateIn, float* stateOut, float* w, float* u, float* k, float* v, int n, int begin, int end, float* y)
        where TAccess : struct, IAccess
    {
        for (var i = begin; i < end; i += 8)
        {
            var mask = TailMask(end - i);
            var num = TAccess.Load(stateIn + i, mask);
            var den = TAccess.Load(stateIn + n + i, mask);
            var max = TAccess.Load(stateIn + (2L * n) + i, mask);
            var key = TAccess.Load(k + i, mask);
            var value = TAccess.Load(v + i, mask);
            var bonus = TAccess.Load(u + i, mask) + key;
            var q = Avx.Max(max, bonus);
            var e1 = Exp(max - q);
            var e2 = Exp(bonus - q);
            TAccess.Store(y + i, mask, ((e1 * num) + (e2 * value)) / ((e1 * den) + e2));
            var decayed = max + TAccess.Load(w + i, mask);
            q = Avx.Max(decayed, key);
            e1 = Exp(decayed - q);
            e2 = Exp(key - q);
            TAccess.Store(stateOut + i, mask, (e1 * num) + (e2 * value));
            TAccess.Store(stateOut + n + i, mask, (e1 * den) + e2);
            TAccess.Store(stateOut + (2L * n) + i, mask, q);
        }
    }

    [MethodImpl(Hot)]
    private static void Wkv6Channels<TAccess>(float* stateIn, float* stateOut, float* r, float* w, float* k, float* v, float* u, int h, int begin, int end, float* y)
        where TAccess : struct, IAccess
    {
        for (var p = begin; p < end; p += 16)
        {
            var mask0 = TailMask(h - p);
            var mask1 = TailMask(h - p - 8);
            var v0 = TAccess.Load(v + p, mask0);
            var v1 = TAccess.Load(v + p + 8, mask1);
            V y0 = default, y1 = default;
            for (var q = 0; q < h; q++)
            {
                var at = (q * h) + p;
                var key = Vector256.Create(k[q]);
                var bonus = Vector256.Create(u[q]);
                var decay = Vector256.Create(w[q]);
                var gate = Vector256.Create(r[q]);
                var s = TAccess.Load(stateIn + at, mask0);
                var kv = key * v0;
                y0 = Fma.MultiplyAdd(gate, Fma.MultiplyAdd(bonus, kv, s), y0);
                TAccess.Store(stateOut + at, mask0, Fma.MultiplyAdd(decay, s, kv));
                s = TAccess.Load(stateIn + at + 8, mask1);
                kv = key * v1;
                y1 = Fma.MultiplyAdd(gate, Fma.MultiplyAdd(bonus, kv, s), y1);
                TAccess.Store(stateOut + at + 8, mask1, Fma.MultiplyAdd(decay, s, kv));
            }

            TAccess.Store(y + p, mask0, y0);
            TAccess.Store(y + p + 8, mask1, y1);
        }
    }

    [MethodImpl(Hot)]
    private static void Wkv7Channels<TAccess>(float* stateIn, float* stateOut, float* r, float* w, float* k, float* v, float* kk, float* b, int h, int begin, int end, float* y)
        where TAccess : struct, IAccess
    {
        for (var p = begin; p < end; p += 16)
        {
            var mask0 = TailMask(h - p);
            var mask1 = TailMask(h - p - 8);
            V removed0 = default, removed1 = default;
            for (var q = 0; q < h; q++)
            {
                var at = (q * h) + p;
                var key = Vector256.Create(kk[q]);
                removed0 = Fma.MultiplyAddNegated(TAccess.Load(stateIn + at, mask0), key, removed0);
                removed1 = Fma.MultiplyAddNegated(TAccess.Load(stateIn + at + 8, mask1), key, removed1);
            }

            var v0 = TAccess.Load(v + p, mask0);
            var v1 = TAccess.Load(v + p + 8, mask1);
            V y0 = default, y1 = default;
            for (var q = 0; q < h; q++)
            {
                var at = (q * h) + p;
                var decay = Vector256.Create(w[q]);
                var add = Vector256.Create(b[q]);
                var key = Vector256.Create(k[q]);
                var gate = Vector256.Create(r[q]);
                var s = Fma.MultiplyAdd(v0, key, Fma.MultiplyAdd(removed0, add, TAccess.Load(stateIn + at, mask0) * decay));
                TAccess.Store(stateOut + at, mask0, s);
                y0 = Fma.MultiplyAdd(s, gate, y0);
                s = Fma.MultiplyAdd(v1, key, Fma.MultiplyAdd(removed1, add, TAccess.Load(stateIn + at + 8, mask1) * decay));
                TAccess.Store(stateOut + at + 8, mask1, s);
                y1 = Fma.MultiplyAdd(s, gate, y1);
            }

            TAccess.Store(y + p, mask0, y0);
            TAccess.Store(y + p + 8, mask1, y1);
        }
    }
}
