using System.Diagnostics;
using System.Globalization;
using RyzenLlm.Memory.Stores.Sqlite;

namespace RyzenLlm.Memory.Eval;

/// <summary>Times of storing and recalling in a memory file of made-up conversations with a Zipf-like vocabulary.</summary>
internal static class Latency
{
    private const int Calls = 200;
    private const int TurnsPerSession = 25;
    private const int Vocabulary = 30_000;

    public static async Task RunAsync(IEnumerable<int> sizes)
    {
        Console.WriteLine("| units | store one turn p50 / p95 ms | its CPU ms | recall p50 / p95 ms | its CPU ms | open and index ms | file bytes per unit | index bytes per unit |");
        Console.WriteLine("|---|---|---|---|---|---|---|---|");
        foreach (int size in sizes.DefaultIfEmpty(1000))
        {
            Console.WriteLine(await MeasureAsync(size));
        }
    }

    private static async Task<string> MeasureAsync(int size)
    {
        string file = Path.Combine(Path.GetTempPath(), $"rsu-latency-{Environment.ProcessId}-{size}.db");
        var random = new Random(1);
        var models = new MemoryModels();
        double[] store = new double[Calls], recall = new double[Calls];
        double storeCpu, recallCpu;
        using (var memory = new RsuMemory(new SqliteRsuStore(file, models.EmbedderId), new MemoryOptions(), models))
        {
            for (int stored = 0; stored < size; stored += TurnsPerSession)
            {
                await memory.StoreAsync("t", Session(random, stored / TurnsPerSession, TurnsPerSession));
            }

            storeCpu = Cpu();
            for (int i = 0; i < Calls; i++)
            {
                store[i] = await TimeAsync(() => memory.StoreAsync("t", Session(random, size, 1)));
            }

            storeCpu = Cpu() - storeCpu;
        }

        long bytes = new FileInfo(file).Length;
        long before = GC.GetTotalMemory(forceFullCollection: true);
        using (var memory = new RsuMemory(new SqliteRsuStore(file, models.EmbedderId), new MemoryOptions(), models))
        {
            var request = new RecallRequest { Query = "warm up" };
            double open = await TimeAsync(() => memory.RecallAsync("t", request));
            long index = GC.GetTotalMemory(forceFullCollection: true) - before;
            recallCpu = Cpu();
            for (int i = 0; i < Calls; i++)
            {
                string query = "What did Anna say about " + Sentence(random, 6);
                recall[i] = await TimeAsync(() => memory.RecallAsync("t", new RecallRequest { Query = query }));
            }

            recallCpu = Cpu() - recallCpu;
            Delete(file);
            return string.Create(CultureInfo.InvariantCulture,
                $"| {size} | {Quantile(store, .5):F2} / {Quantile(store, .95):F2} | {storeCpu / Calls:F2} | {Quantile(recall, .5):F2} / {Quantile(recall, .95):F2} | {recallCpu / Calls:F2} | {open:F0} | {bytes / size} | {index / size} |");
        }
    }

    private static StoreRequest Session(Random random, int number, int turns) => new()
    {
        Session = $"s{number}",
        Items = [.. Enumerable.Range(0, turns).Select(i => new Utterance { Text = Sentence(random, random.Next(6, 34)), Speaker = i % 2 == 0 ? "Anna" : "Ben" })],
    };

    private static string Sentence(Random random, int words) =>
        string.Join(' ', Enumerable.Range(0, words).Select(_ => Word((int)(Vocabulary * Math.Pow(random.NextDouble(), 4))))) + ".";

    /// <summary>A pronounceable word for a number.</summary>
    private static string Word(int number)
    {
        const string consonants = "bdfgklmnprstvz", vowels = "aeiou";
        string word = "";
        for (int rest = number + 50; rest > 0; rest /= consonants.Length * vowels.Length)
        {
            word += $"{consonants[rest % consonants.Length]}{vowels[rest / consonants.Length % vowels.Length]}";
        }

        return word;
    }

    /// <summary>Processor time of this process in ms: unlike the clock, it does not count waiting for other processes.</summary>
    private static double Cpu() => Process.GetCurrentProcess().TotalProcessorTime.TotalMilliseconds;

    private static async Task<double> TimeAsync(Func<Task> work)
    {
        long start = Stopwatch.GetTimestamp();
        await work();
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }

    private static double Quantile(double[] values, double share) => values.Order().ElementAt((int)(share * (values.Length - 1)));

    private static void Delete(string file)
    {
        foreach (string path in Directory.GetFiles(Path.GetDirectoryName(file)!, Path.GetFileName(file) + "*"))
        {
            File.Delete(path);
        }
    }
}
