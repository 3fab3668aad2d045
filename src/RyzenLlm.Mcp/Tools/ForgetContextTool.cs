using System.ComponentModel;
using System.Globalization;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Memory;

namespace RyzenLlm.Mcp.Tools;

/// <summary><c>forget-context</c>: deletes from the memory, after a dry run whose count the second call confirms.</summary>
internal sealed class ForgetContextTool : McpServerTool
{
    private const int SampleCharacters = 80;

    private readonly ContextMemory _memory;
    private readonly KeptStates _states;
    private readonly Confirmation _confirmation;

    private readonly TextListParameter _ids = new("ids", "These units: whole ids, or the first characters shown by recall-context.", 1000);
    private readonly TextParameter _session = new("session", "Everything of this conversation or document.", "", maxLength: 1000);
    private readonly TextParameter _source = new("source", "Everything from this source.", "", maxLength: 4096);
    private readonly TextParameter _scope = new("scope", "Everything on this shelf.", "", maxLength: 1000);
    private readonly TimeParameter _since = new("since", "Not older than this", endOfDay: false);
    private readonly TimeParameter _until = new("until", "Not newer than this", endOfDay: true);
    private readonly FlagParameter _expired = new("expired", "What has expired.");
    private readonly FlagParameter _everything = new("everything", "The whole memory.");
    private readonly FlagParameter _dryRun = new("dry_run", "Only count and show what would be forgotten.", defaultValue: true);
    private readonly NumberParameter<long> _confirm = new(
        "confirm", "With dry_run false: the number of units that the dry run counted. Another number forgets nothing. Where the client can ask its user, that one decides.", 0, 1_000_000_000, 0);
    private readonly ToolParameter[] _parameters;

    /// <summary>A unit that would be forgotten.</summary>
    internal sealed record ForgottenUnit(string Id, [property: Description("Its beginning.")] string Text);

    /// <summary>A result.</summary>
    internal sealed record ForgottenContext(
        [property: Description("Whether nothing was deleted because this was a dry run.")] bool DryRun,
        [property: Description("Units that the conditions mean.")] long Matched,
        [property: Description("Units deleted.")] long Deleted,
        [property: Description("Units that the conditions still mean, counted after deleting; 0 proves that they are gone.")] long Remaining,
        [property: Description("Conversations of generate and saved model states deleted with them.")] int States,
        [property: Description("Where nothing was deleted, some of the units.")] ForgottenUnit[] Sample);

    public ForgetContextTool(ContextMemory memory, KeptStates states, TimeProvider clock)
    {
        (_memory, _states) = (memory, states);
        _confirmation = new(clock);
        _parameters = [_ids, _session, _source, _scope, _since, _until, _expired, _everything, _dryRun, _confirm];
        ProtocolTool = new Tool
        {
            Name = "forget-context",
            Title = "Forget context",
            Description =
                "Deletes stored context for good: units by id, or everything of a session, source, scope or time range (several conditions must all hold), "
                + "or everything. Call it once as a dry run, the default, which counts and shows; then again with dry_run false and confirm set to that "
                + "count. The answer counts what is left: remaining 0 proves that it is gone.",
            InputSchema = ToolArguments.Schema(_parameters),
            OutputSchema = ToolJson.Schema<ForgottenContext>(),
            Annotations = new ToolAnnotations { ReadOnlyHint = false, DestructiveHint = true, IdempotentHint = true, OpenWorldHint = false },
        };
    }

    /// <inheritdoc/>
    public override Tool ProtocolTool { get; }

    /// <inheritdoc/>
    public override IReadOnlyList<object> Metadata { get; } = [];

    /// <inheritdoc/>
    public override async ValueTask<CallToolResult> InvokeAsync(RequestContext<CallToolRequestParams> request, CancellationToken cancellationToken = default)
    {
        var arguments = ToolArguments.Read(_parameters, request.Params?.Arguments);
        var caller = _memory.CallerOf(request);
        var memory = await _memory.OpenAsync(cancellationToken).ConfigureAwait(false);
        var ids = new List<Guid>();
        foreach (var id in arguments.Get(_ids))
        {
            ids.Add(await memory.FindIdAsync(caller.Tenant, id, cancellationToken).ConfigureAwait(false));
        }

        var asked = new ForgetRequest
        {
            Ids = ids.Count > 0 ? ids : null,
            Session = arguments.GetOptional(_session),
            Source = arguments.GetOptional(_source),
            Scope = arguments.GetOptional(_scope),
            From = arguments.GetOptional(_since),
            To = arguments.GetOptional(_until),
            Expired = arguments.Get(_expired),
            Everything = arguments.Get(_everything),
        };
        var found = await memory.ForgetAsync(caller.Tenant, asked, cancellationToken).ConfigureAwait(false);
        var dryRun = arguments.Get(_dryRun);
        var declined = !dryRun && found.Matched > 0 && !IsConfirmed(request, caller, arguments.Get(_confirm), found);
        if (!dryRun && !declined)
        {
            found = await ServerInstruments.ForgettingAsync(() => memory.ForgetAsync(caller.Tenant, asked with { DryRun = false }, cancellationToken)).ConfigureAwait(false);
            found = found with { States = found.States + ForgetStates(caller, asked) };
        }

        var output = new ForgottenContext(
            dryRun, found.Matched, found.Deleted, found.Remaining, found.States, dryRun || declined ? [.. found.Sample.Select(u => new ForgottenUnit($"{u.Id}", Beginning(u.Text)))] : []);
        return new()
        {
            Content = [new TextContentBlock { Text = declined ? "The user declined; nothing was forgotten." : Text(output) }],
            StructuredContent = ToolJson.Element(output),
        };
    }

    // Prompts with the forgotten text may have left states, whatever the condition was; conversations are named by everything and by session.
    private int ForgetStates(Caller caller, ForgetRequest asked) =>
        _states.Forget(caller.Tenant, asked.Everything ? null : asked.Session is { } session ? [session] : []);

    // The user decides where the client can ask; elsewhere the caller must name the number that it saw.
    private bool IsConfirmed(RequestContext<CallToolRequestParams> request, Caller caller, long confirm, ForgetResult found)
    {
        var canAsk = Confirmation.CanAsk(request);
        if (confirm != found.Matched && !(canAsk && confirm == 0))
        {
            throw new ArgumentException(
                $"Nothing was forgotten: confirm is {confirm} but the conditions mean {found.Matched} units. If those are the right ones, call again with confirm {found.Matched}.");
        }

        return !canAsk || _confirmation.IsAgreed(request, caller, string.Create(
            CultureInfo.InvariantCulture,
            $"Forget {found.Matched} units of the memory for good? Among them: {string.Join("; ", found.Sample.Select(u => $"\"{Beginning(u.Text)}\""))}"));
    }

    private static string Text(ForgottenContext output)
    {
        if (!output.DryRun)
        {
            return string.Create(CultureInfo.InvariantCulture,
                $"{output.Deleted} units forgotten{(output.States > 0 ? $" with {output.States} saved states" : "")}; counted again, {output.Remaining} remain.");
        }

        return output.Matched == 0
            ? "No unit is meant by these conditions; there is nothing to forget."
            : string.Create(CultureInfo.InvariantCulture,
                $"Dry run: {output.Matched} units would be forgotten. To delete them, call again with dry_run false and confirm {output.Matched}. Among them:\n")
              + string.Join('\n', output.Sample.Select(u => $"[{u.Id}] \"{u.Text}\""));
    }

    private static string Beginning(string text) =>
        (text.Length <= SampleCharacters ? text : string.Concat(text.AsSpan(0, SampleCharacters), "...")).ReplaceLineEndings(" ");
}
