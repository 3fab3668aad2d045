using System.Globalization;
using System.Text.Json.Nodes;

namespace RyzenLlm.Memory.Stores.Qdrant;

/// <summary>Between a unit and a point's JSON.</summary>
internal static class QdrantPoint
{
    public const string SparseName = "bm25";

    /// <summary>A point; <paramref name="denseName"/> is the vector of the embedder in use.</summary>
    public static JsonObject Write(Rsu unit, JsonObject sparse, string denseName)
    {
        var vector = new JsonObject { [SparseName] = sparse };
        if (unit.Embedding is { Length: > 0 } dense)
        {
            vector[denseName] = Dense(dense.Span);
        }

        return new JsonObject { ["id"] = unit.Id.ToString(), ["vector"] = vector, ["payload"] = Payload(unit) };
    }

    public static JsonArray Dense(ReadOnlySpan<float> vector)
    {
        var array = new JsonArray();
        foreach (float value in vector)
        {
            array.Add(value);
        }

        return array;
    }

    private static JsonObject Payload(Rsu unit)
    {
        var payload = new JsonObject();
        foreach (var (key, value) in new (string, object?)[]
        {
            ("tenant", unit.Tenant), ("scope", unit.Scope), ("session", unit.Session), ("ordinal", unit.Ordinal), ("speaker", unit.Speaker),
            ("source", unit.Source), ("created_at", unit.CreatedAt), ("text", unit.Text), ("hash", unit.Hash), ("density", unit.Density),
            ("tier", unit.Tier), ("kinds", unit.Kinds), ("valid_from", unit.ValidFrom), ("valid_to", unit.ValidTo), ("superseded_by", unit.SupersededBy),
            ("variant_of", unit.VariantOf), ("expires_at", unit.ExpiresAt), ("seen", unit.Seen), ("tokens", unit.Tokens), ("tokenizer", unit.Tokenizer),
            ("state", unit.State),
        })
        {
            if (value is not null)
            {
                payload[key] = QdrantFilter.Value(value);
            }
        }

        payload["sketch"] = new JsonArray([.. unit.Sketch.Select(s => JsonValue.Create(s))]);
        payload["sources"] = new JsonArray([.. unit.Sources.Select(s => JsonValue.Create(s))]);
        return payload;
    }

    /// <summary>A unit, with the vector of the embedder in use where the point came with one.</summary>
    public static Rsu Read(JsonNode point, string denseName, string embedder)
    {
        JsonNode p = point["payload"] ?? throw new InvalidDataException($"The point {point["id"]} has no payload: the collection was written by another program.");
        ReadOnlyMemory<float>? dense = point["vector"]?[denseName] is JsonArray array ? new ReadOnlyMemory<float>([.. array.Select(v => (float)v!)]) : default(ReadOnlyMemory<float>?);
        return new Rsu
        {
            Id = Guid.Parse((string)point["id"]!),
            Tenant = Text(p, "tenant"),
            Scope = Text(p, "scope"),
            Session = Text(p, "session"),
            Ordinal = (long?)p["ordinal"] ?? 0,
            Speaker = Text(p, "speaker"),
            Source = Text(p, "source"),
            CreatedAt = Time(p, "created_at") ?? default,
            Text = Text(p, "text"),
            Hash = Text(p, "hash"),
            Sketch = Texts(p, "sketch"),
            Density = (float?)p["density"] ?? 0,
            Tier = (RsuTier)((int?)p["tier"] ?? (int)RsuTier.Full),
            Kinds = (RsuKinds)((int?)p["kinds"] ?? 0),
            ValidFrom = Time(p, "valid_from"),
            ValidTo = Time(p, "valid_to"),
            SupersededBy = Id(p, "superseded_by"),
            VariantOf = Id(p, "variant_of"),
            ExpiresAt = Time(p, "expires_at"),
            Sources = Texts(p, "sources"),
            Seen = (int?)p["seen"] ?? 1,
            Tokens = (int?)p["tokens"] ?? 0,
            Tokenizer = Text(p, "tokenizer"),
            State = (string?)p["state"],
            Embedder = dense is null ? "" : embedder,
            Embedding = dense,
        };
    }

    private static string Text(JsonNode payload, string key) => (string?)payload[key] ?? "";

    private static string[] Texts(JsonNode payload, string key) => payload[key] is JsonArray array ? [.. array.Select(v => (string)v!)] : [];

    private static Guid? Id(JsonNode payload, string key) => (string?)payload[key] is { } id ? Guid.Parse(id) : null;

    private static DateTimeOffset? Time(JsonNode payload, string key) =>
        (string?)payload[key] is { } time ? DateTimeOffset.Parse(time, CultureInfo.InvariantCulture, DateTimeStyles.AdjustToUniversal) : null;
}
