using System.Diagnostics;
using RyzenLlm.Memory.Stores.Sqlite;

namespace RyzenLlm.Memory.Evaluation;

/// <summary>Times of one size of memory, in milliseconds of the clock and of the processor.</summary>
/// <param name="Units">Units in the memory.</param>
/// <param name="StoreMedian">Storing one turn.</param>
/// <param name="Store95">The same, 95th percentile.</param>
/// <param name="StoreProcessor">Mean processor time of it, which does not count waiting for other processes.</param>
/// <param name="RecallMedian">Recalling with a question of ten words.</param>
/// <param name="Recall95">The same, 95th percentile.</param>
/// <param name="RecallProcessor">Mean processor time of it.</param>
/// <param name="Open">Opening the file, building its index and the first recall.</param>
/// <param name="FileBytes">Bytes on disk for each unit.</param>
/// <param name="IndexBytes">Bytes of the index in memory for each unit.</param>
public sealed record LatencyPoint(
    int Units, double StoreMedian, double Store95, double StoreProcessor, double RecallMedian, double Recall95, double RecallProcessor, double Open, long FileBytes, long IndexBytes);

/// <summary>Measures storing and recalling in a memory file of made-up conversations with a Zipf-like vocabulary.</summary>
public static class LatencyRun
{
    private const string Tenant = "t";
    private const int Calls = 200;
    private const int TurnsPerSession = 25;
    private const int Vocabulary = 30_000;

    /// <summary>Fills a new file in a folder with so many units and measures 200 calls of each kind.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The size is not above 0.</exception>
    public static async Task<LatencyPoint> MeasureAsync(int units, string folder, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(units, 1);
        string file = Path.Combine(folder, $"latency-{units}.db");
        var random = new Random(1);
        var models = new MemoryModels();
        double[] store = new double[Calls], recall = new double[Calls];
        double storeProcessor;
        using (var memory = new RsuMemory(new SqliteRsuStore(file, models.EmbedderId), new MemoryOptions(), models))
        {
            for (int stored = 0; stored < units; stored += TurnsPerSession)
            {
                await memory.StoreAsync(Tenant, Session(random, stored / TurnsPerSession, Math.Min(TurnsPerSession, units - stored)), cancellationToken).ConfigureAwait(false);
            }

            storeProcessor = Processor();
            for (int i = 0; i < Calls; i++)
            {
                store[i] = await TimeAsync(() => memory.StoreAsync(Tenant, Session(random, units, 1), cancellationToken)).ConfigureAwait(false);
            }

            storeProcessor = Processor() - storeProcessor;
        }

        long bytes = new FileInfo(file).Length;
        long before = GC.GetTotalMemory(forceFullCollection: true);
        using (var memory = new RsuMemory(new SqliteRsuStore(file, models.EmbedderId), new MemoryOptions(), models))
        {
            double open = await TimeAsync(() => memory.RecallAsync(Tenant, new RecallRequest { Query = "warm up" }, cancellationToken)).ConfigureAwait(false);
            long index = GC.GetTotalMemory(forceFullCollection: true) - before;
            double recallProcessor = Processor();
            for (int i = 0; i < Calls; i++)
            {
                var request = new RecallRequest { Query = "What did Anna say about " + Sentence(random, 6) };
                recall[i] = await TimeAsync(() => memory.RecallAsync(Tenant, request, cancellationToken)).ConfigureAwait(false);
            }

            recallProcessor = Processor() - recallProcessor;
            return new LatencyPoint(
                units, Quantile(store, 0.5), Quantile(store, 0.95), storeProcessor / Calls, Quantile(recall, 0.5), Quantile(recall, 0.95), recallProcessor / Calls,
                open, bytes / units, index / units);
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

    private static double Processor()
    {
        using var process = Process.GetCurrentProcess();
        return process.TotalProcessorTime.TotalMilliseconds;
    }

    private static async Task<double> TimeAsync(Func<Task> work)
    {
        long start = Stopwatch.GetTimestamp();
        await work().ConfigureAwait(false);
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }

    private static double Quantile(double[] values, double share) => values.Order().ElementAt((int)(share * (values.Length - 1)));
}
