using System.Text.Json.Nodes;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Stores.Qdrant;

/// <summary>Configuration of the collection and its payload indexes.</summary>
internal static class QdrantSchema
{
    /// <summary>Largest page or batch; the collection's strict mode refuses more.</summary>
    public const int MaximumBatch = 256;

    /// <summary>Name of the vector of the embedder that a collection was made with.</summary>
    public const string FirstVector = "dense";

    /// <summary>
    /// No graph over all tenants (<c>m</c> 0), one for each (<c>payload_m</c>), as every query is filtered by tenant;
    /// strict mode, so that a filter on a field without an index fails instead of scanning.
    /// </summary>
    public static JsonObject Collection(int dimensions, string embedder, bool hasMemoryLevels)
    {
        var sparse = new JsonObject { ["modifier"] = "idf" };
        if (hasMemoryLevels)
        {
            sparse["index"] = new JsonObject { ["memory"] = "pinned" };
        }

        return new JsonObject
        {
            ["vectors"] = new JsonObject { [FirstVector] = Dense(dimensions, hasMemoryLevels) },
            ["sparse_vectors"] = new JsonObject { [QdrantPoint.SparseName] = sparse },
            ["hnsw_config"] = new JsonObject { ["m"] = 0, ["payload_m"] = 16, ["ef_construct"] = 100 },
            ["on_disk_payload"] = true,
            ["metadata"] = Metadata(embedder, FirstVector, ""),
            ["strict_mode_config"] = new JsonObject
            {
                ["enabled"] = true,
                ["max_query_limit"] = MaximumBatch,
                ["unindexed_filtering_retrieve"] = false,
                ["unindexed_filtering_update"] = false,
                ["upsert_max_batchsize"] = MaximumBatch,
                ["search_max_batchsize"] = 16,
                ["filter_max_conditions"] = 1024,
                ["search_allow_exact"] = true,
                ["max_timeout"] = 60,
            },
        };
    }

    /// <summary>A dense vector.</summary>
    public static JsonObject Dense(int dimensions, bool hasMemoryLevels)
    {
        var dense = new JsonObject { ["size"] = dimensions, ["distance"] = "Cosine" };
        if (hasMemoryLevels)
        {
            dense["memory"] = "cached";
        }

        return dense;
    }

    /// <summary>What is kept with the collection: the embedder in use, the name of its vector, and the embedder that a change is under way to, or nothing.</summary>
    public static JsonObject Metadata(string embedder, string vector, string next) =>
        new() { ["schema"] = 1, ["embedder"] = embedder, ["vector"] = vector, ["next"] = next, ["bm25"] = "en-porter-context@1" };

    /// <summary>Name of the vector of an embedder that came later; ids may hold characters that names may not.</summary>
    public static string VectorName(string embedder) => $"dense-{Fingerprint.Hash(embedder)[..16]}";

    /// <summary>One request for each field that a filter may name, tenant first.</summary>
    public static IEnumerable<JsonObject> Indexes()
    {
        yield return Index("tenant", new JsonObject { ["type"] = "keyword", ["is_tenant"] = true });
        foreach (string field in new[] { "scope", "session", "source", "speaker", "hash", "sketch", "state" })
        {
            yield return Index(field, new JsonObject { ["type"] = "keyword", ["enable_hnsw"] = false });
        }

        foreach (string field in new[] { "created_at", "expires_at", "valid_to" })
        {
            yield return Index(field, new JsonObject { ["type"] = "datetime", ["enable_hnsw"] = false });
        }

        yield return Index("ordinal", new JsonObject { ["type"] = "integer", ["lookup"] = true, ["range"] = true, ["enable_hnsw"] = false });
        yield return Index("tier", new JsonObject { ["type"] = "integer", ["lookup"] = true, ["range"] = false, ["enable_hnsw"] = false });
        yield return Index("density", new JsonObject { ["type"] = "float", ["enable_hnsw"] = false });
    }

    private static JsonObject Index(string field, JsonObject schema) => new() { ["field_name"] = field, ["field_schema"] = schema };
}
