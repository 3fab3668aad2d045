using System.Diagnostics;
using System.Text;

namespace RyzenLlm.Mcp.Tests;

/// <summary>The program as built, run as a process.</summary>
internal static class BuiltProgram
{
    /// <summary>Longer than anything here takes on a busy machine: a process that is still there hangs.</summary>
    private static readonly TimeSpan Hang = TimeSpan.FromMinutes(2);

    public static string Path { get; } = System.IO.Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "ryzenllm.exe" : "ryzenllm");

    /// <summary>Environment in which only the small models of the tests exist, with mamba-f32 as default.</summary>
    public static Dictionary<string, string?> Environment() => new()
    {
        ["RYZENLLM__MODELS__FOLDERS__0"] = Repository.Models,
        ["RYZENLLM__MODELS__DEFAULT"] = "mamba-f32",
        ["RYZENLLM__ENGINE__THREADS"] = "1",
        ["RYZENLLM__MEMORY__STORE"] = $"sqlite:{Repository.ScratchMemory}",
        ["XDG_CACHE_HOME"] = System.IO.Path.Combine(System.IO.Path.GetTempPath(), "ryzenllm-tests-no-cache"),
    };

    public static Process Start(IEnumerable<string> arguments, Dictionary<string, string?>? environment = null)
    {
        var start = new ProcessStartInfo(Path, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardInputEncoding = new UTF8Encoding(false),
            StandardOutputEncoding = Encoding.UTF8,
            StandardErrorEncoding = Encoding.UTF8,
        };
        foreach (var inherited in start.Environment.Keys.Where(k => k.StartsWith("RYZENLLM__", StringComparison.OrdinalIgnoreCase)).ToList())
        {
            start.Environment.Remove(inherited);
        }

        foreach (var (name, value) in environment ?? Environment())
        {
            start.Environment[name] = value;
        }

        return Process.Start(start) ?? throw new InvalidOperationException($"{Path} did not start.");
    }

    /// <summary>Runs to the end.</summary>
    public static async Task<(int Code, string Out, string Error)> RunAsync(string[] arguments, string input = "", Dictionary<string, string?>? environment = null)
    {
        using var process = Start(arguments, environment);
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        try
        {
            await process.StandardInput.WriteAsync(input);
            process.StandardInput.Close();
        }
        catch (IOException)
        {
            // It ended without reading.
        }

        await WaitAsync(process);
        return (process.ExitCode, await output.WaitAsync(Hang), await error.WaitAsync(Hang)); // no process that it started holds them open
    }

    /// <summary>The next line of output, or null at the end; fails the test where none comes.</summary>
    public static async Task<string?> ReadLineAsync(Process process)
    {
        using var hang = new CancellationTokenSource(Hang);
        return await process.StandardOutput.ReadLineAsync(hang.Token);
    }

    /// <summary>Waits for the end; a process that hangs is killed and fails the test.</summary>
    public static async Task WaitAsync(Process process)
    {
        using var hang = new CancellationTokenSource(Hang);
        try
        {
            await process.WaitForExitAsync(hang.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{process.StartInfo.FileName} {string.Join(' ', process.StartInfo.ArgumentList)} did not end.");
        }
    }
}
