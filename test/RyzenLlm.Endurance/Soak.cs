using System.Diagnostics;
using System.Globalization;

namespace RyzenLlm.Endurance;

/// <summary>
/// Many clients on one server process with mixed tools and random cancellations. Memory and handles must be flat over the second half, no
/// call may fail by a defect, and the server must still answer at the end.
/// </summary>
internal static class Soak
{
    private static readonly string[] Words = ["van", "bakery", "ferry", "pier", "cello", "garden", "ticket", "library", "bicycle", "heron", "lamp", "bridge"];

    /// <summary>Runs it and prints the report; 1 if a bound was passed.</summary>
    public static async Task<int> RunAsync(TimeSpan time, int clients, int seed)
    {
        var folder = Directory.CreateTempSubdirectory("ryzenllm-soak-").FullName;
        using var server = await ServerProcess.StartAsync(folder);
        using var end = new CancellationTokenSource(time);
        var tally = new Tally();
        var samples = new List<(double Seconds, long Resident, int Handles, int Threads)>();
        var began = Stopwatch.GetTimestamp();
        var work = Enumerable.Range(0, clients).Select(c => Task.Run(() => ClientAsync(server, new Random((seed * 1000) + c), tally, end.Token))).ToList();
        while (!end.IsCancellationRequested)
        {
            await Task.Delay(Math.Min(5000, (int)(time.TotalMilliseconds / 20)));
            server.Process.Refresh();
            samples.Add((Stopwatch.GetElapsedTime(began).TotalSeconds, server.Process.WorkingSet64, Handles(server.Process), server.Process.Threads.Count));
        }

        await Task.WhenAll(work);
        var alive = ServerProcess.Structured(await server.CallAsync("model-select", new { })) is not null;
        var status = Status(server.Process.Id);
        await server.CloseAsync();
        Directory.Delete(folder, recursive: true);
        return Report(samples, tally, alive, server, status, began);
    }

    private static async Task ClientAsync(ServerProcess server, Random random, Tally tally, CancellationToken end)
    {
        while (!end.IsCancellationRequested && !server.Process.HasExited)
        {
            using var impatience = new CancellationTokenSource();
            if (random.Next(10) == 0)
            {
                impatience.CancelAfter(random.Next(1, 200));
            }

            var (tool, arguments) = Call(random);
            var began = Stopwatch.GetTimestamp();
            var answer = await server.CallAsync(tool, arguments, impatience.Token);
            if (answer is { } message)
            {
                tally.Answered(tool, Stopwatch.GetElapsedTime(began), message.GetRawText());
            }
            else
            {
                tally.Cancelled();
            }
        }
    }

    // Few sessions and texts, so that the memory itself does not grow for long.
    private static (string Tool, object Arguments) Call(Random random)
    {
        string Pick() => Words[random.Next(Words.Length)];
        return random.Next(10) switch
        {
            < 3 => ("generate", new { prompt = $"The {Pick()} and the {Pick()}", max_tokens = random.Next(1, 12), seed = random.Next(100), deadline_seconds = 20 }),
            < 4 => ("generate", new { prompt = $"The {Pick()}", max_tokens = 4, choices = new[] { "yes", "no" }, deadline_seconds = 20 }),
            < 6 => ("store-context", new { text = $"The {Pick()} is behind the {Pick()}, said number {random.Next(20)}.", session = $"s{random.Next(20)}" }),
            < 9 => ("recall-context", new { query = $"Where is the {Pick()}?", budget = 128 }),
            _ => ("model-select", new { }),
        };
    }

    private static int Report(
        List<(double Seconds, long Resident, int Handles, int Threads)> samples, Tally tally, bool alive, ServerProcess server, string status, long began)
    {
        var half = samples[(samples.Count / 2)..];
        var quarter = Math.Max(1, half.Count / 4);
        var (early, late) = (half[..quarter].Average(s => s.Resident), half[^quarter..].Average(s => s.Resident));
        var (handlesEarly, handlesLate) = (half[..quarter].Average(s => s.Handles), half[^quarter..].Average(s => s.Handles));
        var growth = (late - early) / early;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{Stopwatch.GetElapsedTime(began).TotalMinutes:0.0} min: resident {early / (1 << 20):0.0} -> {late / (1 << 20):0.0} MB ({growth:+0.0%;-0.0%}) over the second half, descriptors {handlesEarly:0.0} -> {handlesLate:0.0}, threads {samples[^1].Threads}"));
        Console.WriteLine(status);
        tally.Print();
        var defects = tally.Defects + server.Errors.Split('\n').Count(l => l.Contains("Unhandled", StringComparison.Ordinal) || l.Contains(" failed", StringComparison.Ordinal));
        var problems = new List<string>();
        if (!alive)
        {
            problems.Add("the server does not answer any more");
        }

        if (growth > 0.10)
        {
            problems.Add("memory grows");
        }

        if (handlesLate > handlesEarly + 8)
        {
            problems.Add("descriptors grow");
        }

        if (defects > 0)
        {
            problems.Add($"{defects} calls failed by a defect:\n{server.Errors}");
        }

        Console.WriteLine(problems.Count == 0 ? "In order." : string.Join('\n', problems));
        return problems.Count == 0 ? 0 : 1;
    }

    private static int Handles(Process process) =>
        OperatingSystem.IsLinux() && Directory.Exists($"/proc/{process.Id}/fd") ? Directory.GetFiles($"/proc/{process.Id}/fd").Length : process.HandleCount;

    private static string Status(int process) => OperatingSystem.IsLinux()
        ? string.Join(", ", File.ReadLines($"/proc/{process}/status").Where(l => l.StartsWith("Vm", StringComparison.Ordinal) && (l.Contains("HWM") || l.Contains("Swap"))).Select(l => string.Join(' ', l.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))))
        : "";

    /// <summary>Answers by tool. Thread-safe.</summary>
    private sealed class Tally
    {
        private readonly Lock _lock = new();
        private readonly SortedDictionary<string, List<double>> _times = [];
        private int _cancelled;
        private int _refused;

        public int Defects { get; private set; }

        public void Cancelled() => Interlocked.Increment(ref _cancelled);

        public void Answered(string tool, TimeSpan took, string message)
        {
            lock (_lock)
            {
                _times.TryAdd(tool, []);
                _times[tool].Add(took.TotalMilliseconds);
                _refused += message.Contains("\"isError\":true", StringComparison.Ordinal) ? 1 : 0;
                Defects += message.Contains("standard error says why", StringComparison.Ordinal) || message.Contains("\"error\":", StringComparison.Ordinal) ? 1 : 0;
            }
        }

        public void Print()
        {
            foreach (var (tool, times) in _times)
            {
                times.Sort();
                double At(double part) => times[(int)Math.Min(times.Count - 1, part * times.Count)];
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{tool}: {times.Count} calls, p50 {At(0.5):0.0} ms, p99 {At(0.99):0.0} ms, longest {times[^1]:0.0} ms"));
            }

            Console.WriteLine($"{_cancelled} cancelled, {_refused} refused, {Defects} defects");
        }
    }
}
