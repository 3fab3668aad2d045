using System.Diagnostics;
using System.Diagnostics.Metrics;
using RyzenLlm.Engine.Telemetry;
using RyzenLlm.Memory;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>Metrics of what the server does beside generating. Operations on the memory carry the names of the semantic conventions.</summary>
internal static class ServerInstruments
{
    private const string Search = "search_memory";
    private const string Upsert = "upsert_memory";
    private const string Delete = "delete_memory";

    private static readonly Histogram<double> MemoryDuration =
        Instruments.Meter.CreateHistogram<double>("ryzenllm.memory.operation.duration", "s", "Operations on the memory.");

    private static readonly Counter<long> MemoryUnits =
        Instruments.Meter.CreateCounter<long>("ryzenllm.memory.units", "{unit}", "Units found, stored (merged ones included) or deleted.");

    private static readonly Counter<long> MemoryTokens =
        Instruments.Meter.CreateCounter<long>("ryzenllm.memory.recalled", "{token}", "Tokens of the text that recalls gave.");

    /// <summary>Models unloaded to make room.</summary>
    public static Counter<long> ModelEvictions { get; } =
        Instruments.Meter.CreateCounter<long>("ryzenllm.model.evictions", "{model}", "Models unloaded to make room for others.");

    /// <summary>A recall.</summary>
    public static async Task<RecallResult> RecallingAsync(Func<Task<RecallResult>> work)
    {
        var found = await MeasureAsync(Search, work, r => r.Hits.Count).ConfigureAwait(false);
        MemoryTokens.Add(found.Tokens);
        return found;
    }

    /// <summary>A store.</summary>
    public static Task<StoreResult> StoringAsync(Func<Task<StoreResult>> work) => MeasureAsync(Upsert, work, r => r.Stored + r.Merged);

    /// <summary>A deletion or its dry run, which deletes nothing.</summary>
    public static Task<ForgetResult> ForgettingAsync(Func<Task<ForgetResult>> work) => MeasureAsync(Delete, work, r => r.Deleted);

    private static async Task<T> MeasureAsync<T>(string operation, Func<Task<T>> work, Func<T, long> units)
    {
        var began = Stopwatch.GetTimestamp();
        using var span = Instruments.Activities.StartActivity(operation);
        span?.SetTag(Instruments.OperationName, operation).SetTag(Instruments.Provider, Instruments.ProviderName);
        var tags = new TagList { { Instruments.OperationName, operation } };
        try
        {
            var result = await work().ConfigureAwait(false);
            MemoryUnits.Add(units(result), tags);
            span?.SetTag("ryzenllm.memory.units", units(result));
            return result;
        }
        catch (Exception e)
        {
            span?.SetTag(Instruments.ErrorType, e.GetType().Name).SetStatus(ActivityStatusCode.Error, e.Message);
            tags.Add(Instruments.ErrorType, e.GetType().Name);
            throw;
        }
        finally
        {
            MemoryDuration.Record(Stopwatch.GetElapsedTime(began).TotalSeconds, tags);
        }
    }
}
