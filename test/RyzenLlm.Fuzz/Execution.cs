using System.Diagnostics;
using System.Runtime.InteropServices;

namespace RyzenLlm.Fuzz;

/// <summary>What is wrong with an input's treatment.</summary>
/// <param name="Kind"><c>exception</c>, <c>hang</c> or <c>allocation</c>.</param>
/// <param name="Site">Where: equal for findings with one cause.</param>
/// <param name="Detail">For people.</param>
internal sealed record Finding(string Kind, string Site, string Detail);

/// <summary>One input through one target, with the three promises checked.</summary>
internal static unsafe partial class Execution
{
    /// <summary>Longest time that an input may take, of this thread's processor where the system tells it, so that a busy machine does not count.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromSeconds(1);

    /// <summary>Null if every promise holds.</summary>
    public static Finding? Check(FuzzTarget target, byte[] input)
    {
        var finding = Once(target, input);

        // A first call compiles and allocates what stays: bad means bad three times.
        for (var again = 0; again < 2 && finding is { Kind: not "exception" }; again++)
        {
            finding = Once(target, input);
        }

        return finding;
    }

    private static Finding? Once(FuzzTarget target, byte[] input)
    {
        var refused = false;
        var allocated = GC.GetAllocatedBytesForCurrentThread();
        var began = Now();
        try
        {
            target.Run(input);
        }
        catch (Exception e) when (target.IsDocumented(e))
        {
            refused = true;
        }
        catch (Exception e)
        {
            return new("exception", $"{e.GetType().Name} {FrameOf(e)}", e.ToString());
        }

        var took = Now() - began;
        allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
        return took > Longest ? new("hang", target.Name, $"{took.TotalSeconds:0.0} s for {input.Length} bytes")
            : refused && allocated > target.AllocationLimit(input.Length) ? new("allocation", target.Name, $"{allocated} bytes for {input.Length} bytes that are refused")
            : null;
    }

    private static TimeSpan Now()
    {
        const int threadTime = 3; // CLOCK_THREAD_CPUTIME_ID of Linux
        long* time = stackalloc long[2];
        return OperatingSystem.IsLinux() && ClockTime(threadTime, time) == 0
            ? TimeSpan.FromSeconds(time[0]) + TimeSpan.FromMicroseconds(time[1] / 1000.0)
            : Stopwatch.GetElapsedTime(0);
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int ClockTime(int clock, long* time);

    private static string FrameOf(Exception e)
    {
        var frames = (e.StackTrace ?? "").Split('\n');
        return (frames.FirstOrDefault(f => f.Contains("RyzenLlm.", StringComparison.Ordinal) && !f.Contains("RyzenLlm.Fuzz", StringComparison.Ordinal)) ?? frames[0]).Trim();
    }
}
