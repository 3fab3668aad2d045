using System.Runtime.InteropServices;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>Standard input and output kept for the protocol alone.</summary>
internal static partial class StandardStreams
{
    private const int StandardOutput = 1;
    private const int StandardError = 2;

    /// <summary>
    /// The protocol's streams. From now on anything else written to standard output, by managed or native code, goes to standard error.
    /// </summary>
    public static (Stream Input, Stream Output) Claim()
    {
        var input = Console.OpenStandardInput();
        var output = Console.OpenStandardOutput(); // holds its own duplicate of the descriptor
        if (!OperatingSystem.IsWindows())
        {
            _ = dup2(StandardError, StandardOutput);
        }

        Console.SetOut(Console.Error);
        return (input, output);
    }

    [LibraryImport("libc")]
    private static partial int dup2(int from, int to);
}
