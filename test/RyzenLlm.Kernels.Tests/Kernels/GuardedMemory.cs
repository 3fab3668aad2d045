using System.Runtime.InteropServices;

namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>At which end of a buffer the page begins that cannot be touched.</summary>
public enum Guard
{
    Before,
    Behind,
}

/// <summary>Bytes that touch a page which can be neither read nor written: one step outside ends the process.</summary>
internal sealed unsafe partial class GuardedMemory : IDisposable
{
    private readonly byte* _map;
    private readonly nint _length;

    /// <param name="bytes">Length.</param>
    /// <param name="guard">Where the page lies.</param>
    /// <param name="spare">Bytes between the end and the page behind it that may be read: those that a native buffer has behind its end.</param>
    public GuardedMemory(long bytes, Guard guard, int spare = 0)
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Ignore("Needs mmap for a page that cannot be read.");
        }

        var page = Environment.SystemPageSize;
        var inner = (nint)((bytes + spare + page - 1) / page * page);
        _length = inner + (2 * page);
        _map = Map(null, _length, 3, 0x22, -1, 0);
        Assert.That((nint)_map, Is.Not.EqualTo((nint)(-1)), "mmap");
        Assert.That(Protect(_map, page, 0) | Protect(_map + page + inner, page, 0), Is.Zero, "mprotect");
        Length = bytes;
        Pointer = guard == Guard.Before ? _map + page : _map + page + inner - bytes - spare;
    }

    public byte* Pointer { get; }

    public float* Floats => (float*)Pointer;

    public long Length { get; }

    public Span<byte> Span => new(Pointer, checked((int)Length));

    public static GuardedMemory Of<T>(ReadOnlySpan<T> values, Guard guard, int spare = 0)
        where T : unmanaged
    {
        var bytes = MemoryMarshal.AsBytes(values);
        var memory = new GuardedMemory(bytes.Length, guard, spare);
        bytes.CopyTo(memory.Span);
        return memory;
    }

    public void Dispose() => _ = Unmap(_map, _length);

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial byte* Map(void* address, nint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Protect(byte* address, nint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(byte* address, nint length);
}
