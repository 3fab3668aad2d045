using System.Runtime.InteropServices;

namespace RyzenLlm.Kernels.Formats;

/// <summary>Native memory, zeroed, aligned to a cache line, freed when nothing refers to this object any more.</summary>
public sealed unsafe class AlignedMemory
{
    /// <summary>Alignment in bytes: one cache line, one 512-bit vector.</summary>
    public const int Alignment = 64;

    /// <summary>Allocates <paramref name="bytes"/> bytes.</summary>
    public AlignedMemory(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        Bytes = bytes;
        Pointer = (byte*)NativeMemory.AlignedAlloc((nuint)Math.Max(bytes, 1), Alignment);
        NativeMemory.Clear(Pointer, (nuint)bytes);
        if (bytes > 0)
        {
            GC.AddMemoryPressure(bytes);
        }
    }

    /// <summary>Frees the memory.</summary>
    ~AlignedMemory()
    {
        NativeMemory.AlignedFree(Pointer);
        if (Bytes > 0)
        {
            GC.RemoveMemoryPressure(Bytes);
        }
    }

    /// <summary>First byte. Valid while this object is reachable.</summary>
    public byte* Pointer { get; }

    /// <summary>Size in bytes.</summary>
    public long Bytes { get; }
}
