using System.CommandLine;
using System.Globalization;
using RyzenLlm.Memory;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>memory forget</c>: counts what is meant, and deletes it with <c>--yes</c>.</summary>
internal static class MemoryForgetVerb
{
    /// <summary>With <c>--json</c>.</summary>
    internal sealed record ForgetReport(bool DryRun, long Matched, long Deleted, long Remaining, int States);

    public static Command Create()
    {
        var verb = new Command("forget", "Deletes units; without --yes it only counts and shows them.");
        var ids = new Option<string[]>("--id") { Description = "These units.", HelpName = "ID", AllowMultipleArgumentsPerToken = true };
        var session = new Option<string>("--session") { Description = "Everything of this conversation or document.", HelpName = "NAME" };
        var source = new Option<string>("--source") { Description = "Everything from this source.", HelpName = "NAME" };
        var scope = new Option<string>("--scope") { Description = "Everything on this shelf.", HelpName = "NAME" };
        var since = new Option<DateTimeOffset?>("--since") { Description = "Not older than this.", HelpName = "TIME" };
        var until = new Option<DateTimeOffset?>("--until") { Description = "Not newer than this.", HelpName = "TIME" };
        var expired = new Option<bool>("--expired") { Description = "What has expired." };
        var everything = new Option<bool>("--everything") { Description = "The whole memory of the tenant." };
        var yes = new Option<bool>("--yes") { Description = "Delete." };
        var common = new CommonOptions(verb).WithMemory().WithJson("Print one JSON object.");
        foreach (var option in new Option[] { ids, session, source, scope, since, until, expired, everything, yes })
        {
            verb.Add(option);
        }

        verb.SetAction(async (parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            using var memory = await MemoryVerb.OpenAsync(settings, cancel).ConfigureAwait(false);
            var keys = new List<Guid>();
            foreach (var id in parsed.GetValue(ids) ?? [])
            {
                keys.Add(await memory.FindIdAsync(settings.Memory.Tenant, id, cancel).ConfigureAwait(false));
            }

            var request = new ForgetRequest
            {
                Ids = keys.Count > 0 ? keys : null,
                Session = parsed.GetValue(session),
                Source = parsed.GetValue(source),
                Scope = parsed.GetValue(scope),
                From = parsed.GetValue(since),
                To = parsed.GetValue(until),
                Expired = parsed.GetValue(expired),
                Everything = parsed.GetValue(everything),
                DryRun = !parsed.GetValue(yes),
            };
            var result = await memory.ForgetAsync(settings.Memory.Tenant, request, cancel).ConfigureAwait(false);
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(new ForgetReport(request.DryRun, result.Matched, result.Deleted, result.Remaining, result.States));
            }
            else
            {
                Show(result, request.DryRun);
            }
        });
        return verb;
    }

    private static void Show(ForgetResult result, bool dryRun)
    {
        if (!dryRun)
        {
            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{result.Deleted} units forgotten; counted again, {result.Remaining} remain."));
            return;
        }

        Console.Out.WriteLine($"{result.Matched} units would be forgotten{(result.Matched > 0 ? "; add --yes to delete them. Among them:" : ".")}");
        foreach (var unit in result.Sample)
        {
            Console.Out.WriteLine(MemoryVerb.Line(unit));
        }
    }
}
