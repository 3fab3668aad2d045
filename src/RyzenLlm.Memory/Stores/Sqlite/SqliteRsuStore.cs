using Microsoft.Data.Sqlite;
using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Ranking;

namespace RyzenLlm.Memory.Stores.Sqlite;

/// <summary>
/// Memory in one SQLite file, which several processes may share. Readers keep an index of each tenant in memory and
/// bring it up to date before every search, so what one process stored, the next search of any other finds.
/// </summary>
public sealed class SqliteRsuStore : RsuStore
{
    private const int OpenTenants = 64;
    private static readonly TimeSpan BusyTimeout = TimeSpan.FromSeconds(60);

    private readonly Lock _write = new();
    private readonly Dictionary<string, SqliteRsuCollection> _collections = [];
    private readonly LinkedList<string> _recent = new();
    private SqliteConnection? _writer;
    private volatile string _embedder;

    /// <param name="path">The file; created with its folder when missing.</param>
    /// <param name="embedder">Id and version of the embedder whose vectors a new file is made for; one that exists has its own.</param>
    /// <param name="ranking">Weights of the ranker.</param>
    public SqliteRsuStore(string path, string embedder, RankingOptions? ranking = null)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        ArgumentException.ThrowIfNullOrWhiteSpace(embedder);
        Path = System.IO.Path.GetFullPath(path);
        _embedder = embedder;
        Ranker = new Ranker(ranking ?? new RankingOptions());
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <inheritdoc/>
    public override string Embedder => _embedder;

    internal Ranker Ranker { get; }

    /// <inheritdoc/>
    public override Task OpenAsync(CancellationToken cancellationToken = default)
    {
        Write(_ => 0);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public override RsuCollection ForTenant(string tenant)
    {
        RsuFilter.RequireTenant(tenant);
        lock (_collections)
        {
            if (_collections.TryGetValue(tenant, out SqliteRsuCollection? open))
            {
                _recent.Remove(tenant);
            }
            else
            {
                open = new SqliteRsuCollection(this, tenant);
                _collections[tenant] = open;
            }

            _recent.AddFirst(tenant);
            while (_recent.Count > OpenTenants)
            {
                _collections[_recent.Last!.Value].DropIndex();
                _collections.Remove(_recent.Last.Value);
                _recent.RemoveLast();
            }

            return open;
        }
    }

    /// <inheritdoc/>
    protected internal override Task<IReadOnlyList<string>> NamesAsync(CancellationToken cancellationToken = default) => Task.FromResult(Write(connection =>
    {
        using SqliteCommand command = SqliteSchema.Command(
            connection, "SELECT name FROM tenants t WHERE EXISTS (SELECT 1 FROM units u WHERE u.tenant = t.number) ORDER BY name");
        using SqliteDataReader reader = command.ExecuteReader();
        var names = new List<string>();
        while (reader.Read())
        {
            names.Add(reader.GetString(0));
        }

        return (IReadOnlyList<string>)names;
    }));

    /// <inheritdoc/>
    public override Task<string?> NextEmbedderAsync(CancellationToken cancellationToken = default) => Task.FromResult(Write(SqliteVectors.Next));

    /// <inheritdoc/>
    public override Task BeginEmbedderAsync(string embedder, int dimensions, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(embedder);
        Transact(connection =>
        {
            SqliteSchema.Execute(connection, "DELETE FROM meta WHERE key = 'next'");
            if (embedder != Follow(connection))
            {
                SqliteSchema.Execute(connection, "INSERT INTO meta (key, value) VALUES ('next', $e)", ("$e", embedder));
            }

            return 0;
        });
        DropOthers(cancellationToken);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public override Task<bool> TrySwitchAsync(string embedder, CancellationToken cancellationToken = default)
    {
        bool switched = Transact(connection =>
        {
            SqliteVectors.RequireKnown(connection, embedder);
            if (embedder != MemoryModels.NoEmbedder && SqliteVectors.AnyMissing(connection, embedder))
            {
                return false;
            }

            SqliteSchema.Execute(connection, "UPDATE meta SET value = $e WHERE key = 'embedder'; DELETE FROM meta WHERE key = 'next'", ("$e", embedder));
            Adopt(embedder);
            return true;
        });
        if (switched)
        {
            DropOthers(cancellationToken);
        }

        return Task.FromResult(switched);
    }

    /// <summary>Takes over the embedder that another process may have switched the file to.</summary>
    internal string Follow(SqliteConnection connection) => _embedder = SqliteVectors.InUse(connection);

    /// <summary>The file is known to have been switched to this embedder.</summary>
    internal void Adopt(string embedder) => _embedder = embedder;

    // In pieces, between which others may write.
    private void DropOthers(CancellationToken cancellationToken)
    {
        for (long last = -1; last < long.MaxValue;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            long from = last;
            last = Transact(connection => SqliteVectors.DropOthers(connection, from));
        }
    }

    /// <summary>Runs one read or write alone on the writing connection.</summary>
    internal T Write<T>(Func<SqliteConnection, T> work)
    {
        lock (_write)
        {
            try
            {
                return work(Writer());
            }
            catch (SqliteException e) when (e.SqliteErrorCode is 5 or 6)
            {
                throw new VectorStoreException($"Other processes kept {Path} busy for {BusyTimeout.TotalSeconds:F0} s; nothing was written. Try again.", e);
            }
            catch (SqliteException e) when (e.SqliteErrorCode is 14)
            {
                throw new VectorStoreException($"{Path} cannot be opened ({e.Message}): check Memory:Store and permissions.", e);
            }
            catch (SqliteException e) when (e.SqliteErrorCode is 10 or 13 or 8)
            {
                throw new VectorStoreException($"{Path} cannot be written ({e.Message}): check free space and permissions. Nothing was written.", e);
            }
        }
    }

    /// <summary>Runs work in a transaction that takes the write lock at its start, so that it never has to be redone half-way.</summary>
    internal T Transact<T>(Func<SqliteConnection, T> work) => Write(connection =>
    {
        using SqliteTransaction transaction = connection.BeginTransaction(deferred: false);
        T result = work(connection);
        transaction.Commit();
        return result;
    });

    internal SqliteConnection OpenReader()
    {
        Write(_ => 0);
        return SqliteSchema.Open(Path, BusyTimeout);
    }

    /// <summary>A folder made here is its owner's alone: a memory is private. One that exists stays as it is.</summary>
    private static void CreateFolder(string folder)
    {
        try
        {
            if (OperatingSystem.IsWindows())
            {
                Directory.CreateDirectory(folder);
            }
            else
            {
                Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new VectorStoreException($"The folder {folder} cannot be made: check Memory:Store and permissions.", e);
        }
    }

    private SqliteConnection Writer()
    {
        if (_writer is not null)
        {
            return _writer;
        }

        CreateFolder(System.IO.Path.GetDirectoryName(Path)!);
        SqliteConnection connection = SqliteSchema.Open(Path, BusyTimeout);
        try
        {
            SqliteSchema.Create(connection);
            SqliteSchema.Execute(connection, "INSERT INTO meta (key, value) VALUES ('embedder', $e) ON CONFLICT DO NOTHING", ("$e", Embedder));
            Follow(connection);
            return _writer = connection;
        }
        catch (SqliteException e) when (e.SqliteErrorCode == 26)
        {
            connection.Dispose();
            throw new InvalidDataException($"{Path} is not a memory file. Give another path in Memory:Store.", e);
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        lock (_collections)
        {
            foreach (SqliteRsuCollection collection in _collections.Values)
            {
                collection.DropIndex();
            }

            _collections.Clear();
        }

        lock (_write)
        {
            _writer?.Dispose();
            _writer = null;
        }
    }
}
