using System.Globalization;
using ModelContextProtocol;
using RyzenLlm.Engine.Decoding;

namespace RyzenLlm.Mcp.Tools;

/// <summary>How far a generation is: written as its text comes, read by the thread that reports.</summary>
/// <param name="maxTokens">Tokens at most.</param>
/// <param name="earlier">Tokens that earlier calls generated.</param>
internal sealed class GenerationProgress(int maxTokens, int earlier)
{
    private volatile Scheduler? _scheduler;
    private int _tokens;
    private long _firstToken;
    private float _reported;

    /// <summary>Tokens that this call generated so far.</summary>
    public int Tokens => Volatile.Read(ref _tokens);

    /// <summary>The model is in memory.</summary>
    public void Loaded(Scheduler scheduler) => _scheduler = scheduler;

    /// <summary>Counts a token.</summary>
    public void Take(GeneratedPiece piece)
    {
        if (piece.Token >= 0 && Interlocked.Increment(ref _tokens) == 1)
        {
            Volatile.Write(ref _firstToken, TimeProvider.System.GetTimestamp());
        }
    }

    /// <summary>The next notification. Its value always grows, as the protocol asks, also while nothing countable happens.</summary>
    public ProgressNotificationValue Next()
    {
        var tokens = Volatile.Read(ref _tokens);
        _reported = Math.Max(earlier + tokens, Math.Max(_reported + 0.001f, MathF.BitIncrement(_reported)));
        return new() { Progress = _reported, Total = maxTokens, Message = Message(tokens) };
    }

    private string Message(int tokens)
    {
        if (_scheduler is not { } scheduler)
        {
            return "loading the model";
        }

        if (tokens == 0)
        {
            return scheduler.Pending > 1 ? $"waiting or reading the prompt, {scheduler.Pending} requests on this model" : "reading the prompt";
        }

        var seconds = TimeProvider.System.GetElapsedTime(Volatile.Read(ref _firstToken)).TotalSeconds;
        return string.Create(CultureInfo.InvariantCulture, $"{tokens} tokens, {(seconds > 0 ? (tokens - 1) / seconds : 0):0.0} per second");
    }
}
