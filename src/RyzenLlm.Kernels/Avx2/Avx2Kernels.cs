using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace RyzenLlm.Kernels;

/// <summary>Kernels for processors with AVX2 and FMA, in 256-bit vectors.</summary>
/// <remarks>
/// Kernel methods are leaves: a call behind a loop would make the compiler keep every vector accumulator on the stack, because the calling
/// convention saves no vector register. Helpers are therefore inlined, and the arithmetic that needs calls is a second pass.
/// </remarks>
internal unsafe partial class Avx2Kernels : KernelSet
{
    /// <summary>Leaf kernels are compiled fully at once: they run for microseconds but thousands of times per token.</summary>
    private protected const MethodImplOptions Hot = MethodImplOptions.AggressiveOptimization;

    private protected const MethodImplOptions Inline = MethodImplOptions.AggressiveInlining;

    public static bool IsSupported => Avx2.IsSupported && Fma.IsSupported && Vector256.IsHardwareAccelerated;

    public override string Name => "avx2";

    [MethodImpl(Hot)]
    internal override long ReadAll(byte* p, long bytes)
    {
        Vector256<long> a = default, b = default, c = default, d = default;
        for (long i = 0; i < bytes; i += 128)
        {
            Sse.PrefetchNonTemporal(p + i + 4096);
            Sse.PrefetchNonTemporal(p + i + 4160);
            a += Vector256.Load((long*)(p + i));
            b += Vector256.Load((long*)(p + i + 32));
            c += Vector256.Load((long*)(p + i + 64));
            d += Vector256.Load((long*)(p + i + 96));
        }

        return Vector256.Sum(a + b + (c + d));
    }

    /// <summary>2^112: what a half's bits, moved to a float's places, lack in exponent.</summary>
    private protected const float HalfScale = 5.192296858534828e33f;

    /// <summary>One half as a float; infinities and NaN read as finite.</summary>
    [MethodImpl(Inline)]
    private protected static float Half(byte* p) => BitConverter.Int32BitsToSingle((*(short*)p << 13) & unchecked((int)0x8FFFE000)) * HalfScale;
}
