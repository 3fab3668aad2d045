using System.Runtime.InteropServices;
using Microsoft.Data.Sqlite;
using RyzenLlm.Memory.Ranking;

namespace RyzenLlm.Memory.Stores.Sqlite;

/// <summary>Rows of the vectors table: the exact floats (little-endian) and their int8 form.</summary>
internal static class SqliteVectors
{
    // Vectors deleted in one transaction.
    private const int Piece = 512;

    public static void Put(SqliteConnection connection, long row, string embedder, ReadOnlySpan<float> vector)
    {
        sbyte[] code = new sbyte[vector.Length];
        float scale = VectorBlock.Quantise(vector, code);
        SqliteSchema.Execute(
            connection,
            "INSERT OR REPLACE INTO vectors (row, embedder, scale, code, vector) VALUES ($r, $e, $s, $c, $v)",
            ("$r", row), ("$e", embedder), ("$s", scale), ("$c", MemoryMarshal.AsBytes<sbyte>(code).ToArray()), ("$v", MemoryMarshal.AsBytes(vector).ToArray()));
    }

    /// <summary>The exact vectors of some rows.</summary>
    public static Dictionary<long, float[]> Read(SqliteConnection connection, string embedder, IEnumerable<long> rows)
    {
        var vectors = new Dictionary<long, float[]>();
        using SqliteCommand command = SqliteSchema.Command(connection, "SELECT vector FROM vectors WHERE row = $r AND embedder = $e", ("$r", 0L), ("$e", embedder));
        foreach (long row in rows)
        {
            command.Parameters[0].Value = row;
            if (command.ExecuteScalar() is byte[] bytes)
            {
                vectors[row] = MemoryMarshal.Cast<byte, float>(bytes).ToArray();
            }
        }

        return vectors;
    }

    /// <summary>The embedder in use.</summary>
    public static string InUse(SqliteConnection connection) => (string)SqliteSchema.Scalar(connection, "SELECT value FROM meta WHERE key = 'embedder'")!;

    /// <summary>The embedder that a change is under way to, or null.</summary>
    public static string? Next(SqliteConnection connection) => (string?)SqliteSchema.Scalar(connection, "SELECT value FROM meta WHERE key = 'next'");

    /// <summary>Refuses an embedder that is neither in use nor to come.</summary>
    /// <exception cref="EmbedderMismatchException">It is none of them.</exception>
    public static void RequireKnown(SqliteConnection connection, string embedder)
    {
        if (embedder != Next(connection) && InUse(connection) is var inUse && embedder != inUse)
        {
            throw new EmbedderMismatchException(inUse, embedder);
        }
    }

    /// <summary>Whether a unit of the full tier, of any tenant, has no vector of <paramref name="embedder"/>.</summary>
    public static bool AnyMissing(SqliteConnection connection, string embedder) => (long)SqliteSchema.Scalar(
        connection,
        "SELECT EXISTS (SELECT 1 FROM units u WHERE u.tier = $t AND NOT EXISTS (SELECT 1 FROM vectors WHERE row = u.row AND embedder = $e))",
        ("$t", (int)RsuTier.Full), ("$e", embedder))! != 0;

    /// <summary>
    /// Deletes some vectors of embedders that are neither in use nor to come, beyond a row; returns how far it came, <see cref="long.MaxValue"/> at the end.
    /// </summary>
    public static long DropOthers(SqliteConnection connection, long from)
    {
        var old = new List<(long Row, string Embedder)>();
        using (SqliteCommand command = SqliteSchema.Command(
            connection,
            "SELECT row, embedder FROM vectors WHERE row >= $r AND embedder NOT IN (SELECT value FROM meta WHERE key IN ('embedder', 'next')) ORDER BY row LIMIT $n",
            ("$r", from), ("$n", Piece)))
        using (SqliteDataReader reader = command.ExecuteReader())
        {
            while (reader.Read())
            {
                old.Add((reader.GetInt64(0), reader.GetString(1)));
            }
        }

        foreach (var (row, embedder) in old)
        {
            SqliteSchema.Execute(connection, "DELETE FROM vectors WHERE row = $r AND embedder = $e", ("$r", row), ("$e", embedder));
        }

        return old.Count < Piece ? long.MaxValue : old[^1].Row;
    }
}
