using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using static ModelContextProtocol.Protocol.ElicitRequestParams;

namespace RyzenLlm.Mcp.Conformance;

/// <summary>Tools that ask the user while they run, as clients up to 2025-11-25 know it.</summary>
internal static class ElicitationFixtures
{
    /// <summary>The tools.</summary>
    public static IEnumerable<McpServerTool> Tools()
    {
        yield return Fixtures.Tool("test_elicitation", "Asks the user.", (RequestContext<CallToolRequestParams> request, string message, CancellationToken cancel) =>
            AskAsync(request, message, new() { ["response"] = new StringSchema { Description = "User's response" } }, cancel));
        yield return Fixtures.Tool("test_elicitation_sep1034_defaults", "Asks with defaults.", (RequestContext<CallToolRequestParams> request, CancellationToken cancel) =>
            AskAsync(
                request,
                "Please review the defaults.",
                new()
                {
                    ["name"] = new StringSchema { Default = "John Doe" },
                    ["age"] = new NumberSchema { Type = "integer", Default = 30 },
                    ["score"] = new NumberSchema { Default = 95.5 },
                    ["status"] = new UntitledSingleSelectEnumSchema { Enum = ["active", "inactive", "pending"], Default = "active" },
                    ["verified"] = new BooleanSchema { Default = true },
                },
                cancel));
        yield return Fixtures.Tool("test_elicitation_sep1330_enums", "Asks with choices.", (RequestContext<CallToolRequestParams> request, CancellationToken cancel) =>
            AskAsync(request, "Please choose.", Choices(), cancel));
    }

    private static Dictionary<string, PrimitiveSchemaDefinition> Choices()
    {
        string[] plain = ["option1", "option2", "option3"];
        EnumSchemaOption[] titled =
        [
            new() { Const = "value1", Title = "First Option" }, new() { Const = "value2", Title = "Second Option" }, new() { Const = "value3", Title = "Third Option" },
        ];
        return new()
        {
            ["untitledSingle"] = new UntitledSingleSelectEnumSchema { Enum = plain },
            ["titledSingle"] = new TitledSingleSelectEnumSchema { OneOf = titled },
#pragma warning disable MCP9001 // the older form
            ["legacyEnum"] = new LegacyTitledEnumSchema { Enum = ["opt1", "opt2", "opt3"], EnumNames = ["Option One", "Option Two", "Option Three"] },
#pragma warning restore MCP9001
            ["untitledMulti"] = new UntitledMultiSelectEnumSchema { Items = new() { Enum = plain } },
            ["titledMulti"] = new TitledMultiSelectEnumSchema { Items = new() { AnyOf = titled } },
        };
    }

    private static async Task<string> AskAsync(
        RequestContext<CallToolRequestParams> request, string message, Dictionary<string, PrimitiveSchemaDefinition> fields, CancellationToken cancel)
    {
        var said = await request.Server.ElicitAsync(new() { Message = message, RequestedSchema = new() { Properties = fields } }, cancel).ConfigureAwait(false);
        return $"User response: action={said.Action}, content={string.Join(", ", said.Content?.Select(c => $"{c.Key}={c.Value}") ?? [])}";
    }
}
