using System.Runtime.InteropServices;
using Microsoft.Data.Sqlite;
using RyzenLlm.Memory.Ranking;

namespace RyzenLlm.Memory.Stores.Sqlite;

/// <summary>Rows of the vectors table: the exact floats (little-endian) and their int8 form.</summary>
internal static class SqliteVectors
{
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

    /// <summary>Units of the full tier that have no vector of <paramref name="embedder"/> yet.</summary>
    public static List<(long Row, string Text)> Missing(SqliteConnection connection, string embedder, int limit)
    {
        using SqliteCommand command = SqliteSchema.Command(
            connection,
            """
            SELECT u.row, u.text FROM units u LEFT JOIN vectors v ON v.row = u.row AND v.embedder = $e
            WHERE v.row IS NULL AND u.tier = $t LIMIT $n
            """,
            ("$e", embedder), ("$t", (int)RsuTier.Full), ("$n", limit));
        using SqliteDataReader reader = command.ExecuteReader();
        var missing = new List<(long, string)>();
        while (reader.Read())
        {
            missing.Add((reader.GetInt64(0), reader.GetString(1)));
        }

        return missing;
    }
}
