using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace RyzenLlm.Kernels;

// Scores from an int8 copy of the output head: codes sign-extended to 16 bits, vpmaddwd into 32-bit lanes, one stream.
internal sealed unsafe partial class Avx512Kernels
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

    [MethodImpl(Hot)]
    private static void DotCodes(sbyte* q, int stride, int rows, short* x, float* scores)
    {
        for (var r = 0; r < rows; r++, q += stride)
        {
            Vector512<int> a = default, b = default;
            for (var k = 0; k < stride; k += 64)
            {
                Sse.PrefetchNonTemporal(q + k + 4096);
                a += Avx512BW.MultiplyAddAdjacent(Avx512BW.ConvertToVector512Int16(Vector256.Load(q + k)), Vector512.Load(x + k));
                b += Avx512BW.MultiplyAddAdjacent(Avx512BW.ConvertToVector512Int16(Vector256.Load(q + k + 32)), Vector512.Load(x + k + 32));
            }

            // Lanes of both may not be added as integers: each alone is below 2^31.
            var s = Vector512.ConvertToSingle(a) + Vector512.ConvertToSingle(b);
            scores[4 * r] = SumLanes(s, s, s, s).ToScalar();
        }
    }

    /// <summary>Two to four tokens; missing ones repeat the last and their scores mean nothing.</summary>
    [MethodImpl(Hot)]
    private static void DotCodes4(sbyte* q, int stride, int rows, short* x0, short* x1, short* x2, short* x3, float* scores)
    {
        for (var r = 0; r < rows; r++, q += stride)
        {
            Vector512<int> a = default, b = default, c = default, d = default;
            for (var k = 0; k < stride; k += 32)
            {
                Sse.PrefetchNonTemporal(q + k + 4096);
                var v = Avx512BW.ConvertToVector512Int16(Vector256.Load(q + k));
                a += Avx512BW.MultiplyAddAdjacent(v, Vector512.Load(x0 + k));
                b += Avx512BW.MultiplyAddAdjacent(v, Vector512.Load(x1 + k));
                c += Avx512BW.MultiplyAddAdjacent(v, Vector512.Load(x2 + k));
                d += Avx512BW.MultiplyAddAdjacent(v, Vector512.Load(x3 + k));
            }

            SumLanes(Vector512.ConvertToSingle(a), Vector512.ConvertToSingle(b), Vector512.ConvertToSingle(c), Vector512.ConvertToSingle(d)).Store(scores + (4 * r));
        }
    }
}
