using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
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
    /// <summary>With <c>--json</c>: one per number of threads.</summary>
    internal sealed record BenchReport(
        string Model,
        int Threads,
        int PromptTokens,
        int DecodeTokens,
        double PromptTokensPerSecond,
        double DecodeTokensPerSecond,
        double LoadSeconds,
        long PeakMemoryBytes);

    public static Command Create()
    {
        var verb = new Command("bench", "Measures prompt and decode speed for each number of threads.");
        var prompt = new Option<int>("-p", "--prompt-tokens") { Description = "Tokens of the prompt.", HelpName = "N", DefaultValueFactory = _ => 512 };
        var decode = new Option<int>("-n", "--decode-tokens") { Description = "Tokens to decode.", HelpName = "N", DefaultValueFactory = _ => 128 };
        var threads = new Option<string>("-t", "--threads") { Description = "Thread counts, separated by commas; one per processor if absent.", HelpName = "N,N" };
        var repetitions = new Option<int>("-r", "--repetitions") { Description = "Measurements of which the median counts.", HelpName = "N", DefaultValueFactory = _ => 3 };
        var common = new CommonOptions(verb).WithModel().WithJson("Print a JSON array, one object per thread count.").WithKernels();
        verb.Add(CommonOptions.InRange(prompt, 1, 1_000_000));
        verb.Add(CommonOptions.InRange(decode, 1, 1_000_000));
        verb.Add(threads);
        verb.Add(CommonOptions.InRange(repetitions, 1, 1000));
        threads.Validators.Add(result =>
        {
            if (result.Tokens.Count == 1 && ParseThreads(result.Tokens[0].Value) is null)
            {
                result.AddError($"-t is '{result.Tokens[0].Value}' but must be numbers from 1 to 1024 separated by commas, such as 1,2,4.");
            }
        });
        verb.SetAction((parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            var entry = common.Entry(parsed, settings);
            var counts = parsed.GetValue(threads) is { } list ? ParseThreads(list)! : [Environment.ProcessorCount];
            var results = counts.Select(count => Measure(
                entry,
                LoadedModels.OptionsFor(settings.Engine) with { Threads = count },
                parsed.GetValue(prompt),
                parsed.GetValue(decode),
                parsed.GetValue(repetitions),
                cancel)).ToArray();
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

    private static int[]? ParseThreads(string list)
    {
        var counts = Array.ConvertAll(
            list.Split(','), word => int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out var count) ? count : 0);
        return counts.All(count => count is >= 1 and <= 1024) ? counts : null;
    }

    private static BenchReport Measure(ModelEntry entry, LoadOptions options, int prompt, int decode, int repetitions, CancellationToken cancel)
    {
        ResetPeakMemory();
        var started = Stopwatch.GetTimestamp();
        using var model = ModelLoader.Load(entry.Path, options);
        var load = Stopwatch.GetElapsedTime(started);
        if (!model.Info.IsRecurrent && prompt + decode > model.Info.ContextLength)
        {
            throw new ArgumentException(
                $"-p {prompt} and -n {decode} together exceed the context of {entry.Name}, {model.Info.ContextLength} tokens: ask for fewer.");
        }

        using var batch = new Batch();
        Run(model, batch, Math.Min(prompt, 16), 4, cancel);
        var runs = Enumerable.Range(0, repetitions).Select(_ => Run(model, batch, prompt, decode, cancel)).ToList();
        return new(
            entry.Name,
            options.Threads,
            prompt,
            decode,
            Math.Round(prompt / Median(runs.Select(r => r.Prompt)), 2),
            Math.Round(decode / Median(runs.Select(r => r.Decode)), 2),
            Math.Round(load.TotalSeconds, 4),
            PeakMemory());
    }

    private static (double Prompt, double Decode) Run(LanguageModel model, Batch batch, int prompt, int decode, CancellationToken cancel)
    {
        using var session = model.CreateSession();
        var started = Stopwatch.GetTimestamp();
        for (var begin = 0; begin < prompt; begin += Decoder.ChunkRows)
        {
            cancel.ThrowIfCancellationRequested();
            batch.Clear();
            for (var i = begin; i < Math.Min(begin + Decoder.ChunkRows, prompt); i++)
            {
                // Spread over the vocabulary, so that embedding rows come from memory as in real text.
                batch.Add(session, (int)((i + 1) * 2_654_435_761L % model.Info.VocabularySize), logits: i == prompt - 1, top: Greedy(model));
            }

            model.Forward(batch);
        }

        var token = Sampler.ArgMax(batch.Logits(batch.Count - 1));
        var promptSeconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        started = Stopwatch.GetTimestamp();
        for (var i = 0; i < decode; i++)
        {
            cancel.ThrowIfCancellationRequested();
            batch.Clear();
            var row = batch.Add(session, token, logits: true, top: Greedy(model));
            model.Forward(batch);
            token = Sampler.ArgMax(batch.Logits(row));
        }

        return (promptSeconds, Stopwatch.GetElapsedTime(started).TotalSeconds);
    }

    private static TopRows Greedy(LanguageModel model) => new(1, model.Info.VocabularySize);

    private static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[(sorted.Length / 2) - 1] + sorted[sorted.Length / 2]) / 2;
    }

    // Linux keeps the peak of resident memory as VmHWM and forgets it when 5 is written here; elsewhere the peak is that of the process.
    private static void ResetPeakMemory()
    {
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
        var table = new Table().Border(TableBorder.Simple).AddColumns("model", "threads", "prompt", "tokens/s", "decode", "tokens/s", "load", "peak memory");
        foreach (var r in results)
        {
            table.AddRow(
                Markup.Escape(r.Model), $"{r.Threads}", $"{r.PromptTokens}", Rate(r.PromptTokensPerSecond), $"{r.DecodeTokens}",
                Rate(r.DecodeTokensPerSecond), string.Create(CultureInfo.InvariantCulture, $"{r.LoadSeconds:0.000} s"), Tables.Size(r.PeakMemoryBytes));
        }

        Tables.Console.Write(table);
    }

    private static string Rate(double value) => value.ToString("0.0", CultureInfo.InvariantCulture);
}
