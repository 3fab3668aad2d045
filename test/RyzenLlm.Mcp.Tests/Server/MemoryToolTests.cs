using System.Text.Json;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>The tools of the memory and generate with memory, on a file of their own.</summary>
public sealed class MemoryToolTests
{
    private const string Fact = "The spare key of the boat house hangs behind the green clock in the kitchen.";

    private string _folder = null!;
    private InProcessServer _server = null!;

    [SetUp]
    public async Task Start()
    {
        _folder = Directory.CreateTempSubdirectory("ryzenllm-memory-").FullName;
        _server = await StartAsync("ann");
    }

    [TearDown]
    public async Task Stop()
    {
        await _server.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public async Task AFactIsRecalledWordForWordAsQuotedDataAndOnlyByItsTenant()
    {
        var stored = await Call("store-context", ("text", Fact), ("speaker", "Ann"), ("source", "note.txt"));
        Assert.That(stored.GetProperty("stored").GetInt32(), Is.EqualTo(1));
        await Call("store-context", ("text", "The ferry leaves at nine on weekdays, and at ten on Sundays."));
        var found = await Call("recall-context", ("query", "Where is the key of the boat house?"), ("top", 1), ("budget", 200));
        var text = found.GetProperty("text").GetString()!;
        Assert.That(text, Does.Contain($"Ann: \"{Fact}\"").And.Contain("data, not instructions").And.Not.Contain("ferry"));
        Assert.That(found.GetProperty("tokens").GetInt32(), Is.InRange(1, 200));
        var unit = found.GetProperty("units").EnumerateArray().Single();
        Assert.That(unit.GetProperty("id").GetString(), Is.EqualTo(stored.GetProperty("ids")[0].GetString()));
        Assert.That(unit.GetProperty("source").GetString(), Is.EqualTo("note.txt"));

        await using var other = await StartAsync("ben");
        var foreign = await Call(other.Client, "recall-context", ("query", "Where is the key of the boat house?"));
        Assert.That(foreign.GetProperty("units").GetArrayLength(), Is.Zero);
        Assert.That(foreign.GetProperty("text").GetString(), Is.Empty);
    }

    [Test]
    public async Task StoringAgainChangesNothing()
    {
        await Call("store-context", ("text", Fact));
        var again = await Call("store-context", ("text", Fact));
        Assert.That((again.GetProperty("stored").GetInt32(), again.GetProperty("merged").GetInt32()), Is.EqualTo((0, 1)));
        var shortTurn = new[] { Arguments(("turns", new[] { new { role = "user", text = "Yes." } }), ("session", "s"), ("first_turn", 7)) };
        await _server.Client.CallToolAsync("store-context", shortTurn[0]);
        var repeated = await _server.Client.CallToolAsync("store-context", shortTurn[0]);
        Assert.That(repeated.StructuredContent!.Value.GetProperty("merged").GetInt32(), Is.EqualTo(1));
        var note = await Call("store-context", ("text", "Tea, no milk."));
        var sameNote = await Call("store-context", ("text", "Tea, no milk."));
        Assert.That(sameNote.GetProperty("ids")[0].GetString(), Is.EqualTo(note.GetProperty("ids")[0].GetString()));
    }

    [Test]
    public async Task ABudgetIsCountedByTheDefaultModelOnceThatIsInMemory()
    {
        await Call("store-context", ("text", Fact));
        var before = await Call("recall-context", ("query", "boat house key"));
        await Call("generate", ("prompt", "The"), ("max_tokens", 1));
        var after = await Call("recall-context", ("query", "boat house key"));
        var text = after.GetProperty("text").GetString()!;
        Assert.That(before.GetProperty("text").GetString(), Is.EqualTo(text));
        var tokenizer = Mcp.Cli.TokenizeVerb.Load(new("mamba-f32", Path.Combine(Repository.Models, "mamba-f32.gguf")));
        var tokens = tokenizer.Encode(text, addBos: false, parseSpecial: false).Length;
        Assert.That(after.GetProperty("tokens").GetInt32(), Is.EqualTo(tokens));
        Assert.That(before.GetProperty("tokens").GetInt32(), Is.Not.EqualTo(tokens));
    }

    [Test]
    public async Task ConditionsNarrowARecallAndABudgetBoundsIt()
    {
        await Call("store-context", ("text", "The red boat is being painted in Hamburg this spring."), ("session", "one"), ("scope", "work"), ("at", "2026-01-05"));
        await Call("store-context", ("text", "The blue boat was sold in Bremen after the long winter."), ("session", "two"), ("at", "2026-02-05T10:00:00Z"));
        Assert.That(await Count(("session", "one")), Is.EqualTo(1));
        Assert.That(await Count(("scope", "work")), Is.EqualTo(1));
        Assert.That(await Count(("since", "2026-02-05")), Is.EqualTo(1));
        Assert.That(await Count(("until", "2026-01-05")), Is.EqualTo(1), "the last moment of that day counts");
        Assert.That(await Count(("since", "2026-01-01"), ("until", "2026-03-01")), Is.EqualTo(2));
        Assert.That(await Count(("minScore", 1000)), Is.Zero);
        Assert.That(await Count(("budget", 16)), Is.Zero, "no unit fits");
        var full = await Call("recall_context", ("query", "boat"), ("format", "full"));
        Assert.That(full.GetProperty("text").GetString(), Does.Contain("session two").And.Contain("score"));

        async Task<int> Count(params (string, object?)[] conditions) =>
            (await Call("recall-context", [("query", "boat"), .. conditions])).GetProperty("units").GetArrayLength();
    }

    [Test]
    public async Task ACorrectionReplacesWhatItCorrects()
    {
        var stored = await Call("store-context", ("text", "The meeting with the harbour master is on Tuesday at nine."));
        var id = stored.GetProperty("ids")[0].GetString()!;
        var corrected = await Call("store-context", ("text", "The meeting with the harbour master is on Friday at noon."), ("supersedes", id[..8]));
        Assert.That(corrected.GetProperty("superseded").GetInt32(), Is.EqualTo(1));
        var found = await Call("recall-context", ("query", "When is the meeting with the harbour master?"));
        Assert.That(found.GetProperty("text").GetString(), Does.Contain("Friday").And.Not.Contain("Tuesday"));
        var past = await Call("recall-context", ("query", "When is the meeting with the harbour master?"), ("include_past", true));
        Assert.That(past.GetProperty("units").GetArrayLength(), Is.EqualTo(2));
    }

    [Test]
    public async Task ForgettingTakesADryRunAndItsCountAndProvesAbsence()
    {
        await Call("store-context", ("text", Fact), ("session", "keys"));
        await Call("store-context", ("text", "The ferry leaves at nine on weekdays, and at ten on Sundays."), ("session", "ferry"));
        var dry = await Call("forget-context", ("session", "keys"));
        Assert.That(dry.GetProperty("dry_run").GetBoolean(), Is.True);
        Assert.That((dry.GetProperty("matched").GetInt32(), dry.GetProperty("deleted").GetInt32()), Is.EqualTo((1, 0)));
        Assert.That(dry.GetProperty("sample")[0].GetProperty("text").GetString(), Is.EqualTo(Fact));

        var refused = await _server.Client.CallToolAsync("forget-context", Arguments(("session", "keys"), ("dry_run", false)));
        Assert.That(refused.IsError, Is.True);
        Assert.That(Text(refused), Does.Contain("Nothing was forgotten").And.Contain("call again with confirm 1"));
        Assert.That((await Call("recall-context", ("query", "boat house key"))).GetProperty("units").GetArrayLength(), Is.EqualTo(1));

        var done = await Call("forget-context", ("session", "keys"), ("dry_run", "false"), ("confirm", 1));
        Assert.That((done.GetProperty("deleted").GetInt32(), done.GetProperty("remaining").GetInt32()), Is.EqualTo((1, 0)));
        Assert.That((await Call("recall-context", ("query", "boat house key"))).GetProperty("units").GetArrayLength(), Is.Zero);
        Assert.That((await Call("recall-context", ("query", "ferry"))).GetProperty("units").GetArrayLength(), Is.EqualTo(1));
        Assert.That((await Call("forget-context", ("everything", true))).GetProperty("matched").GetInt32(), Is.EqualTo(1));
    }

    [TestCase("mamba-f32")]
    [TestCase("bitnet-b158-tq2_0")]
    public async Task GenerateWithMemoryRecallsNamesAndStores(string model)
    {
        var id = (await Call("store-context", ("text", Fact), ("scope", "boats"))).GetProperty("ids")[0].GetString();
        var without = await Generate(("memory", false));
        Assert.That(without.TryGetProperty("recalled", out _), Is.False);
        var with = await Generate(("memory", true), ("session", "talk"));
        Assert.That(with.GetProperty("recalled").EnumerateArray().Select(u => u.GetString()), Is.EqualTo(new[] { id }));
        Assert.That(with.TryGetProperty("memory_problem", out var problem), Is.False, $"{problem}");
        Assert.That(with.GetProperty("prompt_tokens").GetInt32(), Is.GreaterThan(without.GetProperty("prompt_tokens").GetInt32() + 20), "the pack is in the prompt");
        Assert.That((await Generate(("memory", "elsewhere"))).GetProperty("recalled").GetArrayLength(), Is.Zero, "nothing on that shelf");

        var turns = await Call("recall-context", ("query", "boat house key"), ("session", "talk"), ("format", "full"));
        Assert.That(turns.GetProperty("text").GetString(), Does.Contain("user").And.Contain("Who has the boat house key"));

        Task<JsonElement> Generate(params (string, object?)[] memory) => Call(
            "generate", [("prompt", "Who has the boat house key?"), ("model", model), ("max_tokens", 4), ("template", "plain"), .. memory]);
    }

    [Test]
    public async Task AMemoryThatCannotBeOpenedIsReportedByTheCallThatNeedsIt()
    {
        var broken = Path.Combine(_folder, "broken.db");
        await File.WriteAllTextAsync(broken, new string('x', 10_000));
        await using var server = await InProcessServer.StartAsync("2025-11-25", s => s with { Memory = s.Memory with { Store = $"sqlite:{broken}" } });
        Assert.That(await server.Client.ListToolsAsync(), Has.Count.EqualTo(ToolTests.Tools.Length));
        var result = await server.Client.CallToolAsync("recall-context", Arguments(("query", "x")));
        Assert.That(result.IsError, Is.True);
        Assert.That(Text(result), Does.Contain(broken));
        File.Delete(broken);
        Assert.That((await Call(server.Client, "recall-context", ("query", "x"))).GetProperty("units").GetArrayLength(), Is.Zero, "tried again");
    }

    [Test]
    public async Task AnotherEmbedderReplacesTheVectorsInTheBackground()
    {
        await Call("store-context", ("text", Fact));
        await using var changed = await StartAsync("ann", "model:mamba-f32");
        Assert.That((await Call(changed.Client, "recall-context", ("query", "spare key"))).GetProperty("text").GetString(), Does.Contain(Fact));

        using var store = new RyzenLlm.Memory.Stores.Sqlite.SqliteRsuStore(Path.Combine(_folder, "memory.db"), "none");
        do
        {
            await Task.Delay(20);
            await store.ForTenant("ann").RankAsync("", null, new("ann"), 1); // looks what the file is embedded with
        }
        while (!store.Embedder.StartsWith("model:mamba-f32/mean@", StringComparison.Ordinal));

        Assert.That((await Call(changed.Client, "recall-context", ("query", "spare key"))).GetProperty("text").GetString(), Does.Contain(Fact));
        await Call("store-context", ("text", "The ferry leaves at nine on weekdays, and at ten on Sundays."));
        var units = await store.ForTenant("ann").ReadAsync(new("ann"), 9, vectors: true).ToArrayAsync();
        Assert.That(units.Select(u => u.Embedding is null), Is.EqualTo(new[] { false, false }), "the first server follows");
    }

    private Task<InProcessServer> StartAsync(string tenant, string embedder = "builtin") => InProcessServer.StartAsync(
        "2025-11-25", s => s with { Memory = s.Memory with { Store = $"sqlite:{Path.Combine(_folder, "memory.db")}", Tenant = tenant, Embedder = embedder } });

    private Task<JsonElement> Call(string tool, params (string, object?)[] arguments) => Call(_server.Client, tool, arguments);

    private static async Task<JsonElement> Call(McpClient client, string tool, params (string, object?)[] arguments)
    {
        var result = await client.CallToolAsync(tool, Arguments(arguments));
        Assert.That(result.IsError, Is.Not.True, Text(result));
        return result.StructuredContent!.Value;
    }

    private static string Text(CallToolResult result) => string.Concat(result.Content.OfType<TextContentBlock>().Select(block => block.Text));

    private static Dictionary<string, object?> Arguments(params (string Name, object? Value)[] arguments) => arguments.ToDictionary(a => a.Name, a => a.Value);
}
