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
        var verb = new Command("migrate", "Copies all tenants from the store (--store) to another. Copying again makes no duplicates; nothing is deleted.");
        var target = new Option<string>("--to") { Description = "Store to copy to.", HelpName = "sqlite:PATH|qdrant:URL", Required = true };
        var common = new CommonOptions(verb).WithMemory().WithJson("Print one JSON object.");
        verb.Add(target);
        verb.SetAction(async (parsed, cancel) =>
        {
            var options = common.Settings(parsed).Memory;
            var models = new MemoryModels();
            using var from = RsuMemory.OpenStore(options.Store, options, models);
            using var to = RsuMemory.OpenStore(parsed.GetRequiredValue(target), options, models);
            var report = new MigrateReport(options.Store, parsed.GetRequiredValue(target), await Migration.CopyAsync(from, to, cancellationToken: cancel).ConfigureAwait(false));
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
