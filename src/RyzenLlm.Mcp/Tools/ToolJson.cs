using System.ComponentModel;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Schema;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Resources;

namespace RyzenLlm.Mcp.Tools;

/// <summary>Structured results: snake_case, absent instead of null.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(GenerateTool.GeneratedText))]
[JsonSerializable(typeof(ModelSelectTool.ModelSelectionResult))]
[JsonSerializable(typeof(RecallContextTool.RecalledContext))]
[JsonSerializable(typeof(StoreContextTool.StoredContext))]
[JsonSerializable(typeof(ForgetContextTool.ForgottenContext))]
[JsonSerializable(typeof(ShareContextTool.SharedContext))]
[JsonSerializable(typeof(UnitDetails))]
[JsonSerializable(typeof(ServerActivity.Snapshot))]
internal sealed partial class ToolJson : JsonSerializerContext
{
    /// <summary>The value as structured content.</summary>
    public static JsonElement Element<T>(T value) => JsonSerializer.SerializeToElement(value, (JsonTypeInfo<T>)Default.GetTypeInfo(typeof(T))!);

    /// <summary>The value as JSON text.</summary>
    public static string Text<T>(T value) => JsonSerializer.Serialize(value, (JsonTypeInfo<T>)Default.GetTypeInfo(typeof(T))!);

    /// <summary>Output schema of a type: single types only; what may be absent is not required; descriptions from the attributes.</summary>
    public static JsonElement Schema<T>()
    {
        var options = new JsonSchemaExporterOptions { TreatNullObliviousAsNonNullable = true, TransformSchemaNode = Simplify };
        return ToolArguments.Element(Default.Options.GetJsonSchemaAsNode(typeof(T), options));
    }

    private static JsonNode Simplify(JsonSchemaExporterContext context, JsonNode node)
    {
        if (node is not JsonObject schema)
        {
            return node;
        }

        if (schema["type"] is JsonArray types)
        {
            schema["type"] = types.First(t => (string?)t != "null")!.DeepClone();
        }

        if (schema["required"] is JsonArray required)
        {
            var optional = context.TypeInfo.Properties.Where(p => p.IsGetNullable).Select(p => p.Name).ToHashSet();
            schema["required"] = new JsonArray([.. required.Select(name => (string)name!).Where(name => !optional.Contains(name)).Select(name => JsonValue.Create(name))]);
        }

        if (context.PropertyInfo?.AttributeProvider?.GetCustomAttributes(typeof(DescriptionAttribute), inherit: false) is [DescriptionAttribute { Description: var text }, ..])
        {
            schema["description"] = text;
        }

        return schema;
    }
}
