using System.Text.Json.Nodes;

namespace RyzenLlm.Memory.Stores.Qdrant;

/// <summary>Configuration of the collection and its payload indexes.</summary>
internal static class QdrantSchema
{
    /// <summary>Largest page or batch; the collection's strict mode refuses more.</summary>
    public const int MaximumBatch = 256;

    /// <summary>
    /// No graph over all tenants (<c>m</c> 0), one for each (<c>payload_m</c>), as every query is filtered by tenant;
    /// strict mode, so that a filter on a field without an index fails instead of scanning.
    /// </summary>
    public static JsonObject Collection(int dimensions, string embedder, bool hasMemoryLevels)
    {
        var dense = new JsonObject { ["size"] = dimensions, ["distance"] = "Cosine" };
        var sparse = new JsonObject { ["modifier"] = "idf" };
        if (hasMemoryLevels)
        {
            dense["memory"] = "cached";
            sparse["index"] = new JsonObject { ["memory"] = "pinned" };
        }

        return new JsonObject
        {
            ["vectors"] = new JsonObject { [QdrantPoint.DenseName] = dense },
            ["sparse_vectors"] = new JsonObject { [QdrantPoint.SparseName] = sparse },
            ["hnsw_config"] = new JsonObject { ["m"] = 0, ["payload_m"] = 16, ["ef_construct"] = 100 },
            ["on_disk_payload"] = true,
            ["metadata"] = new JsonObject { ["schema"] = 1, ["embedder"] = embedder, ["bm25"] = "en-porter-context@1" },
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

    /// <summary>One request for each field that a filter may name, tenant first.</summary>
    public static IEnumerable<JsonObject> Indexes()
    {
        yield return Index("tenant", new JsonObject { ["type"] = "keyword", ["is_tenant"] = true });
        foreach (string field in new[] { "scope", "session", "source", "speaker", "hash", "sketch", "state", "shared_by" })
        {
            yield return Index(field, new JsonObject { ["type"] = "keyword", ["enable_hnsw"] = false });
        }

        foreach (string field in new[] { "created_at", "expires_at", "valid_to" })
        {
            yield return Index(field, new JsonObject { ["type"] = "datetime", ["enable_hnsw"] = false });
        }

        yield return Index("ordinal", new JsonObject { ["type"] = "integer", ["lookup"] = true, ["range"] = true, ["enable_hnsw"] = false });
        yield return Index("density", new JsonObject { ["type"] = "float", ["enable_hnsw"] = false });
    }

    private static JsonObject Index(string field, JsonObject schema) => new() { ["field_name"] = field, ["field_schema"] = schema };
}
