using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Kernels;

// Ternary products in place. 32 bytes of an I2_S or TQ2_0 row hold 128 weights as 2-bit digits: lane l of field f is weight 32 f + l, so
// activations stay in natural order. Digits go through vpmaddubsw (u8 x s8, pairs added in 16 bits). A pair is at most
// 2 * 2 * 127 = 508 and at least 2 * 2 * -128 = -512, so a 16-bit lane takes 64 steps: 64 * 508 = 32512, 64 * -512 = -32768.
// Then vpmaddwd by ones widens to 32 bits, before two such accumulators are added.
internal unsafe partial class Avx2Kernels
{
    /// <summary>
    /// Bytes behind the rows at work, which are read side by side: the lines after them are fetched one by one in the order of memory. Where the processor's
    /// own prefetching does not follow such a pattern, lines fetched at a fixed distance from each row come late or twice: two tokens took 1.6 times as long.
    /// </summary>
    private protected const int PrefetchDistance = 4096;

    /// <summary>Steps of one 16-bit accumulator before it must be widened.</summary>
    private protected const int StepsPerLane = 64;

    private interface ITernaryLayout
    {
        /// <summary>Bytes from one run of 256 weights to the next.</summary>
        static abstract int Stride { get; }

        /// <summary>Right shift that brings field f to bits 1-0.</summary>
        static abstract int Shift(int f);
    }

    private readonly struct I2_SLayout : ITernaryLayout
    {
        public static int Stride => 64;

        public static int Shift(int f) => 6 - (2 * f);
    }

    private readonly struct TQ2_0Layout : ITernaryLayout
    {
        public static int Stride => 66;

        public static int Shift(int f) => 2 * f;
    }

    private readonly struct TernaryDots<TLayout> : ITernaryDots
        where TLayout : struct, ITernaryLayout
    {
        public static int Stride => TLayout.Stride;

        public static int Tokens => 4;

        public static int Dot(byte* w, long rowBytes, int rows, int runs, sbyte* x, long ldx, int tokens, int* dots) => tokens switch
        {
            1 => DotRows<TLayout>(w, rowBytes, rows, runs, x, dots),
            2 => DotRows<TLayout, Two>(w, rowBytes, rows, runs, x, ldx, dots),
            3 => DotRows<TLayout, Three>(w, rowBytes, rows, runs, x, ldx, dots),
            _ => DotRows<TLayout, Four>(w, rowBytes, rows, runs, x, ldx, dots),
        };
    }

    public override void QuantizeRow(float* x, int k, sbyte* q, out float a, out int sum)
    {
        a = QuantizeScale(x, k);
        sum = QuantizeInto(x, k, a, q);
        new Span<sbyte>(q + k, -k & (TernaryPadding - 1)).Clear();
    }

    public override void MatMulTernary(WeightMatrix w, int begin, int end, sbyte* q, long ldq, float* a, int* sums, int n, float* y, long ldy)
    {
        switch (w.Format.Type)
        {
            case QuantType.I2_S:
                TernaryRows.MatMul<TernaryDots<I2_SLayout>, TernaryDots<I2_SLayout>>(w, begin, end, q, ldq, a, sums, n, y, ldy);
                break;
            case QuantType.TQ2_0:
                TernaryRows.MatMul<TernaryDots<TQ2_0Layout>, TernaryDots<I2_SLayout>>(w, begin, end, q, ldq, a, sums, n, y, ldy);
                break;
            default:
                TernaryRows.MatMulUnpacked<TernaryDots<I2_SLayout>>(w, begin, end, q, ldq, a, sums, n, y, ldy);
                break;
        }

        GC.KeepAlive(w);
    }

    /// <summary>One token. Memory-bound: one sequential stream, prefetched.</summary>
    [MethodImpl(Hot)]
    private static int DotRows<TLayout>(byte* w, long rowBytes, int rows, int runs, sbyte* x, int* dots)
        where TLayout : struct, ITernaryLayout
    {
        var differences = 0;
        for (var r = 0; r < rows; r++)
        {
            var p = w + (r * rowBytes);
            var q = x;
            var sum = Vector256<int>.Zero;
            var scale = TLayout.Stride == 64 ? 0 : *(ushort*)(p + 64);
            for (var run = 0; run < runs;)
            {
                // Four steps per run and accumulator.
                var stop = Math.Min(runs, run + (StepsPerLane / 4));
                var even = Vector256<short>.Zero;
                var odd = Vector256<short>.Zero;
                for (; run < stop; run++, p += TLayout.Stride, q += 256)
                {
                    Sse.PrefetchNonTemporal(p + 4096);
                    if (TLayout.Stride != 64)
                    {
                        differences |= *(ushort*)(p + 64) ^ scale;
                    }

                    var v = Vector256.Load(p);
                    even += Avx2.MultiplyAddAdjacent(Digits(v, TLayout.Shift(0)), Vector256.Load(q));
                    odd += Avx2.MultiplyAddAdjacent(Digits(v, TLayout.Shift(1)), Vector256.Load(q + 32));
                    even += Avx2.MultiplyAddAdjacent(Digits(v, TLayout.Shift(2)), Vector256.Load(q + 64));
                    odd += Avx2.MultiplyAddAdjacent(Digits(v, TLayout.Shift(3)), Vector256.Load(q + 96));
                    v = Vector256.Load(p + 32);
                    even += Avx2.MultiplyAddAdjacent(Digits(v, TLayout.Shift(0)), Vector256.Load(q + 128));
                    odd += Avx2.MultiplyAddAdjacent(Digits(v, TLayout.Shift(1)), Vector256.Load(q + 160));
                    even += Avx2.MultiplyAddAdjacent(Digits(v, TLayout.Shift(2)), Vector256.Load(q + 192));
                    odd += Avx2.MultiplyAddAdjacent(Digits(v, TLayout.Shift(3)), Vector256.Load(q + 224));
                }

                sum += Widen(even) + Widen(odd);
            }

            dots[r] = SumLanes(sum, sum, sum, sum).ToScalar();
        }

        return differences;
    }

    /// <summary>Two to four tokens, two rows at a time: up to 8 accumulators of the 16 registers.</summary>
    [MethodImpl(Hot)]
    private static int DotRows<TLayout, TCount>(byte* w, long rowBytes, int rows, int runs, sbyte* x, long ldx, int* dots)
        where TLayout : struct, ITernaryLayout
        where TCount : struct, ICount
    {
        var differences = 0;
        for (var r = 0; r < rows; r += 2)
        {
            // An odd last row is computed twice.
            var p = w + (r * rowBytes);
            var second = r + 1 < rows ? rowBytes : 0;
            var scale = p + 64;
            var ahead = p + (2 * rowBytes) + PrefetchDistance;
            var q = x;
            Vector128<int> sum01 = default, sum23 = default;
            for (var run = 0; run < runs;)
            {
                // Eight steps per run and accumulator.
                var stop = Math.Min(runs, run + (StepsPerLane / 8));
                Vector256<short> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
                for (; run < stop; run++, p += TLayout.Stride, ahead += 2 * TLayout.Stride)
                {
                    Sse.Prefetch0(ahead);
                    Sse.Prefetch0(ahead + 64);
                    if (TLayout.Stride != 64)
                    {
                        differences |= *(ushort*)(p + 64) ^ *(ushort*)scale;
                        differences |= *(ushort*)(p + second + 64) ^ *(ushort*)(scale + second);
                    }

                    for (var half = 0; half < 64; half += 32)
                    {
                        var v = Vector256.Load(p + half);
                        var u = Vector256.Load(p + half + second);
                        for (var f = 0; f < 4; f++, q += 32)
                        {
                            var w0 = Digits(v, TLayout.Shift(0));
                            var w1 = Digits(u, TLayout.Shift(0));
                            v = NextField<TLayout>(v);
                            u = NextField<TLayout>(u);
                            Step<TCount>(0, ref a0, ref b0, w0, w1, q);
                            Step<TCount>(1, ref a1, ref b1, w0, w1, q + ldx);
                            Step<TCount>(2, ref a2, ref b2, w0, w1, q + (2 * ldx));
                            Step<TCount>(3, ref a3, ref b3, w0, w1, q + (3 * ldx));
                        }
                    }
                }

                sum01 += SumLanes(Widen(a0), Widen(b0), Widen(a1), Widen(b1));
                if (TCount.Value > 2)
                {
                    sum23 += SumLanes(Widen(a2), Widen(b2), Widen(a3), Widen(b3));
                }
            }

            sum01.GetLower().Store(dots + r);
            sum01.GetUpper().Store(dots + TernaryRows.Band + r);
            if (TCount.Value > 2)
            {
                sum23.GetLower().Store(dots + (2 * TernaryRows.Band) + r);
            }

            if (TCount.Value > 3)
            {
                sum23.GetUpper().Store(dots + (3 * TernaryRows.Band) + r);
            }
        }

        return differences;
    }

    /// <summary>Two bits of each byte; 16-bit shifts, masked afterwards.</summary>
    [MethodImpl(Inline)]
    private static Vector256<byte> Digits(Vector256<byte> v, int shift) =>
        (shift == 0 ? v : (v.AsUInt16() >>> shift).AsByte()) & Vector256.Create((byte)3);

    /// <summary>Brings field f + 1 to the place of field f.</summary>
    [MethodImpl(Inline)]
    private static Vector256<byte> NextField<TLayout>(Vector256<byte> v)
        where TLayout : struct, ITernaryLayout =>
        (TLayout.Shift(0) == 0 ? v.AsUInt16() >>> 2 : v.AsUInt16() << 2).AsByte();

    /// <summary>Token <paramref name="t"/> with 32 digits of two rows, if there is such a token.</summary>
    [MethodImpl(Inline)]
    private static void Step<TCount>(int t, ref Vector256<short> a, ref Vector256<short> b, Vector256<byte> w0, Vector256<byte> w1, sbyte* x)
        where TCount : struct, ICount
    {
        if (t < TCount.Value)
        {
            var v = Vector256.Load(x);
            a += Avx2.MultiplyAddAdjacent(w0, v);
            b += Avx2.MultiplyAddAdjacent(w1, v);
        }
    }

    [MethodImpl(Inline)]
    private static Vector256<int> Widen(Vector256<short> a) => Avx2.MultiplyAddAdjacent(a, Vector256<short>.One);

    [MethodImpl(Inline)]
    private static Vector128<int> SumLanes(Vector256<int> a, Vector256<int> b, Vector256<int> c, Vector256<int> d)
    {
        var sums = Avx2.HorizontalAdd(Avx2.HorizontalAdd(a, b), Avx2.HorizontalAdd(c, d));
        return sums.GetLower() + sums.GetUpper();
    }

    /// <summary>The multiplier 127 / max(max|x|, 1e-5).</summary>
    [MethodImpl(Hot)]
    private protected static float QuantizeScale(float* x, int k)
    {
        var m0 = Vector256.Create(1e-5f);
        var m1 = m0;
        for (var i = 0; i < k; i += 16)
        {
            m0 = Vector256.Max(m0, Vector256.Abs(Vector256.Load(x + i)));
            m1 = Vector256.Max(m1, Vector256.Abs(Vector256.Load(x + i + 8)));
        }

        m0 = Vector256.Max(m0, m1);
        var quarter = Vector128.Max(m0.GetLower(), m0.GetUpper());
        return 127f / MathF.Max(MathF.Max(quarter[0], quarter[1]), MathF.Max(quarter[2], quarter[3]));
    }

    /// <summary>Rounds and stores in natural order; returns the sum.</summary>
    [MethodImpl(Hot)]
    private static int QuantizeInto(float* x, int k, float a, sbyte* q)
    {
        var scale = Vector256.Create(a);
        var sum = Vector256<int>.Zero;
        for (var i = 0; i < k; i += 32)
        {
            // Rounds to nearest even, the default mode; the saturation of the packs does the clamping.
            var v0 = Avx.ConvertToVector256Int32(Vector256.Load(x + i) * scale);
            var v1 = Avx.ConvertToVector256Int32(Vector256.Load(x + i + 8) * scale);
            var v2 = Avx.ConvertToVector256Int32(Vector256.Load(x + i + 16) * scale);
            var v3 = Avx.ConvertToVector256Int32(Vector256.Load(x + i + 24) * scale);
            sum += v0 + v1 + v2 + v3;
            var bytes = Avx2.PackSignedSaturate(Avx2.PackSignedSaturate(v0, v1), Avx2.PackSignedSaturate(v2, v3));

            // The packs work inside 128-bit halves: quadruples arrive as 0 2 4 6 1 3 5 7.
            Avx2.PermuteVar8x32(bytes.AsInt32(), Vector256.Create(0, 4, 1, 5, 2, 6, 3, 7)).AsSByte().Store(q + i);
        }

        return Vector256.Sum(sum);
    }
}
