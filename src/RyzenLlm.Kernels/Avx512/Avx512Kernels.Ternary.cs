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

        public static int Tokens => TernaryRows.Tokens;

        public static int Dot(byte* w, long rowBytes, int rows, int runs, sbyte* x, long ldx, int tokens, int* dots) => tokens switch
        {
            1 => DotRows<TLayout>(w, rowBytes, rows, runs, x, dots),
            2 => DotRows<TLayout, Two>(w, rowBytes, rows, runs, x, ldx, dots),
            3 => DotRows<TLayout, Three>(w, rowBytes, rows, runs, x, ldx, dots),
            4 => DotRows<TLayout, Four>(w, rowBytes, rows, runs, x, ldx, dots),
            5 => DotRows<TLayout, Five>(w, rowBytes, rows, runs, x, ldx, dots),
            6 => DotRows<TLayout, Six>(w, rowBytes, rows, runs, x, ldx, dots),
            7 => DotRows<TLayout, Seven>(w, rowBytes, rows, runs, x, ldx, dots),
            _ => DotRows<TLayout, Eight>(w, rowBytes, rows, runs, x, ldx, dots),
        };
    }

    /// <summary>
    /// One token, four rows at a time, which share its loads and the sum across lanes. Digits in bits 3-2 are left there, as 0, 4 or 8, and so are those
    /// of bits 7-6 after one shift for two fields. A pair of them is at most 2 * 8 * 127 = 2032, at least 2 * 8 * -128 = -2048: a lane takes 16
    /// (32512, -32768), one per run; with a quarter of two such lanes the plain fields then make 64 steps.
    /// </summary>
    [MethodImpl(Hot)]
    private static int DotRows<TLayout>(byte* w, long rowBytes, int rows, int runs, sbyte* x, int* dots)
        where TLayout : struct, ITernaryLayout
    {
        var differences = 0;
        for (var r = 0; r < rows; r += 4)
        {
            // Rows behind the last repeat it.
            var p0 = w + (r * rowBytes);
            var p1 = r + 1 < rows ? p0 + rowBytes : p0;
            var p2 = r + 2 < rows ? p1 + rowBytes : p1;
            var p3 = r + 3 < rows ? p2 + rowBytes : p2;
            var ahead = p0 + (4 * rowBytes) + PrefetchDistance;
            var (s0, s1, s2, s3) = (Vector512<int>.Zero, Vector512<int>.Zero, Vector512<int>.Zero, Vector512<int>.Zero);
            var z = x + (64 * TLayout.Fields.First);
            var at = 0L;
            for (var run = 0; run < runs;)
            {
                var stop = Math.Min(runs, run + (StepsPerLane / 4));
                Vector512<short> a0 = default, a1 = default, a2 = default, a3 = default;
                Vector512<short> b0 = default, b1 = default, b2 = default, b3 = default;
                Vector512<short> c0 = default, c1 = default, c2 = default, c3 = default;
                for (; run < stop; run++, at += TLayout.Stride, ahead += 4 * TLayout.Stride, z += 256)
                {
                    Sse.Prefetch0(ahead);
                    Sse.Prefetch0(ahead + 64);
                    Sse.Prefetch0(ahead + 128);
                    Sse.Prefetch0(ahead + 192);
                    if (TLayout.Stride != 64)
                    {
                        differences |= *(ushort*)(p0 + at + 64) ^ *(ushort*)(p0 + 64);
                        differences |= *(ushort*)(p1 + at + 64) ^ *(ushort*)(p1 + 64);
                        differences |= *(ushort*)(p2 + at + 64) ^ *(ushort*)(p2 + 64);
                        differences |= *(ushort*)(p3 + at + 64) ^ *(ushort*)(p3 + 64);
                    }

                    var q0 = Vector512.Load(z);
                    var q1 = Vector512.Load(z + (64 * TLayout.Fields.Step));
                    var q2 = Vector512.Load(z + (128 * TLayout.Fields.Step));
                    var q3 = Vector512.Load(z + (192 * TLayout.Fields.Step));
                    Run(ref a0, ref b0, ref c0, Vector512.Load(p0 + at), q0, q1, q2, q3);
                    Run(ref a1, ref b1, ref c1, Vector512.Load(p1 + at), q0, q1, q2, q3);
                    Run(ref a2, ref b2, ref c2, Vector512.Load(p2 + at), q0, q1, q2, q3);
                    Run(ref a3, ref b3, ref c3, Vector512.Load(p3 + at), q0, q1, q2, q3);
                }

                s0 += Widen(a0 + (b0 >> 2) + (c0 >> 2));
                s1 += Widen(a1 + (b1 >> 2) + (c1 >> 2));
                s2 += Widen(a2 + (b2 >> 2) + (c2 >> 2));
                s3 += Widen(a3 + (b3 >> 2) + (c3 >> 2));
            }

            SumLanes(s0, s1, s2, s3).Store(dots + r);
        }

        return differences;
    }

    /// <summary>256 weights of one row and token: a takes the fields in bits 1-0 and 5-4, b and c four times those in bits 3-2 and 7-6.</summary>
    [MethodImpl(Inline)]
    private static void Run(
        ref Vector512<short> a, ref Vector512<short> b, ref Vector512<short> c, Vector512<byte> v, Vector512<sbyte> q0, Vector512<sbyte> q1, Vector512<sbyte> q2, Vector512<sbyte> q3)
    {
        var high = (v.AsUInt16() >>> 4).AsByte();
        a += Avx512BW.MultiplyAddAdjacent(v & Vector512.Create((byte)3), q0);
        b += Avx512BW.MultiplyAddAdjacent(v & Vector512.Create((byte)12), q1);
        a += Avx512BW.MultiplyAddAdjacent(high & Vector512.Create((byte)3), q2);
        c += Avx512BW.MultiplyAddAdjacent(high & Vector512.Create((byte)12), q3);
    }

    /// <summary>
    /// Two to eight tokens, two rows at a time: a load of activations serves two products, shift and mask of a weight all tokens.
    /// </summary>
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
            var q = x + (64 * TLayout.Fields.First);
            Vector128<int> sum01 = default, sum23 = default, sum45 = default, sum67 = default;
            for (var run = 0; run < runs;)
            {
                var stop = Math.Min(runs, run + (StepsPerLane / 4));
                Vector512<short> a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
                Vector512<short> b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default, b6 = default, b7 = default;
                for (; run < stop; run++, p += TLayout.Stride, q += 256, ahead += 2 * TLayout.Stride)
                {
                    Sse.Prefetch0(ahead);
                    Sse.Prefetch0(ahead + 64);
                    if (TLayout.Stride != 64)
                    {
                        differences |= *(ushort*)(p + 64) ^ *(ushort*)scale;
                        differences |= *(ushort*)(p + second + 64) ^ *(ushort*)(scale + second);
                    }

                    var v = Vector512.Load(p);
                    var u = Vector512.Load(p + second);
                    var z = q;
                    for (var f = 0; f < 4; f++, z += 64 * TLayout.Fields.Step)
                    {
                        var w0 = v & Vector512.Create((byte)3);
                        var w1 = u & Vector512.Create((byte)3);
                        v = (v.AsUInt16() >>> 2).AsByte();
                        u = (u.AsUInt16() >>> 2).AsByte();
                        StepQuad<TCount>(0, ref a0, ref b0, ref a1, ref b1, ref a2, ref b2, ref a3, ref b3, w0, w1, z, ldx);
                        StepQuad<TCount>(4, ref a4, ref b4, ref a5, ref b5, ref a6, ref b6, ref a7, ref b7, w0, w1, z + (4 * ldx), ldx);
                    }
                }

                AddPairs<TCount>(0, ref sum01, a0, b0, a1, b1);
                AddPairs<TCount>(2, ref sum23, a2, b2, a3, b3);
                AddPairs<TCount>(4, ref sum45, a4, b4, a5, b5);
                AddPairs<TCount>(6, ref sum67, a6, b6, a7, b7);
            }

            StorePairs<TCount>(0, sum01, dots + r);
            StorePairs<TCount>(2, sum23, dots + r);
            StorePairs<TCount>(4, sum45, dots + r);
            StorePairs<TCount>(6, sum67, dots + r);
        }

        return differences;
    }

    /// <summary>Tokens t .. t + 3, those that there are, with 64 digits of two rows. Products first, then sums: in turn, sums would take the ports of the multipliers.</summary>
    [MethodImpl(Inline)]
    private static void StepQuad<TCount>(
        int t, ref Vector512<short> a0, ref Vector512<short> b0, ref Vector512<short> a1, ref Vector512<short> b1, ref Vector512<short> a2, ref Vector512<short> b2, ref Vector512<short> a3, ref Vector512<short> b3,
        Vector512<byte> w0, Vector512<byte> w1, sbyte* x, long ldx)
        where TCount : struct, ICount
    {
        Vector512<short> p0 = default, p1 = default, p2 = default, p3 = default, q0 = default, q1 = default, q2 = default, q3 = default;
        Products<TCount>(t, w0, w1, x, ref p0, ref q0);
        Products<TCount>(t + 1, w0, w1, x + ldx, ref p1, ref q1);
        Products<TCount>(t + 2, w0, w1, x + (2 * ldx), ref p2, ref q2);
        Products<TCount>(t + 3, w0, w1, x + (3 * ldx), ref p3, ref q3);
        a0 += p0;
        b0 += q0;
        a1 += p1;
        b1 += q1;
        a2 += p2;
        b2 += q2;
        a3 += p3;
        b3 += q3;
    }

    [MethodImpl(Inline)]
    private static void Products<TCount>(int t, Vector512<byte> w0, Vector512<byte> w1, sbyte* x, ref Vector512<short> p, ref Vector512<short> q)
        where TCount : struct, ICount
    {
        if (t < TCount.Value)
        {
            var v = Vector512.Load(x);
            p = Avx512BW.MultiplyAddAdjacent(w0, v);
            q = Avx512BW.MultiplyAddAdjacent(w1, v);
        }
    }

    /// <summary>Adds the sums of two rows for token t, then for the next.</summary>
    [MethodImpl(Inline)]
    private static void AddPairs<TCount>(int t, ref Vector128<int> sums, Vector512<short> a, Vector512<short> b, Vector512<short> nextA, Vector512<short> nextB)
        where TCount : struct, ICount
    {
        if (t < TCount.Value)
        {
            sums += SumLanes(Widen(a), Widen(b), Widen(nextA), Widen(nextB));
        }
    }

    [MethodImpl(Inline)]
    private static void StorePairs<TCount>(int t, Vector128<int> sums, int* dots)
        where TCount : struct, ICount
    {
        if (t < TCount.Value)
        {
            sums.GetLower().Store(dots + (t * TernaryRows.Band));
        }

        if (t + 1 < TCount.Value)
        {
            sums.GetUpper().Store(dots + ((t + 1) * TernaryRows.Band));
        }
    }

    /// <summary>Two bits of each byte; 16-bit shifts, masked afterwards.</summary>
    [MethodImpl(Inline)]
    private static Vector512<byte> Digits(Vector512<byte> v, int shift) =>
        (shift == 0 ? v : (v.AsUInt16() >>> shift).AsByte()) & Vector512.Create((byte)3);

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
