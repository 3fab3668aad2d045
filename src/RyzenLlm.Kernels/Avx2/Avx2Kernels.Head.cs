using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Kernels;

// Scores from an int8 copy of the output head: codes sign-extended to 16 bits, vpmaddwd into 32-bit lanes, one stream.
internal unsafe partial class Avx2Kernels
{
    internal override void DotInt8(sbyte* q, int stride, int rows, short* x, int tokens, float* scores)
    {
        if (tokens == 1)
        {
            DotCodes(q, stride, rows, x, scores);
        }
        else
        {
            DotCodes4(q, stride, rows, x, x + stride, x + (Math.Min(2, tokens - 1) * (long)stride), x + ((tokens - 1L) * stride), scores);
        }
    }

    internal override void DecodeRow(WeightMatrix w, int m, float* row)
    {
        if (w.Format.Type == QuantType.F16)
        {
            WidenHalves((short*)(w.Data + (m * w.RowBytes)), w.Columns, row);
            GC.KeepAlive(w);
        }
        else
        {
            base.DecodeRow(w, m, row);
        }
    }

    internal override float PackInt8(float* row, int columns, sbyte* codes, out (double Residual, double Quantised, double Values) squares)
    {
        var whole = columns & ~7;
        var largest = 0f;
        for (var k = whole; k < columns; k++)
        {
            largest = Math.Max(largest, Math.Abs(row[k]));
        }

        var scale = Math.Max(largest, LargestMagnitude(row, whole)) / 127;
        PackInt8(row + whole, columns - whole, scale, codes + whole, out squares);
        PackWhole(row, whole, scale, codes, out var residual, out var quantised, out var values);
        squares = (squares.Residual + residual, squares.Quantised + quantised, squares.Values + values);
        return scale;
    }

    [MethodImpl(Hot)]
    private static float LargestMagnitude(float* x, int n)
    {
        var m = Vector256<float>.Zero;
        for (var i = 0; i < n; i += 8)
        {
            m = Vector256.Max(m, Vector256.Abs(Vector256.Load(x + i)));
        }

        var quarter = Vector128.Max(m.GetLower(), m.GetUpper());
        return MathF.Max(MathF.Max(quarter[0], quarter[1]), MathF.Max(quarter[2], quarter[3]));
    }

    [MethodImpl(Hot)]
    private static void PackWhole(float* row, int columns, float scale, sbyte* codes, out double residual, out double quantised, out double values)
    {
        var inverse = Vector256.Create(scale == 0 ? 0 : 1 / scale);
        var s = Vector256.Create((double)scale);
        Vector256<double> r = default, q = default, v = default;
        for (var k = 0; k < columns; k += 8)
        {
            var w = Vector256.Load(row + k);
            var code = Vector256.Min(Vector256.Max(Avx.ConvertToVector256Int32(w * inverse), Vector256.Create(-127)), Vector256.Create(127));
            var words = Sse2.PackSignedSaturate(code.GetLower(), code.GetUpper());
            *(long*)(codes + k) = Sse2.PackSignedSaturate(words, words).AsInt64().ToScalar();
            Add(w.GetLower(), code.GetLower(), s, ref r, ref q, ref v);
            Add(w.GetUpper(), code.GetUpper(), s, ref r, ref q, ref v);
        }

        residual = Vector256.Sum(r);
        quantised = Vector256.Sum(q);
        values = Vector256.Sum(v);

        [MethodImpl(Inline)]
        static void Add(Vector128<float> w, Vector128<int> code, Vector256<double> s, ref Vector256<double> r, ref Vector256<double> q, ref Vector256<double> v)
        {
            var exact = Avx.ConvertToVector256Double(w);
            var rounded = Avx.ConvertToVector256Double(code) * s;
            var d = exact - rounded;
            r += d * d;
            q += rounded * rounded;
            v += exact * exact;
        }
    }

    [MethodImpl(Hot)]
    private static void WidenHalves(short* x, int n, float* y)
    {
        var i = 0;
        for (; i <= n - 8; i += 8)
        {
            LoadHalves(x + i).Store(y + i);
        }

        for (; i < n; i++)
        {
            y[i] = Half((byte*)(x + i));
        }
    }

    [MethodImpl(Hot)]
    private static void DotCodes(sbyte* q, int stride, int rows, short* x, float* scores)
    {
        for (var r = 0; r < rows; r++, q += stride)
        {
            Vector256<int> a = default, b = default;
            for (var k = 0; k < stride; k += 32)
            {
                Sse.PrefetchNonTemporal(q + k + 4096);
                a += Avx2.MultiplyAddAdjacent(Avx2.ConvertToVector256Int16(Vector128.Load(q + k)), Vector256.Load(x + k));
                b += Avx2.MultiplyAddAdjacent(Avx2.ConvertToVector256Int16(Vector128.Load(q + k + 16)), Vector256.Load(x + k + 16));
            }

            // Lanes of both may not be added as integers: each alone is below 2^31.
            var s = Vector256.ConvertToSingle(a) + Vector256.ConvertToSingle(b);
            scores[4 * r] = SumLanes(s, s, s, s).ToScalar();
        }
    }

    /// <summary>Two to four tokens; missing ones repeat the last and their scores mean nothing.</summary>
    [MethodImpl(Hot)]
    private static void DotCodes4(sbyte* q, int stride, int rows, short* x0, short* x1, short* x2, short* x3, float* scores)
    {
        for (var r = 0; r < rows; r++, q += stride)
        {
            Vector256<int> a = default, b = default, c = default, d = default;
            for (var k = 0; k < stride; k += 16)
            {
                Sse.PrefetchNonTemporal(q + k + 4096);
                var v = Avx2.ConvertToVector256Int16(Vector128.Load(q + k));
                a += Avx2.MultiplyAddAdjacent(v, Vector256.Load(x0 + k));
                b += Avx2.MultiplyAddAdjacent(v, Vector256.Load(x1 + k));
                c += Avx2.MultiplyAddAdjacent(v, Vector256.Load(x2 + k));
                d += Avx2.MultiplyAddAdjacent(v, Vector256.Load(x3 + k));
            }

            SumLanes(Vector256.ConvertToSingle(a), Vector256.ConvertToSingle(b), Vector256.ConvertToSingle(c), Vector256.ConvertToSingle(d)).Store(scores + (4 * r));
        }
    }
}
