using System.CommandLine;
using RyzenLlm.Memory;
using RyzenLlm.Memory.Stores;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>memory migrate</c>: copies every tenant's units from one store to another.</summary>
internal static class MemoryMigrateVerb
{
    /// <summary>With <c>--json</c>.</summary>
    internal sealed record MigrateReport(string From, string To, long Copied);

    public static Command Create()
    {
        var verb = new Command("migrate", "Copies all tenants from the store (--store) to another, with new vectors where their embedders differ. Copying again makes no duplicates; nothing is deleted.");
        var target = new Option<string>("--to") { Description = "Store to copy to.", HelpName = "sqlite:PATH|qdrant:URL", Required = true };
        var common = new CommonOptions(verb).WithMemory().WithJson("Print one JSON object.");
        verb.Add(target);
        verb.SetAction(async (parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            var (options, models) = (settings.Memory, MemoryVerb.Embedders(settings));
            using var from = RsuMemory.OpenStore(options.Store, options, models);
            using var to = RsuMemory.OpenStore(parsed.GetRequiredValue(target), options, models);
            await from.OpenAsync(cancel).ConfigureAwait(false);
            await to.OpenAsync(cancel).ConfigureAwait(false);
            var copied = await Migration.CopyAsync(from, to, from.Embedder == to.Embedder ? null : models, cancellationToken: cancel).ConfigureAwait(false);
            var report = new MigrateReport(options.Store, parsed.GetRequiredValue(target), copied);
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(report);
            }
            else
            {
                Console.Out.WriteLine($"{report.Copied} units copied from {report.From} to {report.To}");
            }
        });
        return verb;
    }
}
