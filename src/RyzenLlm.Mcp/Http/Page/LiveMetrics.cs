using System.Diagnostics.Metrics;

namespace RyzenLlm.Mcp.Http.Page;

/// <summary>
/// The figures of the status page that change while it is looked at, taken from the program's meter: speed of the last minute, queue, speculation,
/// memory. Counts of all tenants together; nothing of what they asked.
/// </summary>
internal sealed class LiveMetrics : IDisposable
{
    /// <summary>Seconds that the speed is kept for, the one that runs now included.</summary>
    private const int Seconds = 60;

    private const string Meter = "RyzenLlm";

    private readonly TimeProvider _clock;
    private readonly MeterListener _listener = new();
    private readonly Lock _lock = new();
    private readonly int[] _computed = new int[Seconds];
    private readonly Dictionary<string, double> _perToken = [];
    private readonly long _started;
    private long _second;
    private long _prompt;
    private long _generated;
    private long _pending;
    private long _drafted;
    private long _accepted;
    private long _recalls;
    private long _hits;

    public LiveMetrics(TimeProvider clock)
    {
        _clock = clock;
        _started = clock.GetTimestamp();
        _second = Now();
        _listener.InstrumentPublished = static (instrument, listener) =>
        {
            if (instrument.Meter.Name == Meter)
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Take(instrument.Name, value, tags));
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Take(instrument.Name, value, tags));
        _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) => Take(instrument.Name, value, tags));
        _listener.Start();
    }

    /// <summary>The figures at one moment.</summary>
    /// <param name="PerSecond">Tokens computed, of prompts and answers, in each whole second of the last minute, oldest first.</param>
    /// <param name="PromptTokens">Tokens of prompts since the start.</param>
    /// <param name="GeneratedTokens">Tokens of answers since the start.</param>
    /// <param name="Pending">Requests waiting or in work.</param>
    /// <param name="Drafted">Guessed tokens that were verified.</param>
    /// <param name="Accepted">Those that the model confirmed.</param>
    /// <param name="Recalls">Searches of memories.</param>
    /// <param name="MemoryHits">Units that they found.</param>
    internal sealed record Figures(
        int[] PerSecond, long PromptTokens, long GeneratedTokens, long Pending, long Drafted, long Accepted, long Recalls, long MemoryHits);

    /// <summary>Time since the server started.</summary>
    public TimeSpan Uptime => _clock.GetElapsedTime(_started);

    /// <summary>The figures now.</summary>
    public Figures Read()
    {
        lock (_lock)
        {
            Advance();

            // The second that runs now is not over: its slot is left out, and the one after it in the ring is the oldest.
            var perSecond = Enumerable.Range(1, Seconds - 1).Select(i => _computed[(_second + i) % Seconds]);
            return new([.. perSecond], _prompt, _generated, Math.Max(0, _pending), _drafted, _accepted, _recalls, _hits);
        }
    }

    /// <summary>Tokens per second that a model writes, averaged over its last answers; null before the first.</summary>
    public double? Speed(string model)
    {
        lock (_lock)
        {
            return _perToken.TryGetValue(model, out var seconds) && seconds > 0 ? 1 / seconds : null;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _listener.Dispose();

    private void Take(string name, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        lock (_lock)
        {
            switch (name)
            {
                case "ryzenllm.batch.rows":
                    Advance();
                    _computed[_second % Seconds] += (int)value;
                    break;
                case "gen_ai.client.token.usage" when Tag(tags, "gen_ai.token.type") == "input":
                    _prompt += (long)value;
                    break;
                case "gen_ai.client.token.usage":
                    _generated += (long)value;
                    break;
                case "gen_ai.server.time_per_output_token" when Tag(tags, "gen_ai.request.model") is { } model:
                    _perToken[model] = _perToken.TryGetValue(model, out var before) ? (0.7 * before) + (0.3 * value) : value;
                    break;
                case "ryzenllm.requests.pending":
                    _pending += (long)value;
                    break;
                case "ryzenllm.speculation.drafted":
                    _drafted += (long)value;
                    break;
                case "ryzenllm.speculation.accepted":
                    _accepted += (long)value;
                    break;
                case "ryzenllm.memory.units" when Tag(tags, "gen_ai.operation.name") == "search_memory":
                    _recalls++;
                    _hits += (long)value;
                    break;
            }
        }
    }

    private static string? Tag(ReadOnlySpan<KeyValuePair<string, object?>> tags, string name)
    {
        foreach (var (key, value) in tags)
        {
            if (key == name)
            {
                return value as string;
            }
        }

        return null;
    }

    private long Now() => (long)Uptime.TotalSeconds;

    // Empties the slots of seconds that have passed since the last look.
    private void Advance()
    {
        var now = Now();
        for (var passed = Math.Max(_second + 1, now - Seconds + 1); passed <= now; passed++)
        {
            _computed[passed % Seconds] = 0;
        }

        _second = now;
    }
}
