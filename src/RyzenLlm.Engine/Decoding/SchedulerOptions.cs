using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;

namespace RyzenLlm.Engine.Decoding;

/// <summary>Bounds of a <see cref="Scheduler"/>.</summary>
public sealed record SchedulerOptions
{
    /// <summary>Sequences that run at once, 1 or more. Each holds its own state: keys and values of its tokens, or a recurrent state.</summary>
    public int MaxSequences { get; init; } = 16;

    /// <summary>Requests that may wait beyond those that run, 1 or more.</summary>
    public int QueueLimit { get; init; } = 64;

    /// <summary>Tokens that one step computes at most, prompts and next tokens together; as many as sequences run, or more.</summary>
    public int StepTokens { get; init; } = 256;

    /// <summary>States that are kept for later requests; null keeps none.</summary>
    public ReuseOptions? Reuse { get; init; }

    /// <summary>Where kept states outlive the process, or null. Stays the caller's.</summary>
    public StateFolder? States { get; init; }

    /// <summary>What sequences and kept states may take, shared with others; null for as much as there is.</summary>
    public MemoryBudget? Memory { get; init; }

    /// <summary>Checks every bound.</summary>
    /// <exception cref="ArgumentOutOfRangeException">One is out of range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxSequences, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(QueueLimit, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(StepTokens, MaxSequences);
    }
}

/// <summary>More requests wait for a model than allowed.</summary>
/// <param name="limit">How many may.</param>
/// <param name="retryAfter">When a place is likely to be free, by the speed of the requests before.</param>
public sealed class QueueFullException(int limit, TimeSpan retryAfter)
    : Exception($"Busy: {limit} requests already wait for this model. Try again in {retryAfter.TotalSeconds:0} s, or raise Engine:QueueLimit.")
{
    /// <summary>When a place is likely to be free, in whole seconds, at least 1.</summary>
    public TimeSpan RetryAfter { get; } = retryAfter;
}

/// <summary>A forward pass broke off. The requests that had rows in it have lost their state; others, and later ones, are not concerned.</summary>
/// <param name="model">Name of the model.</param>
/// <param name="cause">What happened.</param>
public sealed class StepFailedException(string model, Exception cause)
    : Exception($"{model} failed in the middle of a step, and this request was part of it ({cause.Message.ReplaceLineEndings(" ")}). Try again.", cause);
