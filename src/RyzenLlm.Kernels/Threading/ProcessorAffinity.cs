using System.Runtime.InteropServices;

namespace RyzenLlm.Kernels.Threading;

/// <summary>Ties threads to processors where the system offers it (Linux).</summary>
internal static unsafe partial class ProcessorAffinity
{
    // cpu_set_t of the C library: 1024 bits.
    private const int Words = 16;

    /// <summary>Whether pinning has an effect here.</summary>
    public static bool IsSupported => OperatingSystem.IsLinux();

    /// <summary>
    /// Ties the calling thread to one of the processors that this process may use, the <paramref name="fromLast"/>-th counted from the last.
    /// Leaves the thread as it is where the system refuses or has no such processor.
    /// </summary>
    public static bool PinCurrentThread(int fromLast)
    {
        if (!IsSupported)
        {
            return false;
        }

        var allowed = stackalloc ulong[Words];
        if (GetAffinity(0, Words * sizeof(ulong), allowed) < 0)
        {
            return false;
        }

        for (var cpu = (Words * 64) - 1; cpu >= 0; cpu--)
        {
            if ((allowed[cpu / 64] >> (cpu % 64) & 1) != 0 && fromLast-- == 0)
            {
                new Span<ulong>(allowed, Words).Clear();
                allowed[cpu / 64] = 1ul << (cpu % 64);
                return SetAffinity(0, Words * sizeof(ulong), allowed) == 0;
            }
        }

        return false;
    }

    [LibraryImport("libc", EntryPoint = "sched_getaffinity")]
    private static partial int GetAffinity(int thread, nint size, ulong* mask);

    [LibraryImport("libc", EntryPoint = "sched_setaffinity")]
    private static partial int SetAffinity(int thread, nint size, ulong* mask);
}
