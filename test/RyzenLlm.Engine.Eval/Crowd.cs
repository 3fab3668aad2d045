using System.Collections.Concurrent;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Eval;

/// <summary>
/// Clients that ask, change their minds, run out of time, hang up and are turned away, all at once. Every text is compared with what the same
/// request gave alone.
/// </summary>
internal sealed class Crowd
{
    private static readonly string[] Beginnings =
        ["Once upon a time", "The little dog", "Lily and her mom went to the park and", "One day, a big red bird", "\"Can I have it?\" asked Tom. His", "In the garden there was a"];

    private readonly Scheduler _scheduler;
    private readonly GenerationRequest[] _requests;
    private readonly string[] _texts;
    private readonly ConcurrentDictionary<string, int> _ends = [];
    private int _wrong;
    private int _mostPending;

    private Crowd(Scheduler scheduler, GenerationRequest[] requests, string[] texts) => (_scheduler, _requests, _texts) = (scheduler, requests, texts);

    /// <summary>How requests ended, with their numbers.</summary>
    public IReadOnlyDictionary<string, int> Ends => _ends;

    /// <summary>Texts that were not those expected, and what else was not as it should be.</summary>
    public int Wrong => Volatile.Read(ref _wrong);

    /// <summary>The first thing that was wrong, or null.</summary>
    public string? FirstWrong { get; private set; }

    /// <summary>Most requests seen waiting or running.</summary>
    public int MostPending => Volatile.Read(ref _mostPending);

    /// <summary>A crowd for a scheduler that nobody else uses; what is expected is computed first, one request at a time.</summary>
    /// <param name="scheduler">Serves them.</param>
    /// <param name="kinds">Different requests.</param>
    public static async Task<Crowd> Gather(Scheduler scheduler, int kinds)
    {
        var requests = Enumerable.Range(0, kinds).Select(Request).ToArray();
        var texts = new string[kinds];
        for (var i = 0; i < kinds; i++)
        {
            texts[i] = (await scheduler.GenerateAsync(requests[i] with { Speculation = SpeculationMode.Off })).Text;
        }

        return new(scheduler, requests, texts);
    }

    /// <summary>Lets so many clients ask again and again until told to stop, or so often each.</summary>
    /// <param name="clients">Clients.</param>
    /// <param name="requests">Requests of each at most.</param>
    /// <param name="patience">Milliseconds that a client waits at most when it was turned away.</param>
    /// <param name="stop">No further requests.</param>
    public Task Run(int clients, int requests, int patience, CancellationToken stop) =>
        Task.WhenAll(Enumerable.Range(0, clients).Select(client => Task.Run(() => Client(client, requests, patience, stop), CancellationToken.None)));

    private static GenerationRequest Request(int kind)
    {
        var random = new Random(kind);
        return new()
        {
            Turns = [new("user", string.Join(' ', Enumerable.Range(0, kind % 5 == 4 ? 40 : 1 + (kind % 3)).Select(_ => Beginnings[random.Next(Beginnings.Length)])))],
            Template = ChatTemplate.ByName("plain"),
            MaxTokens = random.Next(4, 60),
            Constraint = (kind % 6) switch { 3 => OutputConstraint.Regex("[a-z]{3,9}( [a-z]{2,8})*\\."), 5 => OutputConstraint.Choices(["yes", "no", "perhaps"]), _ => null },
            Speculation = kind % 2 == 0 ? SpeculationMode.Auto : SpeculationMode.Off,
            Sampling = kind % 4 == 0 ? SamplingOptions.Greedy : new() { Temperature = 0.5f + (0.2f * (kind % 5)), Seed = (ulong)kind },
            Stop = kind % 6 == 1 ? [" the"] : [],
        };
    }

    private async Task Client(int client, int requests, int patience, CancellationToken stop)
    {
        var random = new Random(client);
        for (var i = 0; i < requests && !stop.IsCancellationRequested; i++)
        {
            var kind = random.Next(_requests.Length);
            var request = _requests[kind] with
            {
                Tenant = $"tenant {client % 7}",
                Priority = random.Next(5) == 0 ? RequestPriority.Background : RequestPriority.Interactive,
            };
            var end = await Ask(request, _texts[kind], random);
            _ends.AddOrUpdate(end, 1, (_, count) => count + 1);
            if (end == "turned away")
            {
                await Task.Delay(random.Next(1, patience), CancellationToken.None);
            }
        }
    }

    private async Task<string> Ask(GenerationRequest request, string expected, Random random)
    {
        using var cancel = new CancellationTokenSource();
        var pieces = new System.Text.StringBuilder();
        var hangUp = int.MaxValue;
        GenerationSink? sink = piece =>
        {
            pieces.Append(piece.Text);
            if (--hangUp == 0)
            {
                throw new IOException("hung up");
            }
        };
        switch (random.Next(8))
        {
            case 0:
                cancel.CancelAfter(random.Next(200));
                break;
            case 1:
                request = request with { Deadline = TimeSpan.FromMilliseconds(random.Next(200)) };
                break;
            case 2:
                hangUp = random.Next(1, 20);
                break;
            case 3:
                sink = null;
                break;
        }

        try
        {
            var answer = _scheduler.GenerateAsync(request, sink, cancel.Token);
            Note(_scheduler.Pending);
            var result = await answer;
            var whole = result.FinishReason is not (FinishReason.Cancelled or FinishReason.Deadline);
            Check(whole ? result.Text == expected : expected.StartsWith(result.Text, StringComparison.Ordinal), $"{result.FinishReason}: {result.Text} for {expected}");
            Check(sink is null || pieces.ToString() == result.Text, $"pieces {pieces} of {result.Text}");
            return result.FinishReason.ToString().ToLowerInvariant();
        }
        catch (QueueFullException e)
        {
            Check(e.RetryAfter >= TimeSpan.FromSeconds(1), $"retry after {e.RetryAfter}");
            return "turned away";
        }
        catch (IOException)
        {
            Check(expected.StartsWith(pieces.ToString(), StringComparison.Ordinal), $"pieces {pieces} of {expected}");
            return "hung up";
        }
    }

    private void Check(bool right, string what)
    {
        if (!right)
        {
            Interlocked.Increment(ref _wrong);
            FirstWrong ??= what;
        }
    }

    private void Note(int pending)
    {
        for (var most = MostPending; pending > most; most = MostPending)
        {
            Interlocked.CompareExchange(ref _mostPending, pending, most);
        }
    }
}
