using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace RyzenLlm.Mcp.Cli;

/// <summary>JSON on standard output: one line, snake_case, text as it is.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(GenerateVerb.GenerateReport))]
[JsonSerializable(typeof(TokenizeVerb.TokenReport))]
[JsonSerializable(typeof(DetokenizeVerb.TextReport))]
[JsonSerializable(typeof(EvalVerb.EvalReport))]
[JsonSerializable(typeof(Engine.Decoding.PerplexityReport))]
[JsonSerializable(typeof(InspectVerb.FileReport))]
[JsonSerializable(typeof(BenchVerb.BenchReport[]))]
[JsonSerializable(typeof(ModelsVerb.ModelReport[]))]
[JsonSerializable(typeof(ModelsPullVerb.PullReport))]
[JsonSerializable(typeof(Downloads.KnownModel[]))]
[JsonSerializable(typeof(DoctorVerb.DoctorReport))]
[JsonSerializable(typeof(MemoryIngestVerb.IngestReport))]
[JsonSerializable(typeof(MemoryRecallVerb.RecallReport))]
[JsonSerializable(typeof(MemoryVerb.UnitReport))]
[JsonSerializable(typeof(MemoryVerb.UnitReport[]))]
[JsonSerializable(typeof(MemoryVerb.StatsReport))]
[JsonSerializable(typeof(MemoryForgetVerb.ForgetReport))]
[JsonSerializable(typeof(MemoryEvalVerb.EvaluationReport))]
[JsonSerializable(typeof(MemoryMigrateVerb.MigrateReport))]
[JsonSerializable(typeof(MemoryReembedVerb.ReembedReport))]
[JsonSerializable(typeof(Engine.Profiles.ModelProfile[]))]
[JsonSerializable(typeof(Engine.Choosing.ModelChoice))]
[JsonSerializable(typeof(Engine.Choosing.SimulationReport))]
[JsonSerializable(typeof(int[]))]
internal sealed partial class CliJson : JsonSerializerContext
{
    // Not built from Default: the order in which static fields of the two halves of this class are set is not certain.
    private static readonly Lazy<CliJson> Readable = new(() => new(new JsonSerializerOptions
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    }));

    /// <summary>Writes a value and a line end.</summary>
    public static void Print<T>(T value) =>
        Console.Out.WriteLine(JsonSerializer.Serialize(value, (JsonTypeInfo<T>)Readable.Value.GetTypeInfo(typeof(T))!));
}
