using System.Runtime.InteropServices;
using System.Text.Json;
using Microsoft.Data.Sqlite;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Stores.Sqlite;

/// <summary>Between a unit and its row.</summary>
internal static class SqliteRows
{
    public const string Columns =
        "u.id, u.scope, u.session, u.ordinal, u.speaker, u.source, u.created_at, u.text, u.hash, u.sketch_a, u.sketch_b, u.density, u.tier, u.kinds, "
        + "u.valid_from, u.valid_to, u.superseded_by, u.variant_of, u.expires_at, u.sources, u.seen, u.tokens, u.tokenizer, u.state, u.shared_by, u.origin";

    private static readonly string[] Names = [.. Columns.Replace("u.", "", StringComparison.Ordinal).Split(", "), "row", "tenant", "seq", "terms"];

    /// <summary>
    /// A second write of an id with the same words in the same place updates the marks: validity, links, expiry, sources,
    /// counters. With other words it returns no row, and the caller replaces the unit, as an index may hold the old ones.
    /// </summary>
    private static readonly string Upsert =
        $"INSERT INTO units ({string.Join(", ", Names)}) VALUES ({string.Join(", ", Names.Select(n => "$" + n))}) ON CONFLICT (tenant, id) DO UPDATE SET "
        + string.Join(", ", new[] { "seq", "kinds", "valid_from", "valid_to", "superseded_by", "variant_of", "expires_at", "sources", "seen", "state" }
            .Select(n => $"{n} = excluded.{n}"))
        + " WHERE text = excluded.text AND speaker = excluded.speaker AND session = excluded.session AND scope = excluded.scope"
        + " AND ordinal = excluded.ordinal AND created_at = excluded.created_at RETURNING row";

    /// <summary>Prepares the upsert; <see cref="Bind"/> fills it for each unit.</summary>
    public static SqliteCommand PrepareUpsert(SqliteConnection connection)
    {
        SqliteCommand command = connection.CreateCommand();
        command.CommandText = Upsert;
        foreach (string name in Names)
        {
            command.Parameters.AddWithValue("$" + name, DBNull.Value);
        }

        return command;
    }

    public static void Bind(SqliteCommand command, Rsu unit, long tenant, long row, long seq)
    {
        object?[] values =
        [
            unit.Id, unit.Scope, unit.Session, unit.Ordinal, unit.Speaker, unit.Source, unit.CreatedAt, unit.Text, unit.Hash,
            unit.Sketch.ElementAtOrDefault(0), unit.Sketch.ElementAtOrDefault(1), unit.Density, unit.Tier, unit.Kinds,
            unit.ValidFrom, unit.ValidTo, unit.SupersededBy, unit.VariantOf, unit.ExpiresAt,
            unit.Sources.Length == 0 ? null : JsonSerializer.Serialize(unit.Sources), unit.Seen, unit.Tokens, unit.Tokenizer, unit.State, unit.SharedBy, unit.Origin,
            row, tenant, seq, TermBag.Of(unit.SearchText()).ToBytes(),
        ];
        for (int i = 0; i < values.Length; i++)
        {
            command.Parameters[i].Value = SqliteQuery.ToStored(values[i]);
        }
    }

    /// <summary>Reads a row selected as <see cref="Columns"/>, then optionally the embedder and the vector.</summary>
    public static Rsu Read(SqliteDataReader r, string tenant, bool vectors)
    {
        var unit = new Rsu
        {
            Id = Id(r, 0)!.Value,
            Tenant = tenant,
            Scope = r.GetString(1),
            Session = r.GetString(2),
            Ordinal = r.GetInt64(3),
            Speaker = r.GetString(4),
            Source = r.GetString(5),
            CreatedAt = Time(r, 6)!.Value,
            Text = r.GetString(7),
            Hash = r.GetString(8),
            Sketch = r.IsDBNull(9) ? [] : [r.GetString(9), r.GetString(10)],
            Density = r.GetFloat(11),
            Tier = (RsuTier)r.GetInt32(12),
            Kinds = (RsuKinds)r.GetInt32(13),
            ValidFrom = Time(r, 14),
            ValidTo = Time(r, 15),
            SupersededBy = Id(r, 16),
            VariantOf = Id(r, 17),
            ExpiresAt = Time(r, 18),
            Sources = r.IsDBNull(19) ? [] : JsonSerializer.Deserialize<string[]>(r.GetString(19))!,
            Seen = r.GetInt32(20),
            Tokens = r.GetInt32(21),
            Tokenizer = r.GetString(22),
            State = r.IsDBNull(23) ? null : r.GetString(23),
            SharedBy = r.IsDBNull(24) ? null : r.GetString(24),
            Origin = Id(r, 25),
        };
        return vectors && !r.IsDBNull(27)
            ? unit with { Embedder = r.GetString(26), Embedding = MemoryMarshal.Cast<byte, float>(r.GetFieldValue<byte[]>(27)).ToArray() }
            : unit;
    }

    public static Guid? Id(SqliteDataReader r, int column) => r.IsDBNull(column) ? null : new Guid(r.GetFieldValue<byte[]>(column), bigEndian: true);

    private static DateTimeOffset? Time(SqliteDataReader r, int column) => r.IsDBNull(column) ? null : SqliteQuery.FromMicroseconds(r.GetInt64(column));
}
