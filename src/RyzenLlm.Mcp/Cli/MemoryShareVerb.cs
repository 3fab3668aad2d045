using System.CommandLine;
using System.Globalization;
using RyzenLlm.Memory;

namespace RyzenLlm.Mcp.Cli;

/// <summary><c>memory share</c> and <c>memory unshare</c>: whether other tenants may recall units.</summary>
internal static class MemoryShareVerb
{
    /// <summary>With <c>--json</c>.</summary>
    internal sealed record ShareReport(int Units, string? With);

    public static Command Create() => Create(
        "share", "Lets another tenant, or all, recall units. They stay yours; every reading leaves a line in the audit log.", "Tenant to share with; all of them if absent.",
        (memory, tenant, request, cancel) => memory.ShareAsync(tenant, request with { With = request.With ?? "all" }, cancel), "shared");

    public static Command CreateUnshare() => Create(
        "unshare", "Ends sharing, at once.", "Only with this tenant, or with all; every reader if absent.",
        (memory, tenant, request, cancel) => memory.UnshareAsync(tenant, request, cancel), "no longer shared");

    private static Command Create(
        string name, string description, string whom, Func<RsuMemory, string, ShareRequest, CancellationToken, Task<int>> act, string done)
    {
        var verb = new Command(name, description);
        var ids = new Argument<string[]>("id") { Description = "Units: ids, or the first characters of them that lists show.", Arity = ArgumentArity.ZeroOrMore };
        var session = new Option<string>("--session") { Description = "What is in this conversation or document.", HelpName = "NAME" };
        var scope = new Option<string>("--scope") { Description = "What is on this shelf.", HelpName = "NAME" };
        var with = new Option<string>("--with") { Description = whom, HelpName = "TENANT" };
        verb.Add(ids);
        var common = new CommonOptions(verb).WithMemory().WithJson("Print one JSON object.");
        foreach (var option in new Option[] { session, scope, with })
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

            var request = new ShareRequest { Ids = keys.Count > 0 ? keys : null, Session = parsed.GetValue(session), Scope = parsed.GetValue(scope), With = parsed.GetValue(with) };
            var units = await act(memory, settings.Memory.Tenant, request, cancel).ConfigureAwait(false);
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(new ShareReport(units, request.With));
                return;
            }

            Console.Out.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{units} units {done}."));
        });
        return verb;
    }
}
