using System.ComponentModel;
using System.Globalization;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Memory;

namespace RyzenLlm.Mcp.Tools;

/// <summary><c>share-context</c>: lets other tenants recall chosen units, and ends it.</summary>
internal sealed class ShareContextTool : McpServerTool
{
    private readonly ContextMemory _memory;

    private readonly TextListParameter _ids = new("ids", "These units: whole ids, or the first characters shown by recall-context.", 1000);
    private readonly TextParameter _session = new("session", "What is now in this conversation or document.", "", maxLength: 1000);
    private readonly TextParameter _scope = new("scope", "What is now on this shelf.", "", maxLength: 1000);
    private readonly TextParameter _with = new("with", "The tenant to share with, or all. With stop, empty means everybody; without it, empty means all.", "", maxLength: 1000);
    private readonly FlagParameter _stop = new("stop", "End sharing instead.");
    private readonly ToolParameter[] _parameters;

    /// <summary>A result.</summary>
    internal sealed record SharedContext(
        [property: Description("Units that are now shared, or no longer, counted for each reader.")] int Units,
        [property: Description("Whether sharing was ended.")] bool Stopped);

    public ShareContextTool(ContextMemory memory)
    {
        _memory = memory;
        _parameters = [_ids, _session, _scope, _with, _stop];
        ProtocolTool = new Tool
        {
            Name = "share-context",
            Title = "Share context",
            Description =
                "Lets other tenants of this server find chosen units with recall-context, marked as shared and by whom; or, with stop, ends that at once. Only "
                + "call it when the user asks for it. Nothing else becomes visible; the units stay the caller's, who alone can correct or forget them, which "
                + "ends sharing too. What is stored later is not shared. Every sharing and every reading leaves a line in the server's audit log.",
            InputSchema = ToolArguments.Schema(_parameters),
            OutputSchema = ToolJson.Schema<SharedContext>(),
            Annotations = new ToolAnnotations { ReadOnlyHint = false, DestructiveHint = false, IdempotentHint = true, OpenWorldHint = false },
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

        var asked = new ShareRequest
        {
            Ids = ids.Count > 0 ? ids : null,
            Session = arguments.GetOptional(_session),
            Scope = arguments.GetOptional(_scope),
            With = arguments.GetOptional(_with),
        };
        var stop = arguments.Get(_stop);
        var units = stop
            ? await memory.UnshareAsync(caller.Tenant, asked, cancellationToken).ConfigureAwait(false)
            : await memory.ShareAsync(caller.Tenant, asked, cancellationToken).ConfigureAwait(false);
        return new()
        {
            Content = [new TextContentBlock { Text = string.Create(CultureInfo.InvariantCulture, $"{units} units {(stop ? "no longer shared" : $"shared with {asked.With ?? "all"}")}.") }],
            StructuredContent = ToolJson.Element(new SharedContext(units, stop)),
        };
    }
}
