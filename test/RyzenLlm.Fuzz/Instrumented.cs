using System.Diagnostics;
using System.Reflection;
using SharpFuzz;

namespace RyzenLlm.Fuzz;

/// <summary>
/// The program run again from a copy whose product assemblies count the edges they take. As a process of its own it may also die: the
/// input of that moment is then found where the child had put it.
/// </summary>
internal static class Instrumented
{
    private const string Mark = "RYZENLLM_FUZZ_INSTRUMENTED";

    /// <summary>Whether this is the copy.</summary>
    public static bool IsRunning => Environment.GetEnvironmentVariable(Mark) is not null;

    /// <summary>The file that holds the input in work.</summary>
    public static string LastInput => LastInputOf(AppContext.BaseDirectory);

    /// <summary>Makes the copy, runs it and returns its exit code.</summary>
    public static int Start(string[] arguments, CampaignOptions options)
    {
        var folder = Directory.CreateTempSubdirectory("ryzenllm-fuzz-").FullName;
        try
        {
            Copy(AppContext.BaseDirectory, folder);
            foreach (var name in (string[])["RyzenLlm.Engine.dll", "RyzenLlm.Memory.dll", "ryzenllm.dll", "RyzenLlm.Kernels.dll"])
            {
                // Of the kernels only what reads files: counting inside their loops would count nothing else.
                Fuzzer.Instrument(Path.Combine(folder, name), type => !type.StartsWith("RyzenLlm.Kernels.", StringComparison.Ordinal)
                    || type.StartsWith("RyzenLlm.Kernels.Formats.", StringComparison.Ordinal), Options.Value).Count();
            }

            var start = new ProcessStartInfo(Path.Combine(folder, Path.GetFileNameWithoutExtension(Assembly.GetExecutingAssembly().Location)), arguments);
            start.Environment[Mark] = "1";
            using var child = Process.Start(start)!;
            child.WaitForExit();
            if (child.ExitCode is not (0 or 1) && File.Exists(LastInputOf(folder)))
            {
                var crash = Path.Combine(options.Fixtures, $"died-{child.ExitCode}-{DateTime.UtcNow:HHmmss}.bin");
                Directory.CreateDirectory(options.Fixtures);
                using var last = new BinaryReader(File.OpenRead(LastInputOf(folder)));
                File.WriteAllBytes(crash, last.ReadBytes(last.ReadInt32()));
                Console.Error.WriteLine($"The process died ({child.ExitCode}); the input is {crash}.");
            }

            return child.ExitCode;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static string LastInputOf(string folder) => Path.Combine(folder, "last-input");

    private static void Copy(string from, string to)
    {
        foreach (var file in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories))
        {
            var target = Path.Combine(to, Path.GetRelativePath(from, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            File.Copy(file, target);
        }
    }
}
