using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using RyzenLlm.Engine.Models;
using RyzenLlm.Kernels;
using RyzenLlm.Mcp.Hosting;
using Spectre.Console;

namespace RyzenLlm.Mcp.Cli;

/// <summary>
/// <c>bench</c>: speed of a model for each number of threads. The prompt is fed in chunks as generation does; decoding is greedy, one token per
/// pass. Rates are medians over the repetitions, after one short warm-up.
/// </summary>
internal static class BenchVerb
{
    // Tokens before measuring: the code is compiled and the copy of a large head is made.
    private const int WarmUp = TwoStageHead.PackSteps + 4;

    /// <summary>With <c>--json</c>: one per number of threads, and per position with <c>--at</c>.</summary>
    internal sealed record BenchReport(
        string Model,
        int Threads,
        int PromptTokens,
        int DecodeTokens,
        double? PromptTokensPerSecond,
        double DecodeTokensPerSecond,
        double LoadSeconds,
        double FirstTokenSeconds,
        long PeakMemoryBytes,
        Roofline? Roofline = null,
        double? RatioToFirstPosition = null);

    /// <summary>What decoding makes of the memory: medians of rounds in which a token's time and the read bandwidth were measured in turn.</summary>
    /// <param name="BytesPerToken">Weights and state that a token reads.</param>
    /// <param name="AchievedGbPerSecond">The same over the time it took.</param>
    /// <param name="ReadGbPerSecond">Reading memory and nothing else, with the same threads.</param>
    /// <param name="PercentOfRead">One of the other.</param>
    internal sealed record Roofline(double BytesPerToken, double AchievedGbPerSecond, double ReadGbPerSecond, double PercentOfRead);

    /// <summary>What to measure.</summary>
    private sealed record Plan(int Prompt, int Decode, int Repetitions, int[]? Positions, bool Roofline);

    public static Command Create()
    {
        var verb = new Command("bench", "Measures prompt and decode speed for each number of threads.");
        var prompt = new Option<int>("-p", "--prompt-tokens") { Description = "Tokens of the prompt.", HelpName = "N", DefaultValueFactory = _ => 512 };
        var decode = new Option<int>("-n", "--decode-tokens") { Description = "Tokens to decode.", HelpName = "N", DefaultValueFactory = _ => 128 };
        var threads = new Option<string>("-t", "--threads") { Description = "Thread counts, separated by commas; one per processor if absent.", HelpName = "N,N" };
        var repetitions = new Option<int>("-r", "--repetitions") { Description = "Measurements of which the median counts.", HelpName = "N", DefaultValueFactory = _ => 3 };
        var at = new Option<string>("--at") { Description = "Decode speed at these positions, in turn, after reading a prompt up to each; instead of -p.", HelpName = "N,N" };
        var roofline = new Option<bool>("--roofline") { Description = "Also bytes read per token, the rate that makes, and its share of the read bandwidth." };
        var common = new CommonOptions(verb).WithModel().WithJson("Print a JSON array, one object per thread count and position.").WithKernels();
        verb.Add(CommonOptions.InRange(prompt, 1, 1_000_000));
        verb.Add(CommonOptions.InRange(decode, 1, 1_000_000));
        verb.Add(threads);
        verb.Add(CommonOptions.InRange(repetitions, 1, 1000));
        verb.Add(at);
        verb.Add(roofline);
        CheckNumbers(threads, "-t", 1024, "1,2,4");
        CheckNumbers(at, "--at", 10_000_000, "1000,64000");
        verb.SetAction((parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            var entry = common.Entry(parsed, settings);
            var counts = parsed.GetValue(threads) is { } list ? Numbers(list, 1024)! : [Environment.ProcessorCount];
            var positions = parsed.GetValue(at) is { } places ? Numbers(places, 10_000_000) : null;
            var plan = new Plan(parsed.GetValue(prompt), parsed.GetValue(decode), parsed.GetValue(repetitions), positions, parsed.GetValue(roofline));
            var results = counts.SelectMany(count => Measure(entry, LoadedModels.OptionsFor(settings.Engine) with { Threads = count }, plan, cancel)).ToArray();
            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(results);
            }
            else
            {
                Show(results);
            }

            return Task.FromResult(0);
        });
        return verb;
    }

    private static void CheckNumbers(Option<string> option, string name, int largest, string example) => option.Validators.Add(result =>
    {
        if (result.Tokens.Count == 1 && Numbers(result.Tokens[0].Value, largest) is null)
        {
            result.AddError($"{name} is '{result.Tokens[0].Value}' but must be numbers from 1 to {largest} separated by commas, such as {example}.");
        }
    });

    private static int[]? Numbers(string list, int largest)
    {
        var numbers = Array.ConvertAll(
            list.Split(','), word => int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : 0);
        return numbers.All(number => number >= 1 && number <= largest) ? numbers : null;
    }

    private static List<BenchReport> Measure(ModelEntry entry, LoadOptions options, Plan plan, CancellationToken cancel)
    {
        ForgetEarlierModel();
        var started = Stopwatch.GetTimestamp();
        using var model = ModelLoader.Load(entry.Path, options);
        var load = Stopwatch.GetElapsedTime(started);
        var longest = plan.Positions?.Max() ?? plan.Prompt;
        var decoded = plan.Positions is null ? plan.Decode : plan.Decode * plan.Repetitions;
        if (longest + decoded > model.Info.LongestSequence)
        {
            throw new ArgumentException(
                $"A prompt of {longest} and {decoded} decoded tokens together exceed the context of {entry.Name}, {model.Info.LongestSequence} tokens: ask for fewer.");
        }

        using var run = new BenchRun(model, cancel);
        using (var session = model.CreateSession())
        {
            run.Read(session, Math.Min(plan.Prompt, 16));
        }

        var report = new BenchReport(
            entry.Name, options.Threads, plan.Prompt, plan.Decode, null, 0, Math.Round(load.TotalSeconds, 4), Math.Round(Stopwatch.GetElapsedTime(started).TotalSeconds, 4), 0);
        run.Sequence(1, Math.Min(WarmUp, model.Info.LongestSequence - 1));
        return plan.Positions is null ? [MeasureSequence(report, run, plan)] : MeasurePositions(report, run, model, plan);
    }

    private static BenchReport MeasureSequence(BenchReport report, BenchRun run, Plan plan)
    {
        var prompts = new List<double>();
        var rates = new List<Round>();
        long peak = 0;
        using var memory = new Memory(plan.Roofline ? report.Threads : 0);
        for (var i = 0; i < plan.Repetitions; i++)
        {
            var (prompt, decode, bytes) = run.Sequence(plan.Prompt, plan.Decode);
            prompts.Add(prompt);
            peak = Math.Max(peak, memory.IsTaken ? 0 : PeakMemory());
            rates.Add(new(decode / plan.Decode, bytes, memory.Read()));
        }

        return report with
        {
            PromptTokensPerSecond = Math.Round(plan.Prompt / BenchRun.Median(prompts), 2),
            DecodeTokensPerSecond = Math.Round(1 / BenchRun.Median(rates.Select(r => r.Seconds)), 2),
            PeakMemoryBytes = peak,
            Roofline = RooflineOf(rates),
        };
    }

    // One session per position, kept there by decoding only; rounds take turns, so that a drift of the machine meets all of them.
    private static List<BenchReport> MeasurePositions(BenchReport report, BenchRun run, LanguageModel model, Plan plan)
    {
        var places = plan.Positions!.Select(position => (Position: position, Session: model.CreateSession(), Rates: new List<Round>())).ToList();
        try
        {
            var tokens = places.ConvertAll(place => run.Read(place.Session, place.Position));
            using var memory = new Memory(plan.Roofline ? report.Threads : 0);
            var peak = PeakMemory();
            for (var i = 0; i < plan.Repetitions; i++)
            {
                for (var p = 0; p < places.Count; p++)
                {
                    var (weights, started) = (model.Ops.WeightBytes, Stopwatch.GetTimestamp());
                    tokens[p] = run.Decode(places[p].Session, tokens[p], plan.Decode);
                    var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds / plan.Decode;
                    places[p].Rates.Add(new(seconds, ((double)(model.Ops.WeightBytes - weights) / plan.Decode) + places[p].Session.StateBytes, memory.Read()));
                }
            }

            return places.ConvertAll(place => report with
            {
                PromptTokens = place.Position,
                DecodeTokensPerSecond = Math.Round(1 / BenchRun.Median(place.Rates.Select(r => r.Seconds)), 2),
                RatioToFirstPosition = Math.Round(BenchRun.Median(places[0].Rates.Zip(place.Rates, (first, here) => first.Seconds / here.Seconds)), 3),
                PeakMemoryBytes = peak,
                Roofline = RooflineOf(place.Rates),
            });
        }
        finally
        {
            places.ForEach(place => place.Session.Dispose());
        }
    }

    private static Roofline? RooflineOf(List<Round> rates) => rates[0].Bandwidth is null ? null : new(
        Math.Round(BenchRun.Median(rates.Select(r => r.Bytes))),
        Math.Round(BenchRun.Median(rates.Select(r => r.Bytes / r.Seconds / 1e9)), 2),
        Math.Round(BenchRun.Median(rates.Select(r => r.Bandwidth!.Value)), 2),
        Math.Round(BenchRun.Median(rates.Select(r => 100 * r.Bytes / r.Seconds / 1e9 / r.Bandwidth!.Value)), 1));

    // A map goes with the last matrix in it. Linux keeps the peak of resident memory as VmHWM and forgets it when 5 is written here; elsewhere the
    // peak is that of the process.
    private static void ForgetEarlierModel()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        try
        {
            File.WriteAllText("/proc/self/clear_refs", "5");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The peak then covers earlier thread counts as well.
        }
    }

    private static long PeakMemory()
    {
        using var process = Process.GetCurrentProcess();
        return process.PeakWorkingSet64;
    }

    private static void Show(BenchReport[] results)
    {
        var table = new Table().Border(TableBorder.Simple).AddColumns("model", "threads", "prompt", "tokens/s", "decode", "tokens/s", "load", "first token", "peak memory");
        var (roofline, positions) = (results[0].Roofline is not null, results[0].RatioToFirstPosition is not null);
        if (positions)
        {
            table.AddColumn("of the first");
        }

        if (roofline)
        {
            table.AddColumns("bytes/token", "GB/s", "read GB/s", "of read");
        }

        foreach (var r in results)
        {
            List<string> row =
            [
                Markup.Escape(r.Model), $"{r.Threads}", $"{r.PromptTokens}", r.PromptTokensPerSecond is { } speed ? Rate(speed) : "", $"{r.DecodeTokens}",
                Rate(r.DecodeTokensPerSecond), Seconds(r.LoadSeconds), Seconds(r.FirstTokenSeconds), Tables.Size(r.PeakMemoryBytes),
            ];
            if (positions)
            {
                row.Add(string.Create(CultureInfo.InvariantCulture, $"{r.RatioToFirstPosition:0.000}"));
            }

            if (roofline)
            {
                row.AddRange([Tables.Size((long)r.Roofline!.BytesPerToken), Rate(r.Roofline.AchievedGbPerSecond), Rate(r.Roofline.ReadGbPerSecond), Rate(r.Roofline.PercentOfRead) + " %"]);
            }

            table.AddRow([.. row]);
        }

        Tables.Console.Write(table);
    }

    private static string Rate(double value) => value.ToString("0.0", CultureInfo.InvariantCulture);

    private static string Seconds(double value) => string.Create(CultureInfo.InvariantCulture, $"{value:0.000} s");

    /// <summary>One round: seconds and bytes of a token, and the read bandwidth right after it in GB/s.</summary>
    private sealed record Round(double Seconds, double Bytes, double? Bandwidth);

    /// <summary>The block that is read for comparison; taken when first read, so that it is not part of the peak before.</summary>
    private sealed class Memory(int threads) : IDisposable
    {
        private BandwidthProbe? _probe;

        public bool IsTaken => _probe is not null;

        public double? Read() => threads == 0 ? null : (_probe ??= new(threads, 256L << 20)).Measure(passes: 3);

        public void Dispose() => _probe?.Dispose();
    }
}
