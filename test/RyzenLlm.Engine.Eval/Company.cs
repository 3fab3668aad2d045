using System.Diagnostics;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Tokenizers;
using RyzenLlm.Kernels;

namespace RyzenLlm.Engine.Eval;

/// <summary>
/// What company costs: tokens per second of several users at once, in turn round by round, and how long running users wait for their next token
/// while a long prompt arrives.
/// </summary>
internal static class Company
{
    private static readonly int[] Crowds = [1, 2, 4, 8, 16];

    public static int Run(string path, Arguments arguments)
    {
        var options = new LoadOptions { Threads = arguments["threads", 2], Kernels = arguments["kernels", "auto"], Precision = Precision.Fast };
        var mode = Enum.Parse<SpeculationMode>(arguments["speculate", "off"], ignoreCase: true);
        var (rounds, tokens, prompt) = (arguments["rounds", 5], arguments["tokens", 64], arguments["prompt", 16]);
        var model = ModelLoader.Load(path, options);
        using var scheduler = new Scheduler(model, new() { MaxSequences = Crowds[^1] });
        Console.WriteLine($"{model.Info.Name}: {options.Threads} threads, {rounds} rounds, {tokens} tokens per user, speculation {mode.ToString().ToLowerInvariant()}");
        var speeds = Crowds.Select(_ => new List<double>()).ToArray();
        Together(scheduler, 1, prompt, 16, mode).Wait(); // the mapped weights come into memory
        for (var round = 0; round < rounds; round++)
        {
            for (var i = 0; i < Crowds.Length; i++)
            {
                speeds[i].Add(Together(scheduler, Crowds[i], prompt, tokens, mode).Result);
            }
        }

        Console.WriteLine("| users | tokens/s, median | against one (median of rounds) | spread |");
        Console.WriteLine("|---|---|---|---|");
        for (var i = 0; i < Crowds.Length; i++)
        {
            var ratios = speeds[i].Zip(speeds[0], (many, one) => many / one).Order().ToArray();
            Console.WriteLine($"| {Crowds[i]} | {Median(speeds[i]):0.0} | {Median(ratios):0.00} | {ratios[0]:0.00}-{ratios[^1]:0.00} |");
        }

        Arrival(scheduler, arguments["running", 4], arguments["long", 4000], mode).Wait();
        return 0;
    }

    /// <summary>Tokens per second of so many users, while all of them get tokens.</summary>
    private static async Task<double> Together(Scheduler scheduler, int users, int prompt, int tokens, SpeculationMode mode)
    {
        var times = new List<long>[users];
        var all = Enumerable.Range(0, users).Select(user => scheduler.GenerateAsync(Request(scheduler, user, prompt, tokens, mode), Clocked(times, user))).ToArray();
        await Task.WhenAll(all);
        var (begin, end) = (times.Max(t => t[0]), times.Min(t => t[^1]));
        if (end <= begin)
        {
            throw new InvalidOperationException("The users were not all at work at once: raise tokens.");
        }

        return times.Sum(t => t.Count(at => at > begin && at <= end)) / Stopwatch.GetElapsedTime(begin, end).TotalSeconds;
    }

    private static async Task Arrival(Scheduler scheduler, int users, int length, SpeculationMode mode)
    {
        using var enough = new CancellationTokenSource();
        var times = new List<long>[users];
        var running = Enumerable.Range(0, users)
            .Select(user => scheduler.GenerateAsync(Request(scheduler, user, 16, 1_000_000, mode), Clocked(times, user), enough.Token)).ToArray();
        while (times.Any(t => t is null || t.Count < 40))
        {
            await Task.Delay(50);
        }

        var began = Stopwatch.GetTimestamp();
        var arrived = await scheduler.GenerateAsync(Request(scheduler, users, length, 1, mode));
        var ended = Stopwatch.GetTimestamp();
        await enough.CancelAsync();
        await Task.WhenAll(running);
        var before = Gaps(times, 0, began);
        var during = Gaps(times, began, ended);
        var (usual, longest) = (Median(before), during[^1]);
        Console.WriteLine();
        Console.WriteLine($"a prompt of {arrived.PromptTokens} tokens beside {users} users: read in {arrived.PromptTime.TotalSeconds:0.0} s ({arrived.PromptTokensPerSecond:0} tokens/s)");
        Console.WriteLine($"gap between tokens: usually {1000 * usual:0.0} ms, meanwhile {1000 * Median(during):0.0} ms and {1000 * longest:0.0} ms at most: {longest / usual:0.00} times the usual");
        Console.WriteLine($"longest gap without it: {1000 * before[^1]:0.0} ms; of all gaps meanwhile, {during.Count(g => g > 4 * usual)} of {during.Length} above 4 times the usual");
    }

    private static double[] Gaps(List<long>[] times, long begin, long end) => [.. times
        .SelectMany(t => t.Skip(8).Zip(t.Skip(9)))
        .Where(pair => pair.Second > begin && pair.Second <= end)
        .Select(pair => Stopwatch.GetElapsedTime(pair.First, pair.Second).TotalSeconds)
        .Order()];

    private static GenerationSink Clocked(List<long>[] times, int user)
    {
        times[user] = new(4096);
        return piece =>
        {
            if (piece.Token >= 0)
            {
                times[user].Add(Stopwatch.GetTimestamp());
            }
        };
    }

    /// <summary>A request with a prompt of at least so many tokens, hardly more.</summary>
    private static GenerationRequest Request(Scheduler scheduler, int user, int prompt, int tokens, SpeculationMode mode)
    {
        var random = new Random(user);
        var text = Letters(prompt);
        while (scheduler.Model.Tokenizer!.Encode(text, addBos: true, parseSpecial: false).Length is var length && length < prompt)
        {
            text += Letters(prompt - length);
        }

        return new()
        {
            Turns = [new("user", text)],
            Template = ChatTemplate.ByName("plain"),
            MaxTokens = tokens,
            Sampling = new() { Seed = (ulong)user },
            Speculation = mode,
            Tenant = $"user {user}",
        };

        string Letters(int count) => string.Concat(Enumerable.Range(0, count).Select(_ => (char)random.Next('!', '~')));
    }

    private static double Median(IReadOnlyCollection<double> values) => values.Order().ElementAt(values.Count / 2);
}
