using System.CommandLine;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>memory reembed</c>: changes the store's vectors to those of Memory:Embedder, which the server does in the background.</summary>
internal static class MemoryReembedVerb
{
    /// <summary>With <c>--json</c>.</summary>
    internal sealed record ReembedReport(string Store, string From, string Embedder, long Embedded);

    public static Command Create()
    {
        var verb = new Command("reembed", "Makes new vectors with the embedder of the settings (Memory:Embedder) and switches to it when all are there. Goes on where it was interrupted; others may use the memory meanwhile.");
        var common = new CommonOptions(verb).WithMemory().WithJson("Print one JSON object.");
        verb.SetAction(async (parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            using var memory = await MemoryVerb.OpenAsync(settings, cancel).ConfigureAwait(false);
            var before = memory.Store.Embedder ?? "";
            var made = await memory.ReembedAsync(cancellationToken: cancel).ConfigureAwait(false);
            var report = new ReembedReport(settings.Memory.Store, before, memory.Store.Embedder ?? "", made);
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(report);
            }
            else
            {
                Console.Out.WriteLine(report.From == report.Embedder && made == 0 ? $"nothing to do: the memory is embedded with {report.Embedder}" : $"{made} units embedded with {report.Embedder}");
            }
        });
        return verb;
    }
}
