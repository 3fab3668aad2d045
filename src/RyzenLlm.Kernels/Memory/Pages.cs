using System.Runtime.InteropServices;

namespace RyzenLlm.Kernels.Memory;

/// <summary>Advice to the system about ranges of memory; without effect where the system offers none (anything but Linux).</summary>
internal static unsafe partial class Pages
{
    // Values of <sys/mman.h> on Linux.
    private const int DontNeed = 4;
    private const int HugePage = 14;

    /// <summary>Buffers from this size on are worth pages of 2 MiB.</summary>
    public const long HugeBytes = 2L << 20;

    /// <summary>
    /// Lets go of whole pages of a file mapped for reading: they no longer count as resident, and the next access takes them from the file's
    /// cache again. Never for memory that is not backed by a file: its contents would be lost.
    /// </summary>
    public static void Release(byte* p, long bytes) => Advise(p, bytes, DontNeed);

    /// <summary>Asks for pages of 2 MiB: fewer faults at first touch, fewer misses of the address cache.</summary>
    public static void PreferHuge(byte* p, long bytes) => Advise(p, bytes, HugePage);

    private static void Advise(byte* p, long bytes, int advice)
    {
        var page = (nuint)Environment.SystemPageSize;
        var begin = ((nuint)p + page - 1) & ~(page - 1);
        var end = ((nuint)p + (nuint)bytes) & ~(page - 1);
        if (OperatingSystem.IsLinux() && end > begin)
        {
            _ = MemoryAdvice((void*)begin, end - begin, advice); // advice: a refusal changes nothing
        }
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int MemoryAdvice(void* address, nuint length, int advice);
}
