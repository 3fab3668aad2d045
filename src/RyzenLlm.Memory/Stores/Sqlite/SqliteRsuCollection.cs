using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Ranking;

namespace RyzenLlm.Memory.Stores.Sqlite;

/// <summary>One tenant's units in a memory file.</summary>
public sealed class SqliteRsuCollection : RsuCollection
{
    private readonly SqliteRsuStore _store;
    private readonly Lock _lock = new();
    private SqliteIndexReader? _index;

    internal SqliteRsuCollection(SqliteRsuStore store, string tenant)
        : base(tenant) => _store = store;

    /// <inheritdoc/>
    public override string Name => "rsu";

    /// <inheritdoc/>
    public override string Embedder => _store.Embedder;

    /// <inheritdoc/>
    public override Task<bool> CollectionExistsAsync(CancellationToken cancellationToken = default) => Task.FromResult(File.Exists(_store.Path));

    /// <inheritdoc/>
    public override Task EnsureCollectionExistsAsync(CancellationToken cancellationToken = default) => _store.OpenAsync(cancellationToken);

    /// <summary>Deletes this tenant's units; those of others stay.</summary>
    public override Task EnsureCollectionDeletedAsync(CancellationToken cancellationToken = default) => DeleteAsync(new RsuFilter(Tenant), cancellationToken);

    /// <inheritdoc/>
    public override Task UpsertAsync(IEnumerable<Rsu> records, CancellationToken cancellationToken = default)
    {
        Rsu[] units = [.. records.Select(Own)];
        cancellationToken.ThrowIfCancellationRequested();
        _store.Transact(connection => Upsert(connection, units));
        return Task.CompletedTask;
    }

    private int Upsert(SqliteConnection connection, Rsu[] units)
    {
        string embedder = _store.Follow(connection);
        if (Array.Find(units, u => u.Embedding is not null && u.Embedder != embedder) is { } foreign)
        {
            throw new EmbedderMismatchException(embedder, foreign.Embedder);
        }

        SqliteSchema.Execute(connection, "INSERT INTO tenants (name) VALUES ($n) ON CONFLICT DO NOTHING", ("$n", Tenant));
        long number, last, seq;
        using (SqliteCommand command = SqliteSchema.Command(connection, "SELECT number, last, seq FROM tenants WHERE name = $n", ("$n", Tenant)))
        using (SqliteDataReader reader = command.ExecuteReader())
        {
            reader.Read();
            (number, last, seq) = (reader.GetInt64(0), reader.GetInt64(1), reader.GetInt64(2));
        }

        using SqliteCommand upsert = SqliteRows.PrepareUpsert(connection);
        foreach (Rsu unit in units)
        {
            long fresh = (number << SqliteSchema.RowBits) + last + 1;
            SqliteRows.Bind(upsert, unit, number, fresh, ++seq);
            if (upsert.ExecuteScalar() is not long row)
            {
                Remove(connection, new RsuFilter(Tenant) { Ids = [unit.Id] });
                row = (long)upsert.ExecuteScalar()!;
            }

            if (row == fresh)
            {
                last++;
                if (unit.Embedding is { Length: > 0 } vector)
                {
                    SqliteVectors.Put(connection, row, unit.Embedder, vector.Span);
                }
            }
        }

        SqliteSchema.Execute(connection, "UPDATE tenants SET last = $l, seq = $s WHERE number = $n", ("$l", last), ("$s", seq), ("$n", number));
        return units.Length;
    }

    /// <inheritdoc/>
    public override Task AddVectorsAsync(IReadOnlyList<Rsu> units, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        _store.Transact(connection =>
        {
            foreach (Rsu unit in units)
            {
                SqliteVectors.RequireKnown(connection, unit.Embedder);
                using SqliteCommand find = SqliteQuery.Command(connection, "SELECT u.row FROM units u WHERE {where} AND u.text = $text", new RsuFilter(Tenant) { Ids = [Own(unit).Id] });
                find.Parameters.AddWithValue("$text", unit.Text);
                if (find.ExecuteScalar() is long row)
                {
                    SqliteVectors.Put(connection, row, unit.Embedder, unit.Embedding!.Value.Span);
                }
            }

            return 0;
        });
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public override Task<long> CountAsync(RsuFilter filter, CancellationToken cancellationToken = default) => Task.FromResult(_store.Write(connection =>
    {
        using SqliteCommand command = SqliteQuery.Command(connection, "SELECT COUNT(*) FROM units u WHERE {where}", filter);
        return (long)command.ExecuteScalar()!;
    }));

    /// <summary>Deletes rows and vectors, overwrites their bytes, empties the write-ahead log and drops the index that knew them.</summary>
    public override Task<long> DeleteAsync(RsuFilter filter, CancellationToken cancellationToken = default)
    {
        long count = _store.Transact(connection => Remove(connection, filter));
        if (count > 0)
        {
            DropIndex();
            _store.Write(connection => SqliteSchema.Scalar(connection, "PRAGMA wal_checkpoint(TRUNCATE)"));
        }

        return Task.FromResult(count);
    }

    private long Remove(SqliteConnection connection, RsuFilter filter)
    {
        using SqliteCommand vectors = SqliteQuery.Command(connection, "DELETE FROM vectors WHERE row IN (SELECT u.row FROM units u WHERE {where})", filter);
        vectors.ExecuteNonQuery();
        using SqliteCommand units = SqliteQuery.Command(connection, "DELETE FROM units AS u WHERE {where}", filter);
        long deleted = units.ExecuteNonQuery();
        SqliteSchema.Execute(connection, "UPDATE tenants SET epoch = epoch + 1 WHERE name = $n AND $d > 0", ("$n", Tenant), ("$d", deleted));
        return deleted;
    }

    /// <inheritdoc/>
    public override async IAsyncEnumerable<Rsu> ReadAsync(
        RsuFilter filter, int top, int skip = 0, bool newestFirst = false, bool vectors = false, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        await Task.CompletedTask.ConfigureAwait(false);
        List<Rsu> units = _store.Write(connection =>
        {
            // The plus keeps the planner from walking an index in this order instead of looking up a few units.
            bool few = filter.Ids is not null || filter.Sketch is not null;
            string order = newestFirst ? "u.created_at DESC, u.ordinal DESC" : few ? "+u.session, +u.ordinal" : "u.session, u.ordinal";
            using SqliteCommand command = SqliteQuery.Command(
                connection,
                $"SELECT {SqliteRows.Columns}{(vectors ? ", v.embedder, v.vector" : "")} FROM units u "
                + $"{(vectors ? "LEFT JOIN vectors v ON v.row = u.row AND v.embedder = $embedder " : "")}WHERE {{where}} ORDER BY {order} LIMIT $top OFFSET $skip",
                filter);
            command.Parameters.AddWithValue("$embedder", _store.Embedder);
            command.Parameters.AddWithValue("$top", top);
            command.Parameters.AddWithValue("$skip", skip);
            using SqliteDataReader reader = command.ExecuteReader();
            var read = new List<Rsu>();
            while (reader.Read())
            {
                read.Add(SqliteRows.Read(reader, Tenant, vectors));
            }

            return read;
        });
        foreach (Rsu unit in units)
        {
            cancellationToken.ThrowIfCancellationRequested();
            yield return unit;
        }
    }

    /// <inheritdoc/>
    public override Task<IReadOnlyList<VectorSearchResult<Rsu>>> RankAsync(
        string text, ReadOnlyMemory<float>? vector, RsuFilter filter, int top, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        float[] query = vector?.ToArray() ?? [];
        var results = new List<VectorSearchResult<Rsu>>(top);
        lock (_lock)
        {
            SqliteIndexReader reader = Reader();
            TenantIndex index = reader.Index;
            Func<int, bool> allowed = Allowed(reader, filter);
            Ranked[] ranked = text.Length == 0
                ? Rescore(reader, Ranker.Nearest(index, query, allowed, top), query)
                : _store.Ranker.Rank(index, text, query, allowed, top);
            foreach (Ranked hit in ranked)
            {
                if (reader.ReadUnit(index[hit.Doc].Row, Tenant) is { } unit)
                {
                    results.Add(new VectorSearchResult<Rsu>(unit, hit.Score));
                }
            }
        }

        return Task.FromResult<IReadOnlyList<VectorSearchResult<Rsu>>>(results);
    }

    /// <summary>Orders by the exact cosine what the int8 scan found.</summary>
    private Ranked[] Rescore(SqliteIndexReader reader, Ranked[] ranked, float[] query)
    {
        Dictionary<long, float[]> exact = reader.ReadVectors(ranked.Select(r => reader.Index[r.Doc].Row));
        return [.. ranked
            .Select(r => exact.TryGetValue(reader.Index[r.Doc].Row, out float[]? v) && v.Length == query.Length
                ? r with { Score = TensorPrimitives.CosineSimilarity(query, v) } : r with { Score = 0 })
            .OrderByDescending(r => r.Score)];
    }

    private static Func<int, bool> Allowed(SqliteIndexReader reader, RsuFilter filter)
    {
        TenantIndex index = reader.Index;
        Predicate<IndexedUnit>?[] tests = [.. filter.Conditions().Select(IndexedTest.Of)];
        if (Array.TrueForAll(tests, test => test is not null))
        {
            return doc => Array.TrueForAll(tests, test => test!(index[doc]));
        }

        HashSet<long> rows = reader.ReadRows(filter);
        return doc => rows.Contains(index[doc].Row);
    }

    /// <summary>Forgets the index in memory; the next search builds it again from the file.</summary>
    internal void DropIndex()
    {
        lock (_lock)
        {
            _index?.Dispose();
            _index = null;
        }
    }

    private SqliteIndexReader Reader()
    {
        _index ??= new SqliteIndexReader(_store.OpenReader(), Tenant, _store.Embedder);
        _index.Refresh();
        _store.Adopt(_index.Embedder);
        return _index;
    }
}
