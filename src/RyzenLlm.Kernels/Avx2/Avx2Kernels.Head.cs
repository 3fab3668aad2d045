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
