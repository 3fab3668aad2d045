using System.Diagnostics;
using System.IO.MemoryMappedFiles;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace RyzenLlm.Fuzz;

/// <summary>Tries inputs until the time is over, keeps those that reach something new, and writes down what broke a promise.</summary>
internal sealed class Campaign
{
    private readonly FuzzTarget _target;
    private readonly CampaignOptions _options;
    private readonly Coverage _coverage;
    private readonly Mutator _mutator;
    private readonly MemoryMappedViewAccessor _last;
    private readonly List<byte[]> _corpus = [];
    private readonly Dictionary<string, Finding> _findings = [];
    private readonly string _folder;
    private long _executions;
    private long _began;

    private Campaign(FuzzTarget target, CampaignOptions options, Coverage coverage, MemoryMappedViewAccessor last)
    {
        (_target, _options, _coverage, _last) = (target, options, coverage, last);
        coverage.Forget();
        _mutator = new(options.Seed, target.Words, target.LongestInput);
        _folder = Path.Combine(options.Fixtures, target.Name);
    }

    /// <summary>Runs the chosen targets; 1 if anything was found.</summary>
    public static int Run(CampaignOptions options, Coverage coverage)
    {
        using var file = MemoryMappedFile.CreateFromFile(Instrumented.LastInput, FileMode.Create, null, 1 << 20);
        using var last = file.CreateViewAccessor();
        var found = 0;
        for (var i = 0; i < FuzzTarget.All.Count; i++)
        {
            using var target = FuzzTarget.All[i]();
            if (options.Targets.Contains(target.Name))
            {
                var campaign = new Campaign(target, options, coverage, last);
                campaign.Run();
                found += campaign._findings.Count;
            }
        }

        return found > 0 ? 1 : 0;
    }

    private void Run()
    {
        _began = Stopwatch.GetTimestamp();
        using var watch = new Timer(_ => EndIfStuck(), null, 5000, 5000);
        foreach (var seed in _target.Seeds().Concat(Kept()))
        {
            Try(seed, always: true);
        }

        var nextReport = 30.0;
        while (Stopwatch.GetElapsedTime(_began).TotalSeconds is var seconds && seconds < _options.Seconds)
        {
            // Half of the time one of the latest, which led somewhere new.
            var recent = Math.Max(1, _corpus.Count / 8);
            var parent = _corpus[_mutator.Below(2) == 0 ? _mutator.Below(_corpus.Count) : _corpus.Count - 1 - _mutator.Below(recent)];
            var input = _mutator.Change(parent, _corpus[_mutator.Below(_corpus.Count)]);
            if (_mutator.Below(2) == 0)
            {
                _target.Repair(input);
            }

            Try(input, always: false);
            if (seconds > nextReport)
            {
                nextReport += 30;
                Report();
            }
        }

        Report();
        if (_options.Keep > 0)
        {
            Keep();
        }

        if (_options.Count is { } path)
        {
            FuzzCount.Add(path, _target.Name, _executions, Stopwatch.GetElapsedTime(_began).TotalSeconds, _coverage.Edges, _findings.Count);
        }
    }

    private IEnumerable<byte[]> Kept() =>
        Directory.Exists(_folder) ? Directory.EnumerateFiles(_folder).Order(StringComparer.Ordinal).Select(File.ReadAllBytes) : [];

    private long _inWorkSince;

    private void Try(byte[] input, bool always)
    {
        _last.Write(0, input.Length);
        _last.WriteArray(sizeof(int), input, 0, input.Length);
        _executions++;
        _coverage.Begin();
        Volatile.Write(ref _inWorkSince, Stopwatch.GetTimestamp());
        var finding = Execution.Check(_target, input);
        Volatile.Write(ref _inWorkSince, 0);
        if (finding is not null)
        {
            Note(finding, input);
        }
        else if (_coverage.TakeNew() || always)
        {
            _corpus.Add(input);
        }
    }

    private void Note(Finding finding, byte[] input)
    {
        if (_findings.TryAdd($"{finding.Kind} {finding.Site}", finding))
        {
            Directory.CreateDirectory(_folder);
            var path = Path.Combine(_folder, $"found-{finding.Kind}-{Hash(input)}.bin");
            File.WriteAllBytes(path, input);
            Console.WriteLine($"{_target.Name}: {finding.Kind} {finding.Site}\n{finding.Detail}\n-> {path}");
        }
    }

    // A loop without end cannot be left from outside: the process goes, and its parent keeps the input.
    private void EndIfStuck()
    {
        var since = Volatile.Read(ref _inWorkSince);
        if (since != 0 && Stopwatch.GetElapsedTime(since) > 30 * Execution.Longest)
        {
            Console.WriteLine($"{_target.Name}: an input takes more than {30 * Execution.Longest.TotalSeconds} s");
            Environment.Exit(3);
        }
    }

    private void Report() => Console.WriteLine(
        $"{_target.Name}: {_executions} executions in {Stopwatch.GetElapsedTime(_began).TotalSeconds:0} s, {_coverage.Edges} edges, {_corpus.Count} inputs, {_findings.Count} findings");

    // Greedy cover: the input that adds most edges, again and again, until they take too much room in the repository.
    private void Keep()
    {
        var edges = new List<(byte[] Input, HashSet<int> Edges)>();
        foreach (var input in _corpus.Where(i => i.Length <= 16 * 1024))
        {
            _coverage.Begin();
            Execution.Check(_target, input);
            edges.Add((input, _coverage.EdgesOfLast()));
        }

        Directory.CreateDirectory(_folder);
        foreach (var old in Directory.EnumerateFiles(_folder, "reaches-*.bin"))
        {
            File.Delete(old);
        }

        var reached = new HashSet<int>();
        var room = 64 * 1024;
        for (var kept = 0; kept < _options.Keep; kept++)
        {
            var (best, adds) = edges.Where(e => e.Input.Length <= room).Select(e => (e, Adds: e.Edges.Count(x => !reached.Contains(x)))).OrderByDescending(e => e.Adds).FirstOrDefault();
            if (adds == 0)
            {
                break;
            }

            reached.UnionWith(best.Edges);
            room -= best.Input.Length;
            File.WriteAllBytes(Path.Combine(_folder, $"reaches-{Hash(best.Input)}.bin"), best.Input);
        }
    }

    private static string Hash(byte[] input) => Convert.ToHexStringLower(SHA256.HashData(input))[..12];
}

/// <summary>Executions of a target over all runs.</summary>
internal sealed record FuzzCount(long Executions, double Seconds, int Edges, int Findings)
{
    private static readonly JsonSerializerOptions Form = new() { WriteIndented = true, PropertyNamingPolicy = JsonNamingPolicy.CamelCase, NumberHandling = JsonNumberHandling.Strict };

    /// <summary>Adds a run to the file.</summary>
    public static void Add(string path, string target, long executions, double seconds, int edges, int findings)
    {
        var all = File.Exists(path) ? JsonSerializer.Deserialize<SortedDictionary<string, FuzzCount>>(File.ReadAllText(path), Form)! : [];
        var before = all.GetValueOrDefault(target, new(0, 0, 0, 0));
        all[target] = new(before.Executions + executions, Math.Round(before.Seconds + seconds), Math.Max(before.Edges, edges), before.Findings + findings);
        File.WriteAllText(path, JsonSerializer.Serialize(all, Form) + "\n");
    }
}
