using Microsoft.Data.Sqlite;

namespace RyzenLlm.Memory.Stores.Sqlite;

/// <summary>
/// Tables of the memory file. A unit's row number is its tenant's number times 2^40 plus a count, so that one tenant's
/// rows lie together on disk. <c>tenants.seq</c> rises with every write and <c>tenants.epoch</c> with every deletion:
/// together they tell another process what its copy of the index lacks.
/// </summary>
internal static class SqliteSchema
{
    public const int Version = 2;
    public const int RowBits = 40;

    private const string Tables = """
        CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS tenants (
          number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
          last INTEGER NOT NULL DEFAULT 0, seq INTEGER NOT NULL DEFAULT 0, epoch INTEGER NOT NULL DEFAULT 0);
        CREATE TABLE IF NOT EXISTS units (
          row INTEGER PRIMARY KEY, tenant INTEGER NOT NULL REFERENCES tenants (number), seq INTEGER NOT NULL, id BLOB NOT NULL,
          scope TEXT NOT NULL, session TEXT NOT NULL, ordinal INTEGER NOT NULL, speaker TEXT NOT NULL, source TEXT NOT NULL,
          created_at INTEGER NOT NULL, text TEXT NOT NULL, hash TEXT NOT NULL, sketch_a TEXT, sketch_b TEXT,
          density REAL NOT NULL, tier INTEGER NOT NULL, kinds INTEGER NOT NULL, valid_from INTEGER, valid_to INTEGER,
          superseded_by BLOB, variant_of BLOB, expires_at INTEGER, sources TEXT, seen INTEGER NOT NULL,
          tokens INTEGER NOT NULL, tokenizer TEXT NOT NULL, state TEXT, shared_by TEXT, origin BLOB, terms BLOB NOT NULL);
        CREATE UNIQUE INDEX IF NOT EXISTS units_id ON units (tenant, id);
        CREATE INDEX IF NOT EXISTS units_seq ON units (tenant, seq);
        CREATE INDEX IF NOT EXISTS units_session ON units (tenant, session, ordinal);
        CREATE INDEX IF NOT EXISTS units_time ON units (tenant, created_at);
        CREATE INDEX IF NOT EXISTS units_sketch_a ON units (tenant, sketch_a);
        CREATE INDEX IF NOT EXISTS units_sketch_b ON units (tenant, sketch_b);
        CREATE INDEX IF NOT EXISTS units_expiry ON units (tenant, expires_at) WHERE expires_at IS NOT NULL;
        CREATE TABLE IF NOT EXISTS vectors (
          row INTEGER NOT NULL, embedder TEXT NOT NULL, scale REAL NOT NULL, code BLOB NOT NULL, vector BLOB NOT NULL,
          PRIMARY KEY (row, embedder)) WITHOUT ROWID;
        """;

    /// <summary>Opens a connection that waits for other writers, overwrites deleted bytes, and does not sync at every commit.</summary>
    /// <remarks>
    /// In WAL mode with <c>synchronous=NORMAL</c> a commit survives the death of the process; the last ones before a
    /// power cut may be lost, never the consistency of the file.
    /// </remarks>
    public static SqliteConnection Open(string path, TimeSpan busyTimeout)
    {
        var connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = path, Pooling = false }.ToString())
        {
            DefaultTimeout = (int)busyTimeout.TotalSeconds,
        };
        connection.Open();
        Execute(connection, $"PRAGMA busy_timeout = {(int)busyTimeout.TotalMilliseconds}; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON; PRAGMA cache_size = -16000;");
        return connection;
    }

    /// <summary>Creates the tables in a new file and checks the version of an old one.</summary>
    /// <exception cref="InvalidDataException">The file was written by a newer program, or is no memory file.</exception>
    public static void Create(SqliteConnection connection)
    {
        Execute(connection, "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL;");
        using SqliteTransaction transaction = connection.BeginTransaction(deferred: false);
        long version = (long)Scalar(connection, "PRAGMA user_version")!;
        if (version > Version)
        {
            throw new InvalidDataException($"The memory file has layout {version}; this program knows {Version}. Update the program.");
        }

        if (version == 1)
        {
            Execute(connection, "ALTER TABLE units ADD COLUMN shared_by TEXT; ALTER TABLE units ADD COLUMN origin BLOB;");
        }

        Execute(connection, Tables);
        Execute(connection, $"PRAGMA user_version = {Version}");
        transaction.Commit();
    }

    public static void Execute(SqliteConnection connection, string sql, params (string Name, object? Value)[] parameters)
    {
        using SqliteCommand command = Command(connection, sql, parameters);
        command.ExecuteNonQuery();
    }

    public static object? Scalar(SqliteConnection connection, string sql, params (string Name, object? Value)[] parameters)
    {
        using SqliteCommand command = Command(connection, sql, parameters);
        return command.ExecuteScalar();
    }

    public static SqliteCommand Command(SqliteConnection connection, string sql, params (string Name, object? Value)[] parameters)
    {
        SqliteCommand command = connection.CreateCommand();
        command.CommandText = sql;
        foreach (var (name, value) in parameters)
        {
            command.Parameters.AddWithValue(name, value ?? DBNull.Value);
        }

        return command;
    }
}
