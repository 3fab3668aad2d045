using System.Runtime.InteropServices;

namespace RyzenLlm.Kernels.Memory;

/// <summary>
/// Unmanaged memory, zeroed unless asked otherwise, aligned to a cache line and followed by a spare one, for data that kernels touch by pointer.
/// Large buffers ask for pages of 2 MiB.
/// </summary>
public sealed unsafe class NativeBuffer<T> : IDisposable
    where T : unmanaged
{
    private const nuint Alignment = 64;

    /// <summary>Allocates <paramref name="length"/> elements.</summary>
    /// <param name="length">Elements.</param>
    /// <param name="zeroed">False leaves the contents open, so that memory fills only as it is written.</param>
    /// <exception cref="OutOfMemoryException">The system has no such memory.</exception>
    public NativeBuffer(long length, bool zeroed = true)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        var bytes = checked(((nuint)length * (nuint)sizeof(T)) + Alignment);
        Length = length;
        Pointer = (T*)NativeMemory.AlignedAlloc(bytes, Alignment);
        if (bytes >= Pages.HugeBytes)
        {
            Pages.PreferHuge((byte*)Pointer, (long)bytes);
        }

        if (zeroed)
        {
            NativeMemory.Clear(Pointer, bytes);
        }

        GC.AddMemoryPressure((long)bytes);
    }

    ~NativeBuffer() => Free();

    /// <summary>First element; null after disposal.</summary>
    public T* Pointer { get; private set; }

    /// <summary>Number of elements.</summary>
    public long Length { get; }

    /// <summary>The elements as a span.</summary>
    /// <exception cref="ObjectDisposedException">The buffer was disposed of.</exception>
    public Span<T> Span
    {
        get
        {
            ObjectDisposedException.ThrowIf(Pointer == null, this);
            return new Span<T>(Pointer, checked((int)Length));
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        if (Pointer != null)
        {
            NativeMemory.AlignedFree(Pointer);
            GC.RemoveMemoryPressure((long)(((nuint)Length * (nuint)sizeof(T)) + Alignment));
            Pointer = null;
        }
    }
}
