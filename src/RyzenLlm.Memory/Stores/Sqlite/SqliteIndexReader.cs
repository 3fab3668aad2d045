using System.Collections;
using System.Runtime.InteropServices;
using Microsoft.Data.Sqlite;
using RyzenLlm.Memory.Ranking;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Stores.Sqlite;

/// <summary>A tenant's index in memory with the connection that keeps it level with the file. Used by one thread at a time.</summary>
internal sealed class SqliteIndexReader(SqliteConnection connection, string tenant, string embedder) : IDisposable
{
    private readonly SqliteCommand _version = SqliteSchema.Command(connection, "SELECT m.value, number, seq, epoch FROM meta m LEFT JOIN tenants ON name = $n WHERE m.key = 'embedder'", ("$n", tenant));
    private readonly SqliteCommand _unit = SqliteSchema.Command(connection, $"SELECT {SqliteRows.Columns} FROM units u WHERE row = $r", ("$r", 0L));
    private long _seq = -1;
    private long _epoch = -1;

    public TenantIndex Index { get; private set; } = new();

    /// <summary>Whose vectors are in the index: those that the file was switched to last.</summary>
    public string Embedder { get; private set; } = embedder;

    /// <summary>Reads what was written since the last call; everything again after a deletion or a change of the embedder.</summary>
    public void Refresh()
    {
        using SqliteTransaction snapshot = connection.BeginTransaction(deferred: true);
        _version.Transaction = snapshot;
        long number, seq, epoch;
        using (SqliteDataReader reader = _version.ExecuteReader())
        {
            reader.Read();
            if (reader.GetString(0) != Embedder)
            {
                Embedder = reader.GetString(0);
                _epoch = -1;
            }

            if (reader.IsDBNull(1))
            {
                return;
            }

            (number, seq, epoch) = (reader.GetInt64(1), reader.GetInt64(2), reader.GetInt64(3));
        }

        if (epoch != _epoch)
        {
            Index = new TenantIndex();
            _seq = -1;
        }

        if (seq != _seq)
        {
            Load(number, snapshot);
        }

        (_seq, _epoch) = (seq, epoch);
    }

    private void Load(long number, SqliteTransaction snapshot)
    {
        using SqliteCommand command = SqliteSchema.Command(
            connection,
            """
            SELECT u.row, u.id, u.scope, u.session, u.ordinal, u.speaker, u.created_at, u.expires_at, u.valid_to, u.kinds, u.tier, u.terms, v.scale, v.code
            FROM units u LEFT JOIN vectors v ON v.row = u.row AND v.embedder = $e WHERE u.tenant = $t AND u.seq > $s ORDER BY u.seq
            """,
            ("$e", Embedder), ("$t", number), ("$s", _seq));
        command.Transaction = snapshot;
        var interned = new Dictionary<string, string>();
        using SqliteDataReader r = command.ExecuteReader();
        while (r.Read())
        {
            var unit = new IndexedUnit
            {
                Row = r.GetInt64(0),
                Id = SqliteRows.Id(r, 1)!.Value,
                Scope = Intern(interned, r.GetString(2)),
                Session = Intern(interned, r.GetString(3)),
                Ordinal = r.GetInt64(4),
                Speaker = Intern(interned, r.GetString(5)),
                CreatedAt = r.GetInt64(6),
                ExpiresAt = r.IsDBNull(7) ? long.MaxValue : r.GetInt64(7),
                Superseded = !r.IsDBNull(8),
                Question = ((RsuKinds)r.GetInt32(9)).HasFlag(RsuKinds.Question),
                Tier = (RsuTier)r.GetInt32(10),
            };
            ReadOnlySpan<byte> code = r.IsDBNull(13) ? [] : r.GetFieldValue<byte[]>(13);
            Index.Put(unit, TermBag.FromBytes(r.GetFieldValue<byte[]>(11)), MemoryMarshal.Cast<byte, sbyte>(code), r.IsDBNull(12) ? 0 : r.GetFloat(12));
        }
    }

    private static string Intern(Dictionary<string, string> known, string value)
    {
        ref string? first = ref CollectionsMarshal.GetValueRefOrAddDefault(known, value, out _);
        return first ??= value;
    }

    /// <summary>The whole unit of a row, or null when another process deleted it since the last refresh.</summary>
    public Rsu? ReadUnit(long row, string owner)
    {
        _unit.Parameters[0].Value = row;
        using SqliteDataReader reader = _unit.ExecuteReader();
        return reader.Read() ? SqliteRows.Read(reader, owner, false) : null;
    }

    public Dictionary<long, float[]> ReadVectors(IEnumerable<long> rows) => SqliteVectors.Read(connection, Embedder, rows);

    public HashSet<long> ReadRows(RsuFilter filter)
    {
        using SqliteCommand command = SqliteQuery.Command(connection, "SELECT u.row FROM units u WHERE {where}", filter);
        using SqliteDataReader reader = command.ExecuteReader();
        var rows = new HashSet<long>();
        while (reader.Read())
        {
            rows.Add(reader.GetInt64(0));
        }

        return rows;
    }

    public void Dispose()
    {
        _version.Dispose();
        _unit.Dispose();
        connection.Dispose();
    }
}

/// <summary>Conditions as tests on the index, without SQL.</summary>
internal static class IndexedTest
{
    /// <summary>The test of a condition, or null for a field that the index does not hold.</summary>
    public static Predicate<IndexedUnit>? Of(Condition condition)
    {
        object? value = condition.Value;
        return (condition.Field, condition.Comparison) switch
        {
            ("tenant", Comparison.Equal) => _ => true,
            ("scope", Comparison.Equal) => u => u.Scope == (string)value!,
            ("session", Comparison.Equal) => u => u.Session == (string)value!,
            ("speaker", Comparison.Equal) => u => u.Speaker == (string)value!,
            ("id", Comparison.Equal) => u => u.Id == (Guid)value!,
            ("id", Comparison.AnyOf) => Among(((IEnumerable)value!).Cast<Guid>()),
            ("created_at", Comparison.AtLeast) => After(value, u => u.CreatedAt),
            ("created_at", Comparison.AtMost) => Before(value, u => u.CreatedAt),
            ("expires_at", Comparison.AtMost) => Before(value, u => u.ExpiresAt),
            ("expires_at", Comparison.AbsentOrAfter) => After(SqliteQuery.FromMicroseconds(Stored(value) + 1), u => u.ExpiresAt),
            ("valid_to", Comparison.Absent) => u => !u.Superseded,
            _ => null,
        };
    }

    private static long Stored(object? time) => SqliteQuery.ToMicroseconds((DateTimeOffset)time!);

    private static Predicate<IndexedUnit> After(object? time, Func<IndexedUnit, long> field)
    {
        long bound = Stored(time);
        return u => field(u) >= bound;
    }

    private static Predicate<IndexedUnit> Before(object? time, Func<IndexedUnit, long> field)
    {
        long bound = Stored(time);
        return u => field(u) <= bound;
    }

    private static Predicate<IndexedUnit> Among(IEnumerable<Guid> ids)
    {
        HashSet<Guid> set = [.. ids];
        return u => set.Contains(u.Id);
    }
}
