using System.ComponentModel;
using System.Globalization;
using System.Text;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;
using RyzenLlm.Memory;

namespace RyzenLlm.Mcp.Tools;

/// <summary><c>store-context</c>: keeps a text or turns of a conversation for later.</summary>
internal sealed class StoreContextTool : McpServerTool
{
    /// <summary>Room between turns, for those that are cut into several units.</summary>
    private const long TurnStep = 1000;

    private readonly ContextMemory _memory;
    private readonly TimeProvider _clock;

    private readonly TextParameter _text;
    private readonly TurnListParameter _turns;
    private readonly TextParameter _speaker = new("speaker", "Who says what text holds; turns name their own.", "", maxLength: 1000);
    private readonly TextParameter _session = new("session", "Name of the conversation or document, so that neighbouring turns are found together.", "", maxLength: 1000);
    private readonly NumberParameter<long> _firstTurn = new(
        "first_turn", "Number of the first turn in its session; with it even very short turns are never stored twice. 0: by the clock.", 0, 1_000_000_000, 0);
    private readonly TextParameter _source = new("source", "Where it comes from: a file, an address, a tool.", "", maxLength: 4096);
    private readonly TextParameter _scope = new("scope", "Shelf to put it on, such as a project.", "private", maxLength: 1000);
    private readonly TimeParameter _at = new("at", "When it was said, if not now", endOfDay: false);
    private readonly NumberParameter<double> _expires = new("expires_days", "Forget it after so many days; 0: as the server is set, normally never.", 0, 36_500, 0);
    private readonly TextParameter _supersedes = new("supersedes", "Id of the unit that this corrects; that one is no longer recalled.", "", maxLength: 36);
    private readonly ToolParameter[] _parameters;

    /// <summary>A result.</summary>
    internal sealed record StoredContext(
        [property: Description("Ids of the units that now hold it, in order.")] string[] Ids,
        [property: Description("New units.")] int Stored,
        [property: Description("Units that were known already.")] int Merged,
        [property: Description("New units linked to one that says nearly the same.")] int Linked,
        [property: Description("Older units that this corrected.")] int Superseded,
        [property: Description("Items left out because they only repeated recalled text.")] int Recalled,
        [property: Description("Units in which a key, password or card number was found.")] int Secrets,
        [property: Description("Units that are safe on this machine and go to the memory's server when it is back; absent if it is there.")] int? Queued = null);

    public StoreContextTool(AppSettings settings, ContextMemory memory, TimeProvider clock)
    {
        (_memory, _clock) = (memory, clock);
        _text = new("text", "One text: a fact, a note, a whole document.", "", maxLength: settings.Memory.MaximumText);
        _turns = new("turns", "Turns of a conversation in order, instead of text.", maxItems: 1000, settings.Memory.MaximumText);
        _parameters = [_text, _turns, _speaker, _session, _firstTurn, _source, _scope, _at, _expires, _supersedes];
        ProtocolTool = new Tool
        {
            Name = "store-context",
            Title = "Store context",
            Description =
                "Keeps a text, or turns of a conversation, word for word, so that recall-context finds it in any later conversation. Give either text or "
                + "turns. Use it for facts, decisions, preferences and results that will matter later. Storing the same again changes nothing. "
                + "Begin with 'Correction:' or give supersedes to replace what is no longer true. Keys and passwords are blacked out.",
            InputSchema = ToolArguments.Schema(_parameters),
            OutputSchema = ToolJson.Schema<StoredContext>(),
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
        var items = Items(arguments);
        var caller = _memory.CallerOf(request);
        var memory = await _memory.OpenAsync(cancellationToken).ConfigureAwait(false);
        var days = arguments.Get(_expires);
        var corrected = arguments.GetOptional(_supersedes);
        var asked = new StoreRequest
        {
            Items = items,
            Session = arguments.Get(_session),
            Scope = arguments.GetOptional(_scope) ?? _scope.Default,
            ExpiresAt = days > 0 ? _clock.GetUtcNow().AddDays(days) : null,
            Supersedes = corrected is null ? null : await memory.FindIdAsync(caller.Tenant, corrected, cancellationToken).ConfigureAwait(false),
        };
        var stored = await ServerInstruments.StoringAsync(() => memory.StoreAsync(caller.Tenant, asked, cancellationToken)).ConfigureAwait(false);
        var output = new StoredContext(
            [.. stored.Ids.Select(id => $"{id}")], stored.Stored, stored.Merged, stored.Linked, stored.Superseded, stored.Recalled, stored.Secrets, stored.Queued > 0 ? stored.Queued : null);
        return new()
        {
            Content = [new TextContentBlock { Text = Text(output) }],
            StructuredContent = ToolJson.Element(output),
        };
    }

    private Utterance[] Items(ToolArguments arguments)
    {
        var text = arguments.Get(_text);
        var turns = arguments.Get(_turns);
        if (string.IsNullOrWhiteSpace(text) == (turns.Length == 0))
        {
            throw new ArgumentException(turns.Length == 0 ? "text is missing: give the text to keep, or turns of a conversation." : "Give text or turns, not both.");
        }

        if (turns.Length == 0)
        {
            turns = [new(arguments.Get(_speaker), text)];
        }

        var first = arguments.Get(_firstTurn);
        return [.. turns.Select((turn, i) => new Utterance
        {
            Text = turn.Text,
            Speaker = turn.Role,
            At = arguments.GetOptional(_at),
            Source = arguments.Get(_source),
            Ordinal = first > 0 ? TurnStep * (first + i) : null,
        })];
    }

    private static string Text(StoredContext output)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{output.Stored} units stored");
        Add(output.Merged, "known already");
        Add(output.Linked, "much like known ones");
        Add(output.Superseded, "older ones corrected");
        Add(output.Recalled, "items left out: recalled text");
        Add(output.Secrets, "with a secret");
        Add(output.Queued ?? 0, "waiting for the memory's server, which is away");
        text.Append('.');
        if (output.Ids is [var only])
        {
            text.Append(CultureInfo.InvariantCulture, $" Id: {only}.");
        }

        return text.ToString();

        void Add(int count, string what)
        {
            if (count > 0)
            {
                text.Append(CultureInfo.InvariantCulture, $", {count} {what}");
            }
        }
    }
}
