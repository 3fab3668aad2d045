using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Reflection;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;

namespace RyzenLlm.Engine.Telemetry;

/// <summary>
/// The one meter and the one activity source of the program. Names that begin with gen_ai follow the OpenTelemetry semantic conventions for
/// generative AI; ryzenllm is for what those do not know. Nothing is computed or allocated while nobody listens.
/// </summary>
public static class Instruments
{
    /// <summary>Name of meter and activity source, to listen to.</summary>
    public const string Name = "RyzenLlm";

    /// <summary>Value of gen_ai.provider.name.</summary>
    public const string ProviderName = "ryzenllm";

    /// <summary>Attribute: name of the model.</summary>
    public const string RequestModel = "gen_ai.request.model";

    /// <summary>Attribute: chat, text_completion, or what a memory was asked.</summary>
    public const string OperationName = "gen_ai.operation.name";

    /// <summary>Attribute: who answers.</summary>
    public const string Provider = "gen_ai.provider.name";

    /// <summary>Attribute: class of the failure, absent on success.</summary>
    public const string ErrorType = "error.type";

    // Boundaries of the conventions; the finer ones in front are for models whose tokens take less than 10 ms.
    private static readonly InstrumentAdvice<double> Durations = new() { HistogramBucketBoundaries = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92] };
    private static readonly InstrumentAdvice<double> PerToken = new() { HistogramBucketBoundaries = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5] };
    private static readonly InstrumentAdvice<double> FirstToken = new() { HistogramBucketBoundaries = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0] };
    private static readonly InstrumentAdvice<long> Tokens = new() { HistogramBucketBoundaries = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864] };
    private static readonly InstrumentAdvice<int> Counts = new() { HistogramBucketBoundaries = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] };

    /// <summary>All metrics; those of other rooms are created from it too.</summary>
    public static Meter Meter { get; } = new(Name, Version);

    /// <summary>All spans.</summary>
    public static ActivitySource Activities { get; } = new(Name, Version);

    internal static Histogram<long> TokenUsage { get; } = Meter.CreateHistogram("gen_ai.client.token.usage", "{token}", "Tokens of a request, by gen_ai.token.type.", null, Tokens);

    internal static Histogram<double> RequestDuration { get; } = Meter.CreateHistogram("gen_ai.server.request.duration", "s", "From the request to its last token, waiting included.", null, Durations);

    internal static Histogram<double> TimeToFirstToken { get; } = Meter.CreateHistogram("gen_ai.server.time_to_first_token", "s", "From the request to its first token, waiting included.", null, FirstToken);

    internal static Histogram<double> TimePerOutputToken { get; } = Meter.CreateHistogram("gen_ai.server.time_per_output_token", "s", "Mean time of the tokens after the first.", null, PerToken);

    internal static Histogram<double> QueueDuration { get; } = Meter.CreateHistogram("ryzenllm.request.queue.duration", "s", "From the request until work on it begins.", null, Durations);

    internal static UpDownCounter<int> Pending { get; } = Meter.CreateUpDownCounter<int>("ryzenllm.requests.pending", "{request}", "Requests accepted and not yet answered.");

    internal static Counter<long> Refused { get; } = Meter.CreateCounter<long>("ryzenllm.requests.refused", "{request}", "Requests refused because too many waited.");

    internal static Counter<long> Drafted { get; } = Meter.CreateCounter<long>("ryzenllm.speculation.drafted", "{token}", "Guessed tokens that were verified.");

    internal static Counter<long> Accepted { get; } = Meter.CreateCounter<long>("ryzenllm.speculation.accepted", "{token}", "Guessed tokens that the model confirmed.");

    internal static UpDownCounter<long> StateBytes { get; } = Meter.CreateUpDownCounter<long>("ryzenllm.cache.size", "By", "Bytes of the states kept for prompts that begin alike.");

    internal static Counter<long> StateEvictions { get; } = Meter.CreateCounter<long>("ryzenllm.cache.evictions", "{state}", "Kept states given up for want of memory.");

    private static Counter<long> CacheLookups { get; } = Meter.CreateCounter<long>("ryzenllm.cache.lookups", "{request}", "Prompts looked up among the kept states, by ryzenllm.cache.hit.");

    private static Counter<long> CacheTokens { get; } = Meter.CreateCounter<long>("ryzenllm.cache.reused", "{token}", "Tokens of prompts that need not be computed.");

    private static Histogram<int> BatchSequences { get; } = Meter.CreateHistogram("ryzenllm.batch.sequences", "{sequence}", "Requests that share a forward pass.", null, Counts);

    private static Histogram<int> BatchRows { get; } = Meter.CreateHistogram("ryzenllm.batch.rows", "{row}", "Tokens computed by a forward pass: of prompts, next ones and guesses.", null, Counts);

    private static Histogram<double> LoadDuration { get; } = Meter.CreateHistogram("ryzenllm.model.load.duration", "s", "Opening a model; weights are read later, as they are used.", null, Durations);

    private static UpDownCounter<int> LoadedModels { get; } = Meter.CreateUpDownCounter<int>("ryzenllm.models.loaded", "{model}", "Models in memory, drafts included.");

    private static UpDownCounter<long> LoadedBytes { get; } = Meter.CreateUpDownCounter<long>("ryzenllm.models.size", "By", "Bytes of the files of models in memory.");

    private static string? Version => typeof(Instruments).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0];

    /// <summary>The attribute that names a model.</summary>
    internal static KeyValuePair<string, object?> Of(ModelInfo model) => new(RequestModel, model.Name);

    /// <summary>A prompt was looked up among the kept states.</summary>
    internal static void Reuse(ModelInfo model, int reused)
    {
        CacheLookups.Add(1, Of(model), new("ryzenllm.cache.hit", reused > 0));
        CacheTokens.Add(reused, Of(model));
    }

    /// <summary>A forward pass, before it runs. To be called for each step.</summary>
    internal static void Step(ModelInfo model, Batch batch)
    {
        if (BatchRows.Enabled)
        {
            BatchRows.Record(batch.Count, Of(model));
        }

        if (BatchSequences.Enabled)
        {
            BatchSequences.Record(batch.Sessions.Count, Of(model));
        }
    }

    /// <summary>Runs a load under a span and counts its outcome.</summary>
    internal static LanguageModel Loading(string path, Func<LanguageModel> load)
    {
        using var span = Activities.StartActivity("load model");
        span?.SetTag("ryzenllm.model.file", Path.GetFileName(path));
        var began = Stopwatch.GetTimestamp();
        try
        {
            var model = load();
            Resident(model, 1);
            LoadDuration.Record(Stopwatch.GetElapsedTime(began).TotalSeconds, Of(model.Info));
            span?.SetTag(RequestModel, model.Info.Name);
            return model;
        }
        catch (Exception e)
        {
            LoadDuration.Record(Stopwatch.GetElapsedTime(began).TotalSeconds, Tag(ErrorType, e.GetType().Name));
            span?.SetTag(ErrorType, e.GetType().Name).SetStatus(ActivityStatusCode.Error, e.Message);
            throw;
        }
    }

    /// <summary>A model came into memory (1) or left it (-1).</summary>
    internal static void Resident(LanguageModel model, int change)
    {
        LoadedModels.Add(change, Of(model.Info));
        LoadedBytes.Add(change * model.FileBytes, Of(model.Info));
    }

    private static KeyValuePair<string, object?> Tag(string key, object? value) => new(key, value);
}
