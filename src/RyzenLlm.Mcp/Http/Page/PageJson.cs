using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Http;

namespace RyzenLlm.Mcp.Http.Page;

/// <summary>What the status page sends and receives: snake_case, absent instead of null.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    RespectNullableAnnotations = true,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(StatusApi.Status))]
[JsonSerializable(typeof(MemoryApi.UnitPage))]
[JsonSerializable(typeof(MemoryApi.Unit))]
[JsonSerializable(typeof(MemoryApi.Forgotten))]
[JsonSerializable(typeof(MemoryApi.Point[]))]
[JsonSerializable(typeof(GenerateApi.Question))]
[JsonSerializable(typeof(GenerateApi.Answer))]
[JsonSerializable(typeof(PageApi.Problem))]
[JsonSerializable(typeof(string))]
internal sealed partial class PageJson : JsonSerializerContext
{
    /// <summary>Answers with a value. The default encoder also escapes what means something in HTML.</summary>
    public static Task WriteAsync<T>(HttpContext context, T value)
    {
        context.Response.ContentType = "application/json";
        context.Response.Headers.CacheControl = "no-store";
        return context.Response.Body.WriteAsync(Bytes(value), context.RequestAborted).AsTask();
    }

    /// <summary>A value as JSON.</summary>
    public static byte[] Bytes<T>(T value) => JsonSerializer.SerializeToUtf8Bytes(value, (JsonTypeInfo<T>)Default.GetTypeInfo(typeof(T))!);
}
