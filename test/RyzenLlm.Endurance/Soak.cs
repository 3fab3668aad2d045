using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace RyzenLlm.Endurance;

/// <summary>
/// Many clients on one server process with mixed tools and random cancellations, with budgets for kept states that are soon full. Memory of the
/// process's own and handles must be flat over the second half, answers no slower than in the first, no call may fail by a defect, and the server
/// must still answer at the end.
/// </summary>
internal static class Soak
{
    /// <summary>Growth over the second half, by a straight line through all samples, that still counts as flat.</summary>
    private const double FlatMemory = 0.05;

    private const double FlatHandles = 4;

    /// <summary>Answers of the second half may be slower by this, where they take longer than a second at all: machines have neighbours.</summary>
    private const double Slower = 3;

    private static readonly string[] Budgets = ["States:Memory=32MB", "States:Disk=64MB"];

    private static readonly string[] Words = ["van", "bakery", "ferry", "pier", "cello", "garden", "ticket", "library", "bicycle", "heron", "lamp", "bridge"];

    /// <summary>A look at the process.</summary>
    private sealed record Sample(double Seconds, double Megabytes, int Handles, int Threads, JsonElement Gc);

    /// <summary>Runs it and prints the report; 1 if a bound was passed.</summary>
    public static async Task<int> RunAsync(TimeSpan time, int clients, int seed)
    {
        var folder = Directory.CreateTempSubdirectory("ryzenllm-soak-").FullName;
        using var server = await ServerProcess.StartAsync(folder, Budgets);
        using var end = new CancellationTokenSource(time);
        var began = Stopwatch.GetTimestamp();
        var tally = new Tally(() => Stopwatch.GetElapsedTime(began) > time / 2);
        var samples = new List<Sample>();
        var work = Enumerable.Range(0, clients).Select(c => Task.Run(() => ClientAsync(server, new Random((seed * 1000) + c), tally, end.Token))).ToList();
        while (!end.IsCancellationRequested)
        {
            await Task.Delay(Math.Min(5000, (int)(time.TotalMilliseconds / 40)));
            server.Process.Refresh();
            if (await server.MetricsAsync() is not { } metrics)
            {
                break;
            }

            samples.Add(new(Stopwatch.GetElapsedTime(began).TotalSeconds, Private(server.Process), Handles(server.Process), server.Process.Threads.Count, metrics.GetProperty("gc")));
        }

        await Task.WhenAll(work);
        var alive = ServerProcess.Structured(await server.CallAsync("model-select", new { })) is not null;
        await server.CloseAsync();
        Directory.Delete(folder, recursive: true);
        return Report(samples, tally, alive, server);
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

    private static int Report(List<Sample> samples, Tally tally, bool alive, ServerProcess server)
    {
        var half = samples[(samples.Count / 2)..];
        var (memory, handles) = (Growth(half, s => s.Megabytes), Growth(half, s => s.Handles));
        var mean = half.Average(s => s.Megabytes);
        Print($"{samples[^1].Seconds / 60:0.0} min; over the second half, by a straight line through {half.Count} samples:");
        Print($"memory of its own {mean:0.0} MB on average ({half.Min(s => s.Megabytes):0.0} to {half.Max(s => s.Megabytes):0.0}), {memory:+0.0;-0.0} MB ({memory / mean:+0.0%;-0.0%}); descriptors {half.Average(s => s.Handles):0.0}, {handles:+0.0;-0.0}; threads {half[0].Threads} -> {half[^1].Threads}");
        Print($"minute by minute (MB): {string.Join(' ', samples.GroupBy(s => (int)(s.Seconds / 60)).Select(g => g.Average(s => s.Megabytes).ToString("0", CultureInfo.InvariantCulture)))}");
        PrintCollections(half);
        tally.Print();
        var problems = tally.Slow(Slower).ToList();
        var defects = tally.Defects + server.Errors.Split('\n').Count(l => l.Contains("Unhandled", StringComparison.Ordinal) || l.Contains(" failed", StringComparison.Ordinal));
        foreach (var (wrong, problem) in new[]
        {
            (!alive, "the server does not answer any more"),
            (memory > FlatMemory * mean, "memory grows"),
            (handles > FlatHandles, "descriptors grow"),
            (defects > 0, $"{defects} calls failed by a defect:\n{server.Errors}"),
        })
        {
            if (wrong)
            {
                problems.Add(problem);
            }
        }

        Console.WriteLine(problems.Count == 0 ? "In order." : string.Join('\n', problems));
        return problems.Count == 0 ? 0 : 1;
    }

    private static void PrintCollections(List<Sample> half)
    {
        var (first, last) = (half[0].Gc, half[^1].Gc);
        double Grown(string name) => last.GetProperty(name).GetDouble() - first.GetProperty(name).GetDouble();
        var seconds = half[^1].Seconds - half[0].Seconds;
        var collections = Enumerable.Range(0, 3).Select(g => last.GetProperty("collections")[g].GetInt32() - first.GetProperty("collections")[g].GetInt32());
        Print($"allocated {Grown("allocated_bytes") / seconds / (1 << 20):0.0} MB/s; collections of generation 0, 1, 2: {string.Join(", ", collections)}; paused {Grown("pause_seconds") / seconds:0.00%} of the time, longest seen {half.Max(s => s.Gc.GetProperty("last_pause_milliseconds").GetDouble()):0.0} ms; heap {last.GetProperty("heap_bytes").GetDouble() / (1 << 20):0.0} MB");
    }

    // Least squares: what the line gains from the first sample to the last.
    private static double Growth(List<Sample> samples, Func<Sample, double> value)
    {
        var (time, mean) = (samples.Average(s => s.Seconds), samples.Average(value));
        var slope = samples.Sum(s => (s.Seconds - time) * (value(s) - mean)) / samples.Sum(s => (s.Seconds - time) * (s.Seconds - time));
        return slope * (samples[^1].Seconds - samples[0].Seconds);
    }

    private static void Print(FormattableString text) => Console.WriteLine(text.ToString(CultureInfo.InvariantCulture));

    // Mapped files come and go as the system likes; what the process took for itself must not grow.
    private static double Private(Process process) => OperatingSystem.IsLinux()
        ? double.Parse(File.ReadLines($"/proc/{process.Id}/status").First(l => l.StartsWith("RssAnon:", StringComparison.Ordinal)).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) / 1024
        : process.PrivateMemorySize64 / 1048576.0;

    private static int Handles(Process process) =>
        OperatingSystem.IsLinux() && Directory.Exists($"/proc/{process.Id}/fd") ? Directory.GetFiles($"/proc/{process.Id}/fd").Length : process.HandleCount;

    /// <summary>Answers by tool. Thread-safe.</summary>
    private sealed class Tally(Func<bool> late)
    {
        private readonly Lock _lock = new();
        private readonly SortedDictionary<string, (List<double> First, List<double> Second)> _times = [];
        private int _cancelled;
        private int _refused;

        public int Defects { get; private set; }

        public void Cancelled() => Interlocked.Increment(ref _cancelled);

        public void Answered(string tool, TimeSpan took, string message)
        {
            lock (_lock)
            {
                _times.TryAdd(tool, ([], []));
                (late() ? _times[tool].Second : _times[tool].First).Add(took.TotalMilliseconds);
                _refused += message.Contains("\"isError\":true", StringComparison.Ordinal) ? 1 : 0;
                Defects += message.Contains("standard error says why", StringComparison.Ordinal) || message.Contains("\"error\":", StringComparison.Ordinal) ? 1 : 0;
            }
        }

        public void Print()
        {
            foreach (var (tool, (first, second)) in _times)
            {
                Soak.Print($"{tool}: {first.Count} + {second.Count} calls, p50 {At(first, 0.5):0.0} and {At(second, 0.5):0.0} ms, p99 {At(first, 0.99):0.0} and {At(second, 0.99):0.0} ms, longest {Math.Max(At(first, 1), At(second, 1)):0.0} ms");
            }

            Console.WriteLine($"{_cancelled} cancelled, {_refused} refused, {Defects} defects");
        }

        /// <summary>Tools whose answers became slower.</summary>
        public IEnumerable<string> Slow(double factor) => _times.Where(t => At(t.Value.Second, 0.99) > Math.Max(1000, factor * At(t.Value.First, 0.99))).Select(t => $"{t.Key} became slower");

        private static double At(List<double> times, double part)
        {
            times.Sort();
            return times.Count == 0 ? 0 : times[(int)Math.Min(times.Count - 1, part * times.Count)];
        }
    }
}
