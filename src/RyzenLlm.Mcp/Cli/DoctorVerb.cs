using System.CommandLine;
using System.Globalization;
using System.Runtime.InteropServices;
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
        string Processor,
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
                MachineInfo.ProcessorName,
                MachineInfo.Processors,
                [.. MachineInfo.Features],
                [.. KernelSet.Available.Select(k => k.Name)],
                KernelSet.Select(settings.Engine.Kernels).Name,
                MachineInfo.MemoryBytes,
                Math.Round(MachineInfo.MeasureReadBandwidth(MachineInfo.Processors), 1),
                [.. library.Folders],
                ModelsVerb.List(library, new ProfileStore(settings)));
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
            ["processors", string.Create(CultureInfo.InvariantCulture, $"{output.Processors} ({output.Processor})")],
            ["features", string.Join(" ", output.CpuFeatures)],
            ["kernels", $"{output.ChosenKernels} (available: {string.Join(", ", output.KernelPaths)})"],
            ["memory", Tables.Size(output.MemoryBytes)],
            ["read bandwidth", string.Create(CultureInfo.InvariantCulture, $"{output.ReadGigabytesPerSecond:0.0} GB/s")],
            ["model folders", string.Join(", ", output.ModelFolders)],
            ["models", output.Models.Length == 0 ? "none found" : string.Join(", ", output.Models.Select(m => m.Default ? $"{m.Name} (default)" : m.Name))]));
    }
}
