using System.Globalization;
using RyzenLlm.Memory.Evaluation;
using RyzenLlm.Memory.Stores.Sqlite;

namespace RyzenLlm.Memory.Eval;

/// <summary>Whether density tells which turns some later question needs.</summary>
internal static class Density
{
    public static async Task RunAsync(string data)
    {
        string file = Path.Combine(Path.GetTempPath(), $"rsu-density-{Environment.ProcessId}.db");
        var models = new MemoryModels();
        using var memory = new RsuMemory(new SqliteRsuStore(file, models.EmbedderId), new MemoryOptions(), models);
        DialogueTurn[] turns = [.. Directory.GetFiles(data, "dialogues-*.jsonl").Order().SelectMany(DialogueTurn.Read)];
        HashSet<string> needed = [.. Directory.GetFiles(data, "questions-*.jsonl").SelectMany(Question.Read).SelectMany(q => q.Evidence.Select(e => $"{q.Conversation}/{e}"))];
        await DialogueRun.IngestAsync(memory, turns, c => c);
        var units = new List<Rsu>();
        foreach (string conversation in turns.Select(t => t.Conversation).Distinct())
        {
            units.AddRange(await memory.ListAsync(conversation, top: 100_000).ToArrayAsync());
        }

        double words = units.Sum(Words), evidence = units.Count(u => needed.Contains(u.Source));
        Console.WriteLine("| tier | units | share of words | share of evidence turns |\n|---|---|---|---|");
        foreach (var tier in units.GroupBy(u => u.Tier).OrderBy(g => g.Key))
        {
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {tier.Key} | {tier.Count()} | {100 * tier.Sum(Words) / words:F1} | {100 * tier.Count(u => needed.Contains(u.Source)) / evidence:F1} |"));
        }

        float[] yes = [.. units.Where(u => needed.Contains(u.Source)).Select(u => u.Density)], no = [.. units.Where(u => !needed.Contains(u.Source)).Select(u => u.Density)];
        double wins = yes.Sum(y => no.Count(n => n < y) + no.Count(n => n == y) / 2.0);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"AUC {wins / ((double)yes.Length * no.Length):F3}"));
        memory.Dispose();
        File.Delete(file);
    }

    private static int Words(Rsu unit) => unit.Text.Split(' ').Length;
}
