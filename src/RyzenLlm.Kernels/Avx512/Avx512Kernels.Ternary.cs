using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Kernels;

// Ternary products in place. 64 bytes of an I2_S or TQ2_0 row hold 256 weights as 2-bit digits, four fields f of 64 lanes: lane l of field f is
// weight 128 (l / 32) + 32 f + l % 32. Activations are stored in that order, so the only work on a weight is shift and mask.
//
// sum over k of (digit - 1) q = sum of digit q - sum of q: the digits go through vpmaddubsw (u8 x s8, pairs added in 16 bits).
// A pair is at most 2 * 2 * 127 = 508 and at least 2 * 2 * -128 = -512, so a 16-bit lane takes 64 steps: 64 * 508 = 32512, 64 * -512 = -32768.
// Then vpmaddwd by ones widens to 32 bits, before two such accumulators are added.
internal sealed unsafe partial class Avx512Kernels
{
    private interface ITernaryLayout
    {
        /// <summary>Bytes from one run of 256 weights to the next.</summary>
        static abstract int Stride { get; }

        /// <summary>Place of the field in bits 1-0, then of the one in bits 3-2 and so on: the first, and the step to the next.</summary>
        static abstract (int First, int Step) Fields { get; }

        /// <summary>Digits of field f.</summary>
        static abstract Vector512<byte> Field(Vector512<byte> v, int f);
    }

    private readonly struct I2_SLayout : ITernaryLayout
    {
        public static int Stride => 64;

        public static (int First, int Step) Fields => (3, -1);

        [MethodImpl(Inline)]
        public static Vector512<byte> Field(Vector512<byte> v, int f) => Digits(v, 6 - (2 * f));
    }

    private readonly struct TQ2_0Layout : ITernaryLayout
    {
        public static int Stride => 66;

        public static (int First, int Step) Fields => (0, 1);

        [MethodImpl(Inline)]
        public static Vector512<byte> Field(Vector512<byte> v, int f) => Digits(v, 2 * f);
    }

    public override void QuantizeRow(float* x, int k, sbyte* q, out float a, out int sum)
    {
        a = QuantizeScale(x, k);
        sum = QuantizeInto(x, k, a, q);
    }

    public override void MatMulTernary(WeightMatrix w, int begin, int end, sbyte* q, long ldq, float* a, int* sums, int n, float* y, long ldy)
    {
        switch (w.Format.Type)
        {
            case QuantType.I2_S when n >= PanelsFrom:
                MultiplyPanels<I2_SLayout>(w, begin, end, q, ldq, a, sums, n, y, ldy);
                break;
            case QuantType.TQ2_0 when n >= PanelsFrom:
                MultiplyPanels<TQ2_0Layout>(w, begin, end, q, ldq, a, sums, n, y, ldy);
                break;
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

    private readonly struct TernaryDots<TLayout> : ITernaryDots
        where TLayout : struct, ITernaryLayout
    {
        public static int Stride => TLayout.Stride;

        public static int Take(int left) => left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;

        public static void Dot(byte* w, long rowBytes, int rows, int runs, sbyte* x, long ldx, int tokens, int* dots)
        {
            switch (tokens)
            {
                case 1:
                    DotRows<TLayout>(w, rowBytes, rows, runs, x, dots);
                    break;
                case 2:
                    DotRows2<TLayout>(w, rowBytes, rows, runs, x, ldx, dots);
                    break;
                case 4:
                    DotRows4<TLayout>(w, rowBytes, rows, runs, x, ldx, dots);
                    break;
                default:
                    DotRows8<TLayout>(w, rowBytes, rows, runs, x, ldx, dots);
                    break;
            }
        }
    }

    /// <summary>One token: dots[8 r] = sum of digits times x of row r, dots[8 r + 1] = 0 if its scales are equal. Memory-bound: one sequential stream, prefetched.</summary>
    [MethodImpl(Hot)]
    private static void DotRows<TLayout>(byte* w, long rowBytes, int rows, int runs, sbyte* x, int* dots)
        where TLayout : struct, ITernaryLayout
    {
        for (var r = 0; r < rows; r++)
        {
            var p = w + (r * rowBytes);
            var q = x;
            var sum = Vector512<int>.Zero;
            var differences = 0;
            var scale = TLayout.Stride == 64 ? 0 : *(ushort*)(p + 64);
            for (var run = 0; run < runs;)
            {
                // Two steps per run and accumulator.
                var stop = Math.Min(runs, run + (StepsPerLane / 2));
                var even = Vector512<short>.Zero;
                var odd = Vector512<short>.Zero;
                for (; run < stop; run++, p += TLayout.Stride, q += 256)
                {
                    Sse.PrefetchNonTemporal(p + 4096);
                    if (TLayout.Stride != 64)
                    {
                        differences |= *(ushort*)(p + 64) ^ scale;
                    }

                    var v = Vector512.Load(p);
                    even += Avx512BW.MultiplyAddAdjacent(TLayout.Field(v, 0), Vector512.Load(q));
                    odd += Avx512BW.MultiplyAddAdjacent(TLayout.Field(v, 1), Vector512.Load(q + 64));
                    even += Avx512BW.MultiplyAddAdjacent(TLayout.Field(v, 2), Vector512.Load(q + 128));
                    odd += Avx512BW.MultiplyAddAdjacent(TLayout.Field(v, 3), Vector512.Load(q + 192));
                }

                sum += Widen(even) + Widen(odd);
            }

            dots[r * TernaryRows.Tokens] = SumLanes(sum, sum, sum, sum).ToScalar();
            dots[(r * TernaryRows.Tokens) + 1] = differences;
        }
    }

    /// <summary>Two tokens, one row at a time.</summary>
    [MethodImpl(Hot)]
    private static void DotRows2<TLayout>(byte* w, long rowBytes, int rows, int runs, sbyte* x, long ldx, int* dots)
        where TLayout : struct, ITernaryLayout
    {
        for (var r = 0; r < rows; r++)
        {
            var p = w + (r * rowBytes);
            var q = x;
            var sum0 = Vector512<int>.Zero;
            var sum1 = Vector512<int>.Zero;
            for (var run = 0; run < runs;)
            {
                var stop = Math.Min(runs, run + (StepsPerLane / 4));
                var a0 = Vector512<short>.Zero;
                var a1 = Vector512<short>.Zero;
                for (; run < stop; run++, p += TLayout.Stride, q += 256)
                {
                    Sse.PrefetchNonTemporal(p + 4096);
                    var v = Vector512.Load(p);
                    Step(ref a0, ref a1, TLayout.Field(v, 0), q, ldx);
                    Step(ref a0, ref a1, TLayout.Field(v, 1), q + 64, ldx);
                    Step(ref a0, ref a1, TLayout.Field(v, 2), q + 128, ldx);
                    Step(ref a0, ref a1, TLayout.Field(v, 3), q + 192, ldx);
                }

                sum0 += Widen(a0);
                sum1 += Widen(a1);
            }

            Vector128.Store(SumLanes(sum0, sum1, sum0, sum1), dots + (r * TernaryRows.Tokens));
        }
    }

    /// <summary>Four tokens, two rows at a time: 8 products for 4 loads of activations, where one row would wait for its loads.</summary>
    [MethodImpl(Hot)]
    private static void DotRows4<TLayout>(byte* w, long rowBytes, int rows, int runs, sbyte* x, long ldx, int* dots)
        where TLayout : struct, ITernaryLayout
    {
        for (var r = 0; r < rows; r += 2)
        {
            // An odd last row is computed twice.
            var p = w + (r * rowBytes);
            var second = r + 1 < rows ? rowBytes : 0;
            var q = x;
            var sumA = Vector128<int>.Zero;
            var sumB = Vector128<int>.Zero;
            for (var run = 0; run < runs;)
            {
                var stop = Math.Min(runs, run + (StepsPerLane / 4));
                Vector512<short> a0 = default, a1 = default, a2 = default, a3 = default;
                Vector512<short> b0 = default, b1 = default, b2 = default, b3 = default;
                for (; run < stop; run++, p += TLayout.Stride, q += 256)
                {
                    Sse.Prefetch0(p + 4096);
                    Sse.Prefetch0(p + second + 4096);
                    var v = Vector512.Load(p);
                    var u = Vector512.Load(p + second);
                    var z = q + (64 * TLayout.Fields.First);
                    for (var f = 0; f < 4; f++, z += 64 * TLayout.Fields.Step)
                    {
                        var w0 = Digits(v, 0);
                        var w1 = Digits(u, 0);
                        v = (v.AsUInt16() >>> 2).AsByte();
                        u = (u.AsUInt16() >>> 2).AsByte();
                        Step2(ref a0, ref b0, w0, w1, z);
                        Step2(ref a1, ref b1, w0, w1, z + ldx);
                        Step2(ref a2, ref b2, w0, w1, z + (2 * ldx));
                        Step2(ref a3, ref b3, w0, w1, z + (3 * ldx));
                    }
                }

                sumA += SumLanes(Widen(a0), Widen(a1), Widen(a2), Widen(a3));
                sumB += SumLanes(Widen(b0), Widen(b1), Widen(b2), Widen(b3));
            }

            Vector128.Store(sumA, dots + (r * TernaryRows.Tokens));
            if (second != 0)
            {
                Vector128.Store(sumB, dots + ((r + 1) * TernaryRows.Tokens));
            }
        }
    }

    /// <summary>Eight tokens, two rows at a time: 16 accumulators, shift and mask of a weight shared by eight products.</summary>
    [MethodImpl(Hot)]
    private static void DotRows8<TLayout>(byte* w, long rowBytes, int rows, int runs, sbyte* x, long ldx, int* dots)
        where TLayout : struct, ITernaryLayout
    {
        for (var r = 0; r < rows; r += 2)
        {
            // An odd last row is computed twice.
            var p = w + (r * rowBytes);
            var second = r + 1 < rows ? rowBytes : 0;
            var q = x;
            var lowA = Vector128<int>.Zero;
            var highA = Vector128<int>.Zero;
            var lowB = Vector128<int>.Zero;
            var highB = Vector128<int>.Zero;
            for (var run = 0; run < runs;)
            {
                var stop = Math.Min(runs, run + (StepsPerLane / 4));
                Vector512<short> a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
                Vector512<short> b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default, b6 = default, b7 = default;
                for (; run < stop; run++, p += TLayout.Stride, q += 256)
                {
                    Sse.Prefetch0(p + 4096);
                    Sse.Prefetch0(p + second + 4096);
                    var v = Vector512.Load(p);
                    var u = Vector512.Load(p + second);
                    var l2 = 2 * ldx;
                    var l3 = 3 * ldx;
                    var z = q + (64 * TLayout.Fields.First);
                    for (var f = 0; f < 4; f++, z += 64 * TLayout.Fields.Step)
                    {
                        var w0 = Digits(v, 0);
                        var w1 = Digits(u, 0);
                        v = (v.AsUInt16() >>> 2).AsByte();
                        u = (u.AsUInt16() >>> 2).AsByte();
                        var q4 = z + (4 * ldx);
                        Step2(ref a0, ref b0, w0, w1, z);
                        Step2(ref a1, ref b1, w0, w1, z + ldx);
                        Step2(ref a2, ref b2, w0, w1, z + l2);
                        Step2(ref a3, ref b3, w0, w1, z + l3);
                        Step2(ref a4, ref b4, w0, w1, q4);
                        Step2(ref a5, ref b5, w0, w1, q4 + ldx);
                        Step2(ref a6, ref b6, w0, w1, q4 + l2);
                        Step2(ref a7, ref b7, w0, w1, q4 + l3);
                    }
                }

                lowA += SumLanes(Widen(a0), Widen(a1), Widen(a2), Widen(a3));
                highA += SumLanes(Widen(a4), Widen(a5), Widen(a6), Widen(a7));
                lowB += SumLanes(Widen(b0), Widen(b1), Widen(b2), Widen(b3));
                highB += SumLanes(Widen(b4), Widen(b5), Widen(b6), Widen(b7));
            }

            Vector128.Store(lowA, dots + (r * TernaryRows.Tokens));
            Vector128.Store(highA, dots + (r * TernaryRows.Tokens) + 4);
            if (second != 0)
            {
                Vector128.Store(lowB, dots + ((r + 1) * TernaryRows.Tokens));
                Vector128.Store(highB, dots + ((r + 1) * TernaryRows.Tokens) + 4);
            }
        }
    }

    /// <summary>Two bits of each byte; 16-bit shifts, masked afterwards.</summary>
    [MethodImpl(Inline)]
    private static Vector512<byte> Digits(Vector512<byte> v, int shift) =>
        (shift == 0 ? v : (v.AsUInt16() >>> shift).AsByte()) & Vector512.Create((byte)3);

    [MethodImpl(Inline)]
    private static void Step(ref Vector512<short> a, ref Vector512<short> b, Vector512<byte> w, sbyte* x, long ldx)
    {
        a += Avx512BW.MultiplyAddAdjacent(w, Vector512.Load(x));
        b += Avx512BW.MultiplyAddAdjacent(w, Vector512.Load(x + ldx));
    }

    [MethodImpl(Inline)]
    private static void Step2(ref Vector512<short> a, ref Vector512<short> b, Vector512<byte> w0, Vector512<byte> w1, sbyte* x)
    {
        var v = Vector512.Load(x);
        a += Avx512BW.MultiplyAddAdjacent(w0, v);
        b += Avx512BW.MultiplyAddAdjacent(w1, v);
    }

    [MethodImpl(Inline)]
    private static Vector512<int> Widen(Vector512<short> a) => Avx512BW.MultiplyAddAdjacent(a, Vector512<short>.One);

    /// <summary>Rounds and stores each group of 128 as four pieces of 32, one per field; returns the sum.</summary>
    [MethodImpl(Hot)]
    private static int QuantizeInto(float* x, int k, float a, sbyte* q)
    {
        var scale = Vector512.Create(a);
        var sum = Vector512<int>.Zero;
        for (var i = 0; i < k; i += 32)
        {
            // Rounds to nearest even, the default mode; saturation does the clamping.
            var low = Avx512F.ConvertToVector512Int32(Vector512.Load(x + i) * scale);
            var high = Avx512F.ConvertToVector512Int32(Vector512.Load(x + i + 16) * scale);
            sum += low + high;
            var to = q + (i & ~255) + ((i & 96) * 2) + ((i & 128) / 4);
            Vector128.Store(Avx512F.ConvertToVector128SByteWithSaturation(low), to);
            Vector128.Store(Avx512F.ConvertToVector128SByteWithSaturation(high), to + 16);
        }

        if ((k & 128) != 0)
        {
            // The second half of every field of the last run: weights behind the row's end meet zeros.
            var last = q + (k & ~255) + 32;
            for (var f = 0; f < 4; f++)
            {
                Vector256<sbyte>.Zero.Store(last + (f * 64));
            }
        }

        return Vector512.Sum(sum);
    }
}
