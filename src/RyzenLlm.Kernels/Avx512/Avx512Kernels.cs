using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace RyzenLlm.Kernels;

/// <summary>
/// Kernels for processors with AVX-512 F, BW, DQ and VL: products, attention and state updates in 512-bit vectors; what is left
/// (norms, activations, rotation) stays on the 256-bit path, where it is no longer the bottleneck.
/// </summary>
/// <remarks>
/// Kernel methods are leaves: a call behind a loop would make the compiler keep every vector accumulator on the stack, because the calling
/// convention saves no vector register. Helpers are therefore inlined, and the arithmetic that needs calls is a second pass.
/// </remarks>
internal sealed unsafe partial class Avx512Kernels : Avx2Kernels
{
    public static new bool IsSupported => Avx2Kernels.IsSupported && Avx512F.IsSupported && Avx512BW.IsSupported && Avx512DQ.IsSupported && Avx512F.VL.IsSupported && Vector512.IsHardwareAccelerated;

    public override string Name => "avx512";

    [MethodImpl(Hot)]
    internal override long ReadAll(byte* p, long bytes)
    {
        Vector512<long> a = default, b = default, c = default, d = default;
        for (long i = 0; i < bytes; i += 256)
        {
            Sse.PrefetchNonTemporal(p + i + 4096);
            Sse.PrefetchNonTemporal(p + i + 4160);
            Sse.PrefetchNonTemporal(p + i + 4224);
            Sse.PrefetchNonTemporal(p + i + 4288);
            a += Vector512.Load((long*)(p + i));
            b += Vector512.Load((long*)(p + i + 64));
            c += Vector512.Load((long*)(p + i + 128));
            d += Vector512.Load((long*)(p + i + 192));
        }

        return Vector512.Sum(a + b + (c + d));
    }

    /// <summary>Sums of the lanes of four vectors, all in the same tree: (0+2)+(1+3) inside each quarter, then quarters (0+2)+(1+3).</summary>
    [MethodImpl(Inline)]
    private static Vector128<int> SumLanes(Vector512<int> a, Vector512<int> b, Vector512<int> c, Vector512<int> d)
    {
        var ab = Avx512F.UnpackLow(a, b) + Avx512F.UnpackHigh(a, b);
        var cd = Avx512F.UnpackLow(c, d) + Avx512F.UnpackHigh(c, d);
        var quarters = Avx512F.UnpackLow(ab.AsInt64(), cd.AsInt64()).AsInt32() + Avx512F.UnpackHigh(ab.AsInt64(), cd.AsInt64()).AsInt32();
        var halves = quarters.GetLower() + quarters.GetUpper();
        return halves.GetLower() + halves.GetUpper();
    }

    /// <inheritdoc cref="SumLanes(Vector512{int}, Vector512{int}, Vector512{int}, Vector512{int})"/>
    [MethodImpl(Inline)]
    private static Vector128<float> SumLanes(Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d)
    {
        var quarters = SumInQuarters(a, b, c, d);
        var halves = quarters.GetLower() + quarters.GetUpper();
        return halves.GetLower() + halves.GetUpper();
    }

    /// <summary>The first part of that tree: the sums inside each quarter, [quarter][vector].</summary>
    [MethodImpl(Inline)]
    private static Vector512<float> SumInQuarters(Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d)
    {
        var ab = Avx512F.UnpackLow(a, b) + Avx512F.UnpackHigh(a, b);
        var cd = Avx512F.UnpackLow(c, d) + Avx512F.UnpackHigh(c, d);
        return Avx512F.UnpackLow(ab.AsDouble(), cd.AsDouble()).AsSingle() + Avx512F.UnpackHigh(ab.AsDouble(), cd.AsDouble()).AsSingle();
    }
}
