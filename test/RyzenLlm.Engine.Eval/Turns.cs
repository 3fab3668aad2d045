using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;

namespace RyzenLlm.Engine.Eval;

/// <summary>
/// Time to the first token of the last turn of a conversation: with the state kept in memory, with the state saved by a process before, and with neither; in turn,
/// round by round. The tokens must be the same.
/// </summary>
internal static class Turns
{
    private const int AnswerTokens = 8;

    public static int Run(string path, Arguments arguments)
    {
        using var model = ModelLoader.Load(path, new() { Threads = arguments["threads", 2], Kernels = arguments["kernels", "auto"], Precision = Kernels.Precision.Fast });
        var turns = arguments["turns", 10];
        var each = arguments["history", 512];
        if (!model.Info.IsRecurrent)
        {
            each = Math.Min(each, (model.Info.ContextLength - AnswerTokens - 1) / turns);
        }

        var folder = Directory.CreateTempSubdirectory("ryzenllm-turns-").FullName;
        try
        {
            return Measure(model, turns, each, arguments["rounds", 3], folder, arguments["json", ""]);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static int Measure(LanguageModel model, int turns, int each, int rounds, string folder, string json)
    {
        var random = new Random(1);
        var options = new ReuseOptions(Limit: 8L << 30);
        int[] history = [];
        using var files = new StateFolder(folder, 16L << 30);
        using (var before = new PrefixStates(model, options, null, files))
        {
            for (var turn = 1; turn < turns; turn++)
            {
                history = Answer(before, [.. history, .. Tokens(model, random, (turn * each) - history.Length)], persist: true).Tokens;
            }
        }

        using var kept = new PrefixStates(model, options);
        Answer(kept, history); // as the conversation before left it
        var (reused, restored, fresh) = (new List<double>(), new List<double>(), new List<double>());
        var same = true;
        for (var round = 0; round < rounds; round++)
        {
            int[] prompt = [.. history, .. Tokens(model, random, (turns * each) - history.Length)];
            var fromMemory = Answer(kept, prompt);
            using var nothing = new PrefixStates(model, new(Limit: 0));
            var fromNothing = Answer(nothing, prompt);
            using var restarted = new PrefixStates(model, options, null, files);
            var fromDisk = Answer(restarted, prompt);
            same &= fromMemory.Tokens.SequenceEqual(fromNothing.Tokens) && fromDisk.Tokens.SequenceEqual(fromNothing.Tokens);
            reused.Add(fromMemory.Seconds);
            restored.Add(fromDisk.Seconds);
            fresh.Add(fromNothing.Seconds);
            Console.Error.WriteLine(
                $"round {round + 1}: {fromNothing.Seconds:0.00} s, reused {fromMemory.Reused} tokens {fromMemory.Seconds:0.00} s, restored {fromDisk.Reused} tokens {fromDisk.Seconds:0.00} s");
        }

        var result = new
        {
            model = model.Info.Name,
            turns,
            history = each,
            rounds,
            fresh_seconds = Median(fresh),
            reused_seconds = Median(reused),
            restored_seconds = Median(restored),
            reused_ratio = Median([.. reused.Zip(fresh, (a, b) => a / b)]),
            restored_ratio = Median([.. restored.Zip(fresh, (a, b) => a / b)]),
            disk_bytes = Directory.EnumerateFiles(folder, "*.state", SearchOption.AllDirectories).Sum(f => new FileInfo(f).Length),
            same,
        };
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"""
            | model | turn, tokens | without, s | from memory, s | ratio | after a restart, s | ratio | on disk, MB | same tokens |
            |---|---|---|---|---|---|---|---|---|
            | {result.model} | {turns}, {turns * each} | {result.fresh_seconds:0.00} | {result.reused_seconds:0.00} | 1/{1 / result.reused_ratio:0.0} | {result.restored_seconds:0.00} | 1/{1 / result.restored_ratio:0.0} | {result.disk_bytes / 1e6:0} | {(same ? "yes" : "no")} |
            """));
        var text = JsonSerializer.Serialize(result);
        if (json.Length > 0)
        {
            File.WriteAllText(json, text);
        }

        Console.WriteLine(text);
        return same ? 0 : 1;
    }

    // Seconds until the first token, the way from disk included; then the rest of the answer.
    private static (int[] Tokens, double Seconds, int Reused) Answer(PrefixStates states, int[] prompt, bool persist = false)
    {
        var model = states.Model;
        var started = Stopwatch.GetTimestamp();
        states.Restore("user", prompt);
        using var state = states.Begin("user", prompt, persist: persist);
        using var batch = new Batch();
        var decoder = new Decoder(state.Session, prompt, new Sampler(SamplingOptions.Greedy, model.Info.VocabularySize), new HashSet<int>(), AnswerTokens) { Marks = state.Marks };
        var seconds = 0.0;
        while (decoder.Finish is null)
        {
            batch.Clear();
            decoder.AddRows(batch);
            model.Forward(batch);
            decoder.TakeLogits(batch, out _);
            if (seconds == 0 && decoder.GeneratedTokens > 0)
            {
                seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
                state.KeepPrompt(decoder.Tokens);
            }
        }

        state.Keep(decoder.Tokens);
        return (decoder.Tokens.ToArray(), seconds, state.ReusedTokens);
    }

    private static int[] Tokens(LanguageModel model, Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(1, Math.Min(model.Info.VocabularySize, 30_000)))];

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);
}
