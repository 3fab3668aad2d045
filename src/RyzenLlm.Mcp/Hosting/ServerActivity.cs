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
    /// <param name="Gc">The garbage collector.</param>
    internal sealed record Snapshot(
        double UptimeSeconds,
        long Calls,
        long Failures,
        long PromptTokens,
        long GeneratedTokens,
        Dictionary<string, long> Answers,
        LoadedModel[] Models,
        long MemoryBytes,
        GarbageCollection Gc);

    /// <summary>What garbage collection cost.</summary>
    /// <param name="AllocatedBytes">Allocated since the process started.</param>
    /// <param name="HeapBytes">In use at the last collection.</param>
    /// <param name="Collections">By generation, 0 to 2.</param>
    /// <param name="PauseSeconds">All pauses together.</param>
    /// <param name="LastPauseMilliseconds">The longest pause of the last collection.</param>
    internal sealed record GarbageCollection(long AllocatedBytes, long HeapBytes, int[] Collections, double PauseSeconds, double LastPauseMilliseconds)
    {
        public static GarbageCollection Now()
        {
            var last = GC.GetGCMemoryInfo(GCKind.Any);
            var longest = 0.0;
            foreach (var pause in last.PauseDurations)
            {
                longest = Math.Max(longest, pause.TotalMilliseconds);
            }

            return new(
                GC.GetTotalAllocatedBytes(), last.HeapSizeBytes, [GC.CollectionCount(0), GC.CollectionCount(1), GC.CollectionCount(2)],
                Math.Round(GC.GetTotalPauseDuration().TotalSeconds, 3), Math.Round(longest, 2));
        }
    }

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
            process.WorkingSet64,
            GarbageCollection.Now());
    }
}
