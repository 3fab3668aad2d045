using System.Diagnostics;
using RyzenLlm.Engine.Decoding;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>What this process has done since it started, for <c>metrics://now</c>. Counts are never reset.</summary>
internal sealed class ServerActivity(LoadedModels models, TimeProvider clock)
{
    private readonly long _started = clock.GetTimestamp();
    private readonly long[] _answers = new long[Enum.GetValues<FinishReason>().Length];
    private long _promptTokens;
    private long _generatedTokens;
    private long _calls;
    private long _failures;

    /// <summary>The state at one moment.</summary>
    /// <param name="UptimeSeconds">Since the server started.</param>
    /// <param name="Calls">Tool calls, failed ones included.</param>
    /// <param name="Failures">Tool calls answered with an error.</param>
    /// <param name="PromptTokens">Tokens read.</param>
    /// <param name="GeneratedTokens">Tokens generated.</param>
    /// <param name="Answers">Generations by the reason of their end.</param>
    /// <param name="Models">Models in memory.</param>
    /// <param name="MemoryBytes">Resident memory of the process, mapped model files included.</param>
    internal sealed record Snapshot(
        double UptimeSeconds,
        long Calls,
        long Failures,
        long PromptTokens,
        long GeneratedTokens,
        Dictionary<string, long> Answers,
        LoadedModel[] Models,
        long MemoryBytes);

    /// <summary>A call of a tool has ended.</summary>
    public void Called(bool failed)
    {
        Interlocked.Increment(ref _calls);
        if (failed)
        {
            Interlocked.Increment(ref _failures);
        }
    }

    /// <summary>A generation has ended.</summary>
    public void Answered(GenerationResult result)
    {
        Interlocked.Increment(ref _answers[(int)result.FinishReason]);
        Interlocked.Add(ref _promptTokens, result.PromptTokens);
        Interlocked.Add(ref _generatedTokens, result.GeneratedTokens);
    }

    /// <summary>The state now.</summary>
    public Snapshot Now()
    {
        using var process = Process.GetCurrentProcess();
        return new(
            Math.Round(clock.GetElapsedTime(_started).TotalSeconds, 1),
            Interlocked.Read(ref _calls),
            Interlocked.Read(ref _failures),
            Interlocked.Read(ref _promptTokens),
            Interlocked.Read(ref _generatedTokens),
            Enum.GetValues<FinishReason>().ToDictionary(r => r.ToString().ToLowerInvariant(), r => Interlocked.Read(ref _answers[(int)r])),
            models.Snapshot(),
            process.WorkingSet64);
    }
}
