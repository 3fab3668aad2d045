using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>doctor</c>: what this machine offers and what the program makes of it.</summary>
internal static class DoctorVerb
{
    /// <summary>With <c>--json</c>.</summary>
    internal sealed record DoctorReport(
        string Version,
        string OperatingSystem,
        string Runtime,
        int Processors,
        string[] CpuFeatures,
        string[] KernelPaths,
        string ChosenKernels,
        long MemoryBytes,
        double ReadGigabytesPerSecond,
        string[] ModelFolders,
        ModelsVerb.ModelReport[] Models);

    public static Command Create()
    {
        var verb = new Command("doctor", "Shows processor features, the kernel path chosen, memory, measured read bandwidth and the models found.");
        var common = new CommonOptions(verb).WithJson("Print one JSON object.").WithKernels();
        verb.SetAction(parsed =>
        {
            var settings = common.Settings(parsed);
            var library = new ModelLibrary(settings.Models);
            var output = new DoctorReport(
                ProductInfo.Version,
                RuntimeInformation.OSDescription,
                RuntimeInformation.FrameworkDescription,
                Environment.ProcessorCount,
                [.. CpuFeatures()],
                [.. KernelSet.Available.Select(k => k.Name)],
                KernelSet.Select(settings.Engine.Kernels).Name,
                GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
                Math.Round(ReadBandwidth() / 1e9, 1),
                [.. library.Folders],
                ModelsVerb.List(library));
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(output);
            }
            else
            {
                Show(output);
            }
        });
        return verb;
    }

    private static void Show(DoctorReport output)
    {
        Tables.Console.Write(Tables.Plain(
            ["version", output.Version],
            ["system", $"{output.OperatingSystem}, {output.Runtime}"],
            ["processors", output.Processors.ToString(CultureInfo.InvariantCulture)],
            ["features", string.Join(" ", output.CpuFeatures)],
            ["kernels", $"{output.ChosenKernels} (available: {string.Join(", ", output.KernelPaths)})"],
            ["memory", Tables.Size(output.MemoryBytes)],
            ["read bandwidth", string.Create(CultureInfo.InvariantCulture, $"{output.ReadGigabytesPerSecond:0.0} GB/s")],
            ["model folders", string.Join(", ", output.ModelFolders)],
            ["models", output.Models.Length == 0 ? "none found" : string.Join(", ", output.Models.Select(m => m.Default ? $"{m.Name} (default)" : m.Name))]));
    }

    private static IEnumerable<string> CpuFeatures()
    {
        (string Name, bool Supported)[] features =
        [
            ("sse4.2", Sse42.IsSupported), ("avx", Avx.IsSupported), ("avx2", Avx2.IsSupported), ("fma", Fma.IsSupported),
            ("avx-vnni", AvxVnni.IsSupported), ("avx512f", Avx512F.IsSupported), ("avx512bw", Avx512BW.IsSupported),
            ("avx512vbmi", Avx512Vbmi.IsSupported), ("neon", System.Runtime.Intrinsics.Arm.AdvSimd.IsSupported),
        ];
        return features.Where(f => f.Supported).Select(f => f.Name);
    }

    /// <summary>Bytes per second that all processors together read from memory: the best of three passes over 512 MiB.</summary>
    private static unsafe double ReadBandwidth()
    {
        const long bytes = 512L << 20;
        var memory = (byte*)NativeMemory.AlignedAlloc((nuint)bytes, 64);
        try
        {
            new Span<byte>(memory, int.MaxValue <= bytes ? int.MaxValue : (int)bytes).Fill(1); // pages exist before the clock runs
            var best = TimeSpan.MaxValue;
            for (var pass = 0; pass < 3; pass++)
            {
                var started = Stopwatch.GetTimestamp();
                var workers = Environment.ProcessorCount;
                Parallel.For(0, workers, worker => Read(memory + (bytes / workers * worker), bytes / workers));
                var time = Stopwatch.GetElapsedTime(started);
                best = time < best ? time : best;
            }

            return bytes / best.TotalSeconds;
        }
        finally
        {
            NativeMemory.AlignedFree(memory);
        }
    }

    private static long s_sink; // keeps the reads from being optimised away

    private static unsafe void Read(byte* from, long count)
    {
        Vector512<long> a = default, b = default, c = default, d = default;
        for (long i = 0; i + 256 <= count; i += 256)
        {
            a += Vector512.Load((long*)(from + i));
            b += Vector512.Load((long*)(from + i + 64));
            c += Vector512.Load((long*)(from + i + 128));
            d += Vector512.Load((long*)(from + i + 192));
        }

        Volatile.Write(ref s_sink, Vector512.Sum(a + b + c + d));
    }
}
