using System.Runtime.InteropServices;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>Standard input and output kept for the protocol alone.</summary>
internal static partial class StandardStreams
{
    private const int StandardOutput = 1;
    private const int StandardError = 2;

    // F_DUPFD_CLOEXEC: a process started from here that held the client's pipe open would keep the client waiting for its end.
    private const int DuplicateUninherited = 1030;

    private static int s_output = -1;

    /// <summary>
    /// The protocol's streams. From now on anything else written to standard output, by managed or native code, goes to standard error.
    /// </summary>
    public static (Stream Input, Stream Output) Claim()
    {
        var input = Console.OpenStandardInput();
        var output = Console.OpenStandardOutput(); // holds its own duplicate of the descriptor
        if (!OperatingSystem.IsWindows())
        {
            s_output = OperatingSystem.IsLinux() ? fcntl(StandardOutput, DuplicateUninherited, StandardError + 1) : -1;
            _ = dup2(StandardError, StandardOutput);
        }

        Console.SetOut(Console.Error);
        return (input, output);
    }

    /// <summary>Completes when nobody reads the claimed output any more, but at the latest after a time. Elsewhere than on Linux that is always the time.</summary>
    public static Task UnreadAsync(TimeSpan longest) => s_output < 0 ? Task.Delay(longest) : Task.Run(() =>
    {
        var output = new Poll { Descriptor = s_output }; // no events asked for: errors and hang-ups are told anyway
        _ = poll(ref output, 1, (int)longest.TotalMilliseconds);
    });

    // Variable arguments: passed as others are on Linux only.
    [LibraryImport("libc")]
    private static partial int fcntl(int descriptor, int command, int argument);

    [LibraryImport("libc")]
    private static partial int poll(ref Poll descriptors, nuint count, int milliseconds);

    [LibraryImport("libc")]
    private static partial int dup2(int from, int to);

    [StructLayout(LayoutKind.Sequential)]
    private struct Poll
    {
        public int Descriptor;
        public short Events;
        public short Returned;
    }
}
