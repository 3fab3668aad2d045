using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace RyzenLlm.Mcp.Tools;

/// <summary>Structured results: snake_case, absent instead of null.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(GenerateTool.GeneratedText))]
[JsonSerializable(typeof(ModelSelectTool.ModelSelection))]
internal sealed partial class ToolJson : JsonSerializerContext
{
    /// <summary>The value as structured content.</summary>
    public static JsonElement Element<T>(T value) => JsonSerializer.SerializeToElement(value, (JsonTypeInfo<T>)Default.GetTypeInfo(typeof(T))!);

    /// <summary>Output schema of a type: single types only, what may be null is not required.</summary>
    public static JsonElement Schema<T>()
    {
        var options = new JsonSchemaExporterOptions
        {
            TreatNullObliviousAsNonNullable = true,
            TransformSchemaNode = static (_, node) => Simplify(node),
        };
        return ToolArguments.Element(Default.Options.GetJsonSchemaAsNode(typeof(T), options));
    }

    private static JsonNode Simplify(JsonNode node)
    {
        if (node is JsonObject schema && schema["type"] is JsonArray types)
        {
            schema["type"] = types.First(t => (string?)t != "null")!.DeepClone();
        }

        return node;
    }
}
