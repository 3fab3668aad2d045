using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using Microsoft.Extensions.VectorData;

namespace RyzenLlm.Memory.Stores.Qdrant;

/// <summary>One tenant's units on a Qdrant server.</summary>
public sealed class QdrantRsuCollection : RsuCollection
{
    private const int Batch = 64;

    /// <summary>Candidates from each of the two searches.</summary>
    private const int Candidates = 100;

    /// <summary>
    /// What one standard deviation of the sparse score is worth in dense cosine on conversations; turns the relative
    /// weight of the ranking options into the absolute one of a sum of scores.
    /// </summary>
    private const double SparsePerDense = 20;

    /// <summary>Beside words, a vector must be at least this close: nothing rather than filler.</summary>
    private const double DenseFloor = 0.3;

    private readonly QdrantRsuStore _store;
    private readonly QdrantSparse _sparse;

    internal QdrantRsuCollection(QdrantRsuStore store, string tenant)
        : base(tenant)
    {
        _store = store;
        _sparse = new QdrantSparse(store.Ranking);
    }

    /// <inheritdoc/>
    public override string Name => _store.Collection;

    /// <inheritdoc/>
    public override string Embedder => _store.Embedder;

    /// <inheritdoc/>
    public override async Task<bool> CollectionExistsAsync(CancellationToken cancellationToken = default) =>
        (bool?)(await SendAsync(HttpMethod.Get, $"{_store.Root}/exists", null, cancellationToken).ConfigureAwait(false))?["exists"] ?? false;

    /// <inheritdoc/>
    public override Task EnsureCollectionExistsAsync(CancellationToken cancellationToken = default) => _store.OpenAsync(cancellationToken);

    /// <summary>Deletes this tenant's units; those of others stay.</summary>
    public override Task EnsureCollectionDeletedAsync(CancellationToken cancellationToken = default) => DeleteAsync(new RsuFilter(Tenant), cancellationToken);

    /// <summary>
    /// Writes the units with their neighbours' words in their sparse vectors, and refreshes the vectors of the stored
    /// neighbours. A second write of an id keeps the dense vector only if the unit brings it along.
    /// </summary>
    public override async Task UpsertAsync(IEnumerable<Rsu> records, CancellationToken cancellationToken = default)
    {
        await _store.OpenAsync(cancellationToken).ConfigureAwait(false);
        Rsu[] units = [.. records.Select(Own)];
        if (Array.Find(units, u => u.Embedding is not null && u.Embedder != _store.Embedder) is { } foreign)
        {
            throw new EmbedderMismatchException(_store.Embedder, foreign.Embedder);
        }

        var points = new List<JsonObject>();
        var refreshed = new List<JsonObject>();
        foreach (var session in units.GroupBy(u => (u.Scope, u.Session)))
        {
            Dictionary<Guid, Rsu> written = session.ToDictionary(u => u.Id);
            List<Rsu> around = await AroundAsync(session.Key.Scope, session.Key.Session, written.Values, cancellationToken).ConfigureAwait(false);
            for (int i = 0; i < around.Count; i++)
            {
                if (written.TryGetValue(around[i].Id, out Rsu? unit))
                {
                    points.Add(QdrantPoint.Write(unit, _sparse.Document(around, i), _store.DenseName));
                }
                else if (NearWritten(around, i, written))
                {
                    refreshed.Add(new JsonObject
                    {
                        ["id"] = around[i].Id.ToString(),
                        ["vector"] = new JsonObject { [QdrantPoint.SparseName] = _sparse.Document(around, i) },
                    });
                }
            }
        }

        await PutAsync("/points", points, cancellationToken).ConfigureAwait(false);
        await PutAsync("/points/vectors", refreshed, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public override async Task AddVectorsAsync(IReadOnlyList<Rsu> units, CancellationToken cancellationToken = default)
    {
        if (units.Count == 0)
        {
            return;
        }

        await _store.RequireNextAsync(units[0].Embedder, cancellationToken).ConfigureAwait(false);
        string name = _store.VectorName(units[0].Embedder);
        try
        {
            await PutAsync("/points/vectors", [.. units.Select(u => new JsonObject
            {
                ["id"] = Own(u).Id.ToString(),
                ["vector"] = new JsonObject { [name] = QdrantPoint.Dense(u.Embedding!.Value.Span) },
            })], cancellationToken).ConfigureAwait(false);
        }
        catch (VectorStoreException e) when (e.Message.Contains("No point with id", StringComparison.Ordinal))
        {
            // One was deleted since; the others still lack their vectors and come again.
        }
    }

    private JsonObject Filter(RsuFilter filter) => QdrantFilter.Of(filter, _store.VectorName);

    private Rsu Read(JsonNode point) => QdrantPoint.Read(point, _store.DenseName, _store.Embedder);

    // Where another process has switched to another embedder, the vector that this one knew is gone.
    private async Task<JsonNode?> SendAsync(HttpMethod method, string path, JsonNode? body, CancellationToken cancellationToken)
    {
        string embedder = _store.Embedder;
        try
        {
            return await _store.Http.SendAsync(method, path, body, cancellationToken).ConfigureAwait(false);
        }
        catch (VectorStoreException e) when (e.Message.Contains("Not existing vector name", StringComparison.Ordinal))
        {
            await _store.RefreshAsync(cancellationToken).ConfigureAwait(false);
            if (_store.Embedder == embedder)
            {
                throw;
            }

            throw new EmbedderMismatchException(_store.Embedder, embedder);
        }
    }

    private async Task PutAsync(string path, List<JsonObject> points, CancellationToken cancellationToken)
    {
        foreach (JsonObject[] chunk in points.Chunk(Batch))
        {
            await SendAsync(HttpMethod.Put, $"{_store.Root}{path}{_store.Wait}", new JsonObject { ["points"] = new JsonArray(chunk) }, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>The units to write with enough stored ones before and after to give each its whole neighbourhood, in order.</summary>
    private async Task<List<Rsu>> AroundAsync(string scope, string session, IReadOnlyCollection<Rsu> written, CancellationToken cancellationToken)
    {
        const int enough = 2 * QdrantSparse.Reach;
        long first = written.Min(u => u.Ordinal), last = written.Max(u => u.Ordinal);
        var here = new RsuFilter(Tenant) { Scope = scope, Session = session };
        var all = written.ToDictionary(u => u.Id);
        foreach (var (filter, limit, direction) in new[]
        {
            (here with { OrdinalTo = first - 1 }, enough, "desc"),
            (here with { OrdinalFrom = last + 1 }, enough, "asc"),
            (here with { OrdinalFrom = first, OrdinalTo = last }, QdrantSchema.MaximumBatch, "asc"),
        })
        {
            foreach (Rsu unit in (await ScrollAsync(filter, limit, null, ("ordinal", direction), false, cancellationToken).ConfigureAwait(false)).Units)
            {
                all.TryAdd(unit.Id, unit);
            }
        }

        return [.. all.Values.OrderBy(u => u.Ordinal).ThenBy(u => u.Id)];
    }

    private static bool NearWritten(List<Rsu> around, int at, Dictionary<Guid, Rsu> written)
    {
        for (int i = Math.Max(0, at - QdrantSparse.Reach); i <= Math.Min(around.Count - 1, at + QdrantSparse.Reach); i++)
        {
            if (written.ContainsKey(around[i].Id))
            {
                return true;
            }
        }

        return false;
    }

    /// <inheritdoc/>
    public override async Task<long> CountAsync(RsuFilter filter, CancellationToken cancellationToken = default)
    {
        await _store.OpenAsync(cancellationToken).ConfigureAwait(false);
        JsonNode? result = await SendAsync(
            HttpMethod.Post, $"{_store.Root}/points/count{_store.Timeout}", new JsonObject { ["filter"] = Filter(filter), ["exact"] = true }, cancellationToken).ConfigureAwait(false);
        return (long)result!["count"]!;
    }

    /// <summary>Deletes by filter and waits. Snapshots and the server's write-ahead log keep old bytes until they are rotated.</summary>
    public override async Task<long> DeleteAsync(RsuFilter filter, CancellationToken cancellationToken = default)
    {
        long count = await CountAsync(filter, cancellationToken).ConfigureAwait(false);
        await SendAsync(
            HttpMethod.Post, $"{_store.Root}/points/delete{_store.Wait}", new JsonObject { ["filter"] = Filter(filter) }, cancellationToken).ConfigureAwait(false);
        return count;
    }

    /// <inheritdoc/>
    public override async IAsyncEnumerable<Rsu> ReadAsync(
        RsuFilter filter, int top, int skip = 0, bool newestFirst = false, bool vectors = false, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await _store.OpenAsync(cancellationToken).ConfigureAwait(false);
        if (filter.LacksVectorOf is not null)
        {
            foreach (Rsu unit in (await ScrollAsync(filter, Math.Min(top, QdrantSchema.MaximumBatch), null, null, vectors, cancellationToken).ConfigureAwait(false)).Units)
            {
                yield return unit;
            }

            yield break;
        }

        var units = new Dictionary<Guid, Rsu>();
        JsonNode? offset = null;
        do
        {
            int page = newestFirst ? (int)Math.Min(QdrantSchema.MaximumBatch, (long)top + skip) : QdrantSchema.MaximumBatch;
            (string, string)? order = newestFirst && top + (long)skip <= QdrantSchema.MaximumBatch ? ("created_at", "desc") : null;
            var (read, next) = await ScrollAsync(filter, page, offset, order, vectors, cancellationToken).ConfigureAwait(false);
            foreach (Rsu unit in read)
            {
                units[unit.Id] = unit;
            }

            offset = order is null ? next : null;
        }
        while (offset is not null);

        var ordered = newestFirst
            ? units.Values.OrderByDescending(u => u.CreatedAt).ThenByDescending(u => u.Ordinal)
            : units.Values.OrderBy(u => u.Session, StringComparer.Ordinal).ThenBy(u => u.Ordinal);
        foreach (Rsu unit in ordered.Skip(skip).Take(top))
        {
            yield return unit;
        }
    }

    private async Task<(IReadOnlyList<Rsu> Units, JsonNode? Next)> ScrollAsync(
        RsuFilter filter, int limit, JsonNode? offset, (string Key, string Direction)? order, bool vectors, CancellationToken cancellationToken)
    {
        var body = new JsonObject
        {
            ["filter"] = Filter(filter),
            ["limit"] = limit,
            ["with_payload"] = true,
            ["with_vector"] = vectors ? new JsonArray(_store.DenseName) : false,
        };
        if (offset is not null)
        {
            body["offset"] = offset.DeepClone();
        }

        if (order is { } by)
        {
            body["order_by"] = new JsonObject { ["key"] = by.Key, ["direction"] = by.Direction };
        }

        JsonNode? result = await SendAsync(HttpMethod.Post, $"{_store.Root}/points/scroll{_store.Timeout}", body, cancellationToken).ConfigureAwait(false);
        return ([.. result!["points"]!.AsArray().Select(p => Read(p!))], result["next_page_offset"]);
    }

    /// <summary>
    /// One request: the sparse and the dense search under the tenant's filter, their scores added on the server. The
    /// score is that sum.
    /// </summary>
    public override async Task<IReadOnlyList<VectorSearchResult<Rsu>>> RankAsync(
        string text, ReadOnlyMemory<float>? vector, RsuFilter filter, int top, CancellationToken cancellationToken = default)
    {
        await _store.OpenAsync(cancellationToken).ConfigureAwait(false);
        JsonObject? sparse = text.Length == 0 ? null : Sparse(text);
        JsonObject? dense = vector is { Length: > 0 } v && (sparse is null || _store.Ranking.Dense > 0) && v.Span.ContainsAnyExcept(0f) ? Dense(v.Span) : null;
        JsonObject body;
        if (sparse is not null && dense is not null)
        {
            int candidates = Math.Min(QdrantSchema.MaximumBatch, Math.Max(Candidates, top));
            sparse["limit"] = candidates;
            dense["limit"] = candidates;
            dense["score_threshold"] = DenseFloor;
            body = new JsonObject { ["prefetch"] = new JsonArray(sparse, dense), ["query"] = Fusion() };
        }
        else if ((sparse ?? dense) is { } single)
        {
            body = single;
        }
        else
        {
            return [];
        }

        body["filter"] = Filter(filter);
        body["limit"] = Math.Min(top, QdrantSchema.MaximumBatch);
        body["with_payload"] = true;
        body["with_vector"] = false;
        JsonNode? result = await SendAsync(HttpMethod.Post, $"{_store.Root}/points/query{_store.Timeout}", body, cancellationToken).ConfigureAwait(false);
        return [.. result!["points"]!.AsArray().Select(p => new VectorSearchResult<Rsu>(Own(Read(p!)), (double)p!["score"]!))];
    }

    private JsonObject? Sparse(string text)
    {
        JsonObject query = _sparse.Query(text);
        if (query["indices"]!.AsArray().Count == 0)
        {
            return null;
        }

        var search = new JsonObject { ["query"] = query, ["using"] = QdrantPoint.SparseName };
        if (_store.HasTenantIdf)
        {
            search["params"] = new JsonObject { ["idf"] = new JsonObject { ["corpus"] = Filter(new RsuFilter(Tenant)) } };
        }

        return search;
    }

    private JsonObject Dense(ReadOnlySpan<float> vector) => new()
    {
        ["query"] = QdrantPoint.Dense(vector),
        ["using"] = _store.DenseName,
        ["params"] = new JsonObject { ["hnsw_ef"] = 128 },
    };

    /// <summary>A weighted sum of scores: ranks alone (RRF) would give a weak embedder's first hit as much as a strong one's.</summary>
    private JsonObject Fusion() => new()
    {
        ["formula"] = new JsonObject
        {
            ["sum"] = new JsonArray("$score[0]", new JsonObject { ["mult"] = new JsonArray(SparsePerDense * _store.Ranking.Dense, "$score[1]") }),
        },
        ["defaults"] = new JsonObject { ["$score[0]"] = 0, ["$score[1]"] = 0 },
    };
}
