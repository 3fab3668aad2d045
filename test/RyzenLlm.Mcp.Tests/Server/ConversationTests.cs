using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>A conversation of ten turns in which one client learns what another one heard, over the built program.</summary>
public sealed class ConversationTests
{
    private const string Fact = "My sister Ingrid moved to Tromsoe in March and works on the research ship Polarstern.";

    private static readonly string[] SmallTalk =
    [
        "Good morning! Did you sleep well after the long drive?",
        "The bakery on the corner has new rye bread, quite dark.",
        "I am repairing the old bicycle, the chain keeps falling off.",
        "It rained all weekend, so the garden had to wait.",
        "My neighbour plays the cello every evening at eight.",
        "We should book the train tickets before they get expensive.",
        "The library closes early on Wednesdays now.",
    ];

    private string _folder = null!;

    [SetUp]
    public void Create() => _folder = Directory.CreateTempSubdirectory("ryzenllm-conversation-").FullName;

    [TearDown]
    public void Delete() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task WhatOneClientStoredInTurnOneAnotherRecallsInTurnNineAndNoOtherTenantDoes()
    {
        const string question = "On which ship does Ingrid work?";
        await using var first = await ConnectAsync("family");
        await using var second = await ConnectAsync("family");
        await using var stranger = await ConnectAsync("neighbours");

        await Say(first, 1, "Ann", Fact);
        for (var turn = 2; turn <= 8; turn++)
        {
            await Say(turn % 2 == 0 ? second : first, turn, turn % 2 == 0 ? "Ben" : "Ann", SmallTalk[turn - 2]);
        }

        var ninth = await Recall(second, question);
        Assert.That(ninth, Does.Contain(Fact), "turn 9: the other client of the tenant");
        Assert.That(await Recall(stranger, question), Does.Not.Contain("Ingrid").And.Not.Contain("Polarstern"));

        // The answer is stored too, and turn 10, asked by the first client, finds the conversation as a whole.
        await Say(second, 9, "Ben", "Ingrid works on the Polarstern, the research ship.");
        Assert.That(await Recall(first, "Who works on the Polarstern?"), Does.Contain("Ann: \"My sister Ingrid").And.Contain("Ben: \"Ingrid works"));
        Assert.That(await Recall(stranger, "Who works on the Polarstern?"), Does.Not.Contain("Ingrid"));
    }

    private static async Task Say(McpClient client, int turn, string speaker, string text)
    {
        var result = await client.CallToolAsync("store-context", new Dictionary<string, object?>
        {
            ["turns"] = new[] { new { role = speaker, text } },
            ["session"] = "kitchen",
            ["first_turn"] = turn,
        });
        Assert.That(result.IsError, Is.Not.True, Text(result));
        Assert.That(result.StructuredContent!.Value.GetProperty("stored").GetInt32(), Is.EqualTo(1));
    }

    private static async Task<string> Recall(McpClient client, string query)
    {
        var result = await client.CallToolAsync("recall-context", new Dictionary<string, object?> { ["query"] = query, ["budget"] = 150 });
        Assert.That(result.IsError, Is.Not.True, Text(result));
        return Text(result);
    }

    private async Task<McpClient> ConnectAsync(string tenant)
    {
        var environment = BuiltProgram.Environment();
        environment["RYZENLLM__MEMORY__STORE"] = $"sqlite:{Path.Combine(_folder, "memory.db")}";
        environment["RYZENLLM__MEMORY__TENANT"] = tenant;
        return await McpClient.CreateAsync(new StdioClientTransport(new StdioClientTransportOptions
        {
            Command = BuiltProgram.Path,
            Arguments = ["serve"],
            EnvironmentVariables = environment,
        }));
    }

    private static string Text(CallToolResult result) => string.Concat(result.Content.OfType<TextContentBlock>().Select(block => block.Text));
}
