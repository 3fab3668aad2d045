using System.Runtime.InteropServices;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// Tells when the process that started this one has ended. A client that dies usually closes standard input with it, but not where another
/// process it started holds the other end of the pipe.
/// </summary>
internal static partial class ParentWatch
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(0.5);

    /// <summary>Completes when this process has another parent than at the time of the call; never on Windows, which gives orphans no other one.</summary>
    public static async Task EndedAsync(CancellationToken cancel)
    {
        if (OperatingSystem.IsWindows())
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            return;
        }

        var parent = getppid();
        using var timer = new PeriodicTimer(Interval);
        while (getppid() == parent && await timer.WaitForNextTickAsync(cancel).ConfigureAwait(false))
        {
            // Still there.
        }
    }

    [LibraryImport("libc")]
    private static partial int getppid();
}
