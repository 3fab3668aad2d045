using System.Text.Json;

namespace RyzenLlm.Mcp.Tests.Cli;

/// <summary>The verbs of the memory, as a process.</summary>
public sealed class MemoryVerbTests
{
    private const string Dialogue = """
        {"conv":"c1","session":1,"date":"2023-05-08","dia_id":"D1:1","speaker":"Ann","text":"I adopted a grey cat called Bruno yesterday."}
        {"conv":"c1","session":1,"date":"2023-05-08","dia_id":"D1:2","speaker":"Ben","text":"The train to Lyon was two hours late again."}
        {"conv":"c2","session":1,"date":"2023-06-01","dia_id":"D1:1","speaker":"Cleo","text":"My cat Bruno sleeps on the piano every afternoon."}
        """;

    private const string Questions = """
        {"qid":"q1","conv":"c1","question":"What is the name of Ann's cat?","category":4,"answer":"Bruno","evidence":["D1:1"]}
        {"qid":"q2","conv":"c2","question":"Where does the cat Bruno sleep?","category":4,"answer":"on the piano","evidence":["D1:1"]}
        """;

    private string _folder = null!;

    [SetUp]
    public void Create() => _folder = Directory.CreateTempSubdirectory("ryzenllm-memory-cli-").FullName;

    [TearDown]
    public void Delete() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task DialoguesAreTenantsOfTheirOwnAndQuestionsGiveARun()
    {
        var (dialogue, questions, run) = (await Write("d.jsonl", Dialogue), await Write("q.jsonl", Questions), Path.Combine(_folder, "run.jsonl"));
        var ingested = await Json("ingest", "--file", dialogue);
        Assert.That(ingested.GetProperty("stored").GetInt32(), Is.EqualTo(3));
        Assert.That(Strings(ingested.GetProperty("tenants")), Is.EqualTo(new[] { "default/c1", "default/c2" }));
        Assert.That((await Json("ingest", "--file", dialogue)).GetProperty("stored").GetInt32(), Is.Zero, "again");

        var (code, _, error) = await Run("recall", "--queries", questions, "--top", "50", "--out", run);
        Assert.That(code, Is.Zero, error);
        var lines = (await File.ReadAllLinesAsync(run)).Select(l => JsonDocument.Parse(l).RootElement).ToList();
        Assert.That(lines.Select(l => l.GetProperty("qid").GetString()), Is.EqualTo(new[] { "q1", "q2" }));
        Assert.That(Strings(lines[0].GetProperty("retrieved"))[0], Is.EqualTo("c1/D1:1"));
        Assert.That(Strings(lines[1].GetProperty("retrieved")), Is.EqualTo(new[] { "c2/D1:1" }), "nothing of the other conversation");

        var evaluated = await Json("eval", "--dialogues", dialogue, "--questions", questions, "--out", _folder);
        Assert.That(evaluated.GetProperty("quality").GetProperty("recall_at10").GetDouble(), Is.EqualTo(1));
        Assert.That(evaluated.GetProperty("quality").GetProperty("foreign_at10").GetDouble(), Is.Zero);
        Assert.That(await File.ReadAllTextAsync(Path.Combine(_folder, "tables.md")), Does.Contain("| single-hop | 2 | 100.0").And.Contain("| full | 3 | 100.0 | 100.0 |"));
        Assert.That(await File.ReadAllTextAsync(Path.Combine(_folder, "recall-by-budget.svg")), Does.StartWith("<svg"));
    }

    [Test]
    public async Task TimesAreMeasuredBySize()
    {
        var times = (await Json("eval", "--latency", "30", "60", "--out", _folder)).GetProperty("latency");
        Assert.That(times.EnumerateArray().Select(t => t.GetProperty("units").GetInt32()), Is.EqualTo(new[] { 30, 60 }));
        Assert.That(times[0].GetProperty("recall_median").GetDouble(), Is.Positive);
        Assert.That(await File.ReadAllTextAsync(Path.Combine(_folder, "latency-by-size.svg")), Does.Contain("recall"));
    }

    [Test]
    public async Task TextIsStoredRecalledListedShownCountedAndForgotten()
    {
        var file = await Write("notes.txt", "The spare key hangs behind the green clock in the kitchen.\n\nThe ferry to the island leaves at nine on weekdays.");
        Assert.That((await Json("ingest", "--file", file)).GetProperty("stored").GetInt32(), Is.EqualTo(2));
        var found = await Json("recall", "Where is the spare key?", "--budget", "200", "--top", "1");
        Assert.That(found.GetProperty("text").GetString(), Does.Contain("behind the green clock"));
        var (_, text, _) = await Run("recall", "Where is the spare key?", "--full");
        Assert.That(text, Does.StartWith("<recalled-context").And.Contain("source notes.txt"));
        var (code, nothing, note) = await Run("recall", "Where is the spare key?", "--tenant", "someone-else");
        Assert.That((code, nothing), Is.EqualTo((0, "")));
        Assert.That(note, Does.Contain("nothing in the memory of someone-else"));

        var listed = await Json("list", "--session", "notes");
        Assert.That(listed.EnumerateArray().Select(u => u.GetProperty("text").GetString()!.Split(' ')[1]), Is.EqualTo(new[] { "spare", "ferry" }));
        var id = listed[1].GetProperty("id").GetString()!;
        var (_, shown, _) = await Run("show", id[..8]);
        Assert.That(shown, Does.Contain(id).And.Contain("notes.txt").And.Contain("ferry"));
        Assert.That((await Json("stats")).GetProperty("units").GetInt32(), Is.EqualTo(2));

        var (_, dry, _) = await Run("forget", "--id", id[..8]);
        Assert.That(dry, Does.StartWith("1 units would be forgotten; add --yes"));
        Assert.That((await Json("stats")).GetProperty("units").GetInt32(), Is.EqualTo(2));
        var forgotten = await Json("forget", "--id", id, "--yes");
        Assert.That((forgotten.GetProperty("deleted").GetInt32(), forgotten.GetProperty("remaining").GetInt32()), Is.EqualTo((1, 0)));
        Assert.That((await Json("stats")).GetProperty("units").GetInt32(), Is.EqualTo(1));
    }

    [Test]
    public async Task AMistakeInAFileStoresNothing()
    {
        var good = await Write("good.txt", "The spare key hangs behind the green clock in the kitchen.");
        var bad = await Write("bad.jsonl", """{"role":"user"}""");
        var (code, _, error) = await Run("ingest", "--file", good, bad);
        Assert.That(code, Is.EqualTo(1));
        Assert.That(error, Does.Contain("bad.jsonl, message 1"));
        Assert.That((await Json("stats")).GetProperty("units").GetInt32(), Is.Zero);
    }

    [Test]
    public async Task MigrationCopiesEveryTenantOnce()
    {
        await Json("ingest", "--file", await Write("d.jsonl", Dialogue));
        var target = $"sqlite:{Path.Combine(_folder, "copy.db")}";
        Assert.That((await Json("migrate", "--to", target)).GetProperty("copied").GetInt32(), Is.EqualTo(3));
        Assert.That((await Json("migrate", "--to", target)).GetProperty("copied").GetInt32(), Is.EqualTo(3));
        var stats = await Json("stats", "--store", target, "--tenant", "default/c1");
        Assert.That(stats.GetProperty("units").GetInt32(), Is.EqualTo(2), "copied twice, there once");
        Assert.That(Strings(stats.GetProperty("tenants")), Is.EqualTo(new[] { "default/c1", "default/c2" }));
    }

    [Test]
    public async Task AModelCanMakeTheVectorsAndTheBuiltInEmbedderAgain()
    {
        await Json("ingest", "--file", await Write("d.jsonl", Dialogue));
        string[] tenant = ["--tenant", "default/c1"];
        Assert.That((await Json(["stats", .. tenant])).GetProperty("embedder").GetString(), Is.EqualTo("hash-256@1"));
        string[] model = ["--set", "Memory:Embedder=model:tales-bitnet"];
        Assert.That((await Json(["stats", .. tenant, .. model])).GetProperty("embedder").GetString(), Is.EqualTo("hash-256@1"), "reading changes nothing");

        var changed = await Json(["reembed", .. model]);
        Assert.That(changed.GetProperty("embedded").GetInt32(), Is.EqualTo(3));
        Assert.That(changed.GetProperty("embedder").GetString(), Does.Match("^model:tales-bitnet/mean@[0-9a-f]{16}$"));
        Assert.That((await Json(["reembed", .. model])).GetProperty("embedded").GetInt32(), Is.Zero);

        // The verb has the built-in embedder in its settings, and asks the store's in its place.
        Assert.That((await Json(["recall", "Which pet did Ann adopt?", .. tenant])).GetProperty("text").GetString(), Does.Contain("Bruno"));
        Assert.That((await Json(["ingest", "--file", await Write("more.jsonl", Dialogue.Replace("grey", "white", StringComparison.Ordinal).Replace("D1", "D2", StringComparison.Ordinal))])).GetProperty("stored").GetInt32(), Is.Positive);
        Assert.That((await Json(["migrate", "--to", $"sqlite:{Path.Combine(_folder, "copy.db")}"])).GetProperty("copied").GetInt32(), Is.GreaterThan(3));

        Assert.That((await Json("reembed")).GetProperty("embedder").GetString(), Is.EqualTo("hash-256@1"));
        Assert.That((await Json("reembed", "--set", "Memory:Embedder=none")).GetProperty("embedder").GetString(), Is.EqualTo("none"));
        Assert.That((await Json(["recall", "Which pet did Ann adopt?", .. tenant])).GetProperty("text").GetString(), Does.Contain("Bruno"));

        var (code, _, error) = await Run("stats", "--set", "Memory:Embedder=model:nobody");
        Assert.That((code, error), Is.EqualTo((1, error)));
        Assert.That(error, Does.Contain("no model named 'nobody'"));
    }

    private async Task<string> Write(string name, string content)
    {
        var path = Path.Combine(_folder, name);
        await File.WriteAllTextAsync(path, content);
        return path;
    }

    private static string[] Strings(JsonElement array) => [.. array.EnumerateArray().Select(e => e.GetString()!)];

    private Task<(int Code, string Out, string Error)> Run(params string[] arguments)
    {
        var environment = BuiltProgram.Environment();
        environment["RYZENLLM__MEMORY__STORE"] = $"sqlite:{Path.Combine(_folder, "memory.db")}";
        return BuiltProgram.RunAsync(["memory", .. arguments], "", environment);
    }

    private async Task<JsonElement> Json(params string[] arguments)
    {
        var (code, output, error) = await Run([.. arguments, "--json"]);
        Assert.That(code, Is.Zero, error);
        return JsonDocument.Parse(output).RootElement;
    }
}
