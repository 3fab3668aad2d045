using System.Globalization;
using RyzenLlm.Memory;
using RyzenLlm.Memory.Eval;
using RyzenLlm.Memory.Evaluation;
using RyzenLlm.Memory.Ranking;
using RyzenLlm.Memory.Stores;
using RyzenLlm.Memory.Stores.Qdrant;
using RyzenLlm.Memory.Stores.Sqlite;
using RyzenLlm.Memory.Tests.Qdrant;

if (args is ["locomo", var data, var output, ..])
{
    await LocomoAsync(data, output, args[3..]);
    return 0;
}

if (args is ["latency", ..])
{
    await Latency.RunAsync(args.Skip(1).Select(a => int.Parse(a, CultureInfo.InvariantCulture)));
    return 0;
}

if (args is ["density", var dialogueFolder])
{
    await Density.RunAsync(dialogueFolder);
    return 0;
}

if (args is ["agent", var file, var agent, var count])
{
    return await AgentAsync(file, agent, int.Parse(count, CultureInfo.InvariantCulture));
}

Console.Error.WriteLine("""
    locomo DATA RUN.jsonl [store=sqlite|fake-qdrant|qdrant:URL] [bm25] [charts=DIR] [Setting=value ...]   dialogues-N.jsonl and questions-N.jsonl to a run for score.py
    latency [SIZE ...]                                                              store and recall times at these numbers of units
    density DATA                                                                    tiers against the turns that questions need
    agent FILE NAME COUNT                                                           store and recall COUNT facts on a shared file; run several at once
    """);
return 1;

static async Task LocomoAsync(string data, string output, string[] settings)
{
    var options = new MemoryOptions();
    var ranking = new RankingOptions();
    string storeName = "sqlite", charts = "";
    foreach (string[] pair in settings.Select(s => s.Split('=', 2)))
    {
        if (pair[0] == "charts")
        {
            charts = pair[1];
            continue;
        }

        if (pair[0] == "bm25")
        {
            ranking = RankingOptions.Bm25 with { };
            options = options with { SecondHop = 0 };
            continue;
        }

        if (pair[0] == "store")
        {
            storeName = pair[1];
            continue;
        }

        object target = typeof(RankingOptions).GetProperty(pair[0]) is null ? options : ranking;
        var property = target.GetType().GetProperty(pair[0]) ?? throw new ArgumentException($"There is no setting {pair[0]}.");
        property.SetValue(target, Convert.ChangeType(pair[1], property.PropertyType, CultureInfo.InvariantCulture));
    }

    var models = new MemoryModels();
    string file = Path.Combine(Path.GetTempPath(), $"rsu-eval-{Environment.ProcessId}.db");
    using FakeQdrant? fake = storeName == "fake-qdrant" ? new FakeQdrant() : null;
    RsuStore store = storeName == "sqlite"
        ? new SqliteRsuStore(file, models.EmbedderId, ranking)
        : new QdrantRsuStore(new QdrantOptions { Url = fake?.Url ?? storeName["qdrant:".Length..], Collection = $"eval-{Environment.ProcessId}" }, models.EmbedderId, models.Dimensions, ranking);
    using (var memory = new RsuMemory(store, options, models))
    {
        await memory.OpenAsync();
        var clock = System.Diagnostics.Stopwatch.StartNew();
        int stored = 0;
        var run = new List<RunLine>();
        string[] dialogues = Directory.GetFiles(data, "dialogues-*.jsonl");
        foreach (string path in dialogues.Order())
        {
            stored += await DialogueRun.IngestAsync(memory, DialogueTurn.Read(path), conversation => conversation);
        }

        Console.WriteLine($"{stored} turns of {dialogues.Length} conversations in {clock.ElapsedMilliseconds} ms");
        clock.Restart();
        foreach (string path in Directory.GetFiles(data, "questions-*.jsonl").Order())
        {
            run.AddRange(await DialogueRun.RankAsync(memory, Question.Read(path), conversation => conversation, 50));
        }

        Console.WriteLine($"{run.Count} questions in {clock.ElapsedMilliseconds} ms");
        JsonLines.Write(output, run);
        DialogueTurn[] turns = [.. dialogues.Order().SelectMany(DialogueTurn.Read)];
        var scores = Scores.Of(Directory.GetFiles(data, "questions-*.jsonl").Order().SelectMany(Question.Read), turns, run);
        Console.WriteLine(EvaluationTables.Ranking(scores));
        Console.WriteLine(EvaluationTables.Budgets(scores, turns));
        if (charts.Length > 0)
        {
            File.WriteAllText(Path.Combine(charts, "memory-recall-by-budget.svg"), SvgChart.Draw(
                "What a pack holds", "words in the pack", "per cent",
                [
                    new ChartLine("evidence", [.. Scores.Budgets.Select(b => ((double)b, 100 * scores.Average(s => s.PackedRecall[b])))]),
                    new ChartLine("answer words", [.. Scores.Budgets.Select(b => ((double)b, 100 * scores.Where(s => s.AnswerCoverage.Count > 0).Average(s => s.AnswerCoverage[b])))]),
                ]));
        }

        foreach (var conversation in scores.GroupBy(s => s.Conversation))
        {
            Console.WriteLine($"{conversation.Key} R@10 {100 * conversation.Average(s => s.Recall[10]):F1} nDCG@10 {100 * conversation.Average(s => s.Ndcg10):F1}");
        }
    }

    foreach (string violation in fake?.Violations ?? [])
    {
        Console.WriteLine(violation);
    }

    File.Delete(file);
    File.Delete(file + "-wal");
    File.Delete(file + "-shm");
}

static async Task<int> AgentAsync(string path, string name, int count)
{
    var models = new MemoryModels();
    using var memory = new RsuMemory(new SqliteRsuStore(path, models.EmbedderId), new MemoryOptions(), models);
    int missed = 0;
    for (int i = 0; i < count; i++)
    {
        string fact = $"fact{name}x{i}";
        await memory.StoreAsync("t", new StoreRequest { Session = name, Items = [new Utterance { Text = $"Agent {name} notes {fact} about harbour traffic and weather.", Speaker = name }] });
        var hits = await memory.SearchAsync("t", new RecallRequest { Query = fact, Top = 1 });
        missed += hits.Count == 1 && hits[0].Record.Text.Contains(fact + " ", StringComparison.Ordinal) ? 0 : 1;
    }

    Console.WriteLine($"{name}: {count} stored, {missed} not found at once, {(await memory.StatsAsync("t")).Units} units in the file now");
    return missed;
}
