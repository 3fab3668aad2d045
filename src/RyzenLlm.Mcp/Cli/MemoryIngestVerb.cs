using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using RyzenLlm.Memory;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>memory ingest</c>: stores files.</summary>
internal static class MemoryIngestVerb
{
    /// <summary>With <c>--json</c>.</summary>
    internal sealed record IngestReport(int Files, int Items, int Stored, int Merged, int Linked, int Superseded, int Secrets, string[] Tenants, double Seconds);

    public static Command Create()
    {
        var verb = new Command("ingest", "Stores files: dialogue lines (.jsonl with conv and dia_id, each conversation a tenant below the given one), chat messages (.jsonl, .json) or plain text.");
        var files = new Option<string[]>("--file") { Description = "The files.", HelpName = "FILE", Required = true, AllowMultipleArgumentsPerToken = true };
        var scope = new Option<string>("--scope") { Description = "Shelf to put them on.", HelpName = "NAME" };
        var common = new CommonOptions(verb).WithMemory().WithJson("Print one JSON object.");
        verb.Add(files);
        verb.Add(scope);
        verb.SetAction(async (parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            var paths = parsed.GetRequiredValue(files);

            // Every file is read before the first one is stored: a mistake in the last leaves nothing half done.
            var requests = paths.SelectMany(Transcript.Read).ToList();
            using var memory = await MemoryVerb.OpenAsync(settings, cancel).ConfigureAwait(false);
            var started = Stopwatch.GetTimestamp();
            var report = new IngestReport(paths.Length, 0, 0, 0, 0, 0, 0, [], 0);
            var tenants = new SortedSet<string>(StringComparer.Ordinal);
            foreach (var (conversation, request) in requests)
            {
                var tenant = MemoryVerb.TenantOf(settings, conversation);
                tenants.Add(tenant);
                var result = await memory.StoreAsync(tenant, parsed.GetValue(scope) is { } shelf ? request with { Scope = shelf } : request, cancel).ConfigureAwait(false);
                report = report with
                {
                    Items = report.Items + request.Items.Count,
                    Stored = report.Stored + result.Stored,
                    Merged = report.Merged + result.Merged,
                    Linked = report.Linked + result.Linked,
                    Superseded = report.Superseded + result.Superseded,
                    Secrets = report.Secrets + result.Secrets,
                };
            }

            report = report with { Tenants = [.. tenants], Seconds = Math.Round(Stopwatch.GetElapsedTime(started).TotalSeconds, 3) };
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(report);
                return;
            }

            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{report.Items} items of {report.Files} files: {report.Stored} units stored, {report.Merged} known already, {report.Superseded} corrected, {report.Secrets} with a secret, in {report.Seconds:0.0} s"));
            Console.Out.WriteLine($"tenants: {string.Join(", ", report.Tenants)}");
        });
        return verb;
    }
}
