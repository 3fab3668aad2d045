using System.Text;
using System.Text.Json;
using ModelContextProtocol;
using ModelContextProtocol.Protocol;
using RyzenLlm.Mcp.Tools;

namespace RyzenLlm.Fuzz.Targets;

/// <summary>Arguments of tool calls, read as each kind of argument there is; and the frame around them as the SDK reads it.</summary>
internal sealed class ArgumentsTarget : FuzzTarget
{
    private readonly ToolParameter[] _parameters =
    [
        new TextParameter("query", "", maxLength: 100), new TextParameter("scope", "", "", ["all", "private"]), new TextListParameter("stop", "", 4),
        new NumberParameter<long>("top_k", "", 0, 100, 5), new NumberParameter<double>("temperature", "", 0, 10, 1), new TimeParameter("since", "", endOfDay: true),
        new TurnListParameter("turns", "", 4, 100), new RememberParameter("memory", ""), new FlagParameter("dry_run", "", true),
    ];

    public override string Name => "arguments";

    public override int LongestInput => 2048;

    public override IReadOnlyList<string> Words =>
    [
        "\"query\":", "\"scope\":", "\"stop\":", "\"topK\":", "\"top_k\":", "\"temperature\":", "\"since\":", "\"turns\":", "\"memory\":", "\"dry_run\":", "\"role\":", "\"text\":",
        "\"content\":", "\"2026-01-05\"", "\"yesterday\"", "null", "true", "[]", "{}", "1e400", "-0", "\"5\"", "\"\\ud800\"", "\"method\":\"tools/call\"", "\"id\":", "\"params\":",
    ];

    public override IEnumerable<byte[]> Seeds() => ((string[])
    [
        """{"query":"x","scope":"ALL","stop":["a","b"],"top_k":40.0,"temperature":"0.5","since":"2026-01-05","turns":[{"role":"user","text":"hi"}],"memory":true,"dry_run":false}""",
        """{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"generate","arguments":{"prompt":"The","max_tokens":3},"_meta":{"progressToken":"p"}}}""",
        """{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}""",
        "{}",
    ]).Select(Encoding.UTF8.GetBytes);

    public override void Run(byte[] input)
    {
        using var document = JsonDocument.Parse(input);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
        {
            return;
        }

        var given = new Dictionary<string, JsonElement>();
        try
        {
            foreach (var property in document.RootElement.EnumerateObject())
            {
                given[property.Name] = property.Value;
            }
        }
        catch (InvalidOperationException)
        {
            return; // a name that is no text: the SDK refuses the frame
        }

        if (given.ContainsKey("jsonrpc"))
        {
            _ = document.Deserialize<JsonRpcMessage>(McpJsonUtilities.DefaultOptions);
            return;
        }

        var arguments = ToolArguments.Read(_parameters, given);
        foreach (var text in _parameters.OfType<TextParameter>())
        {
            _ = arguments.Get(text);
        }
    }

    public override bool IsDocumented(Exception e) => e is ArgumentException or JsonException;
}
