using System.Globalization;
using RyzenLlm.Memory;
using RyzenLlm.Memory.Evaluation;
using RyzenLlm.Memory.Ranking;
using RyzenLlm.Memory.Stores.Sqlite;

// locomo DATA RUN.jsonl [setting=value ...]
string data = args[1];
var ranking = new RankingOptions();
foreach (string setting in args.Skip(3))
{
    string[] pair = setting.Split('=');
    var property = typeof(RankingOptions).GetProperty(pair[0]) ?? throw new ArgumentException($"No setting {pair[0]}.");
    ranking = ranking with { };
    property.SetValue(ranking, Convert.ChangeType(double.Parse(pair[1], CultureInfo.InvariantCulture), property.PropertyType, CultureInfo.InvariantCulture));
}

string file = Path.Combine(Path.GetTempPath(), $"rsu-eval-{Environment.ProcessId}.db");
var models = new MemoryModels();
using (var memory = new RsuMemory(new SqliteRsuStore(file, models.EmbedderId, ranking), new MemoryOptions(), models))
{
    await memory.OpenAsync();
    var clock = System.Diagnostics.Stopwatch.StartNew();
    int stored = 0;
    for (int i = 0; File.Exists($"{data}/dialogues-{i}.jsonl"); i++)
    {
        stored += await DialogueRun.IngestAsync(memory, DialogueTurn.Read($"{data}/dialogues-{i}.jsonl"), c => c);
    }

    Console.WriteLine($"{stored} turns in {clock.ElapsedMilliseconds} ms, file {new FileInfo(file).Length} bytes");
    clock.Restart();
    var run = new List<RunLine>();
    for (int i = 0; File.Exists($"{data}/questions-{i}.jsonl"); i++)
    {
        run.AddRange(await DialogueRun.RankAsync(memory, Question.Read($"{data}/questions-{i}.jsonl"), c => c, 50));
    }

    Console.WriteLine($"{run.Count} questions in {clock.ElapsedMilliseconds} ms");
    JsonLines.Write(args[2], run);
}

File.Delete(file);
File.Delete(file + "-wal");
File.Delete(file + "-shm");
