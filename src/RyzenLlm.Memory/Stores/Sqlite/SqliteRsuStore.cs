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

    /// <param name="path">The file; created with its folder when missing.</param>
    /// <param name="embedder">Id and version of the embedder whose vectors are stored and searched.</param>
    /// <param name="ranking">Weights of the ranker.</param>
    public SqliteRsuStore(string path, string embedder, RankingOptions? ranking = null)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(path);
        ArgumentException.ThrowIfNullOrWhiteSpace(embedder);
        Path = System.IO.Path.GetFullPath(path);
        Embedder = embedder;
        Ranker = new Ranker(ranking ?? new RankingOptions());
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>Id and version of the embedder in use.</summary>
    public string Embedder { get; private set; }

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

    /// <summary>Replaces every vector by those of another embedder, in batches between which others may write, then switches to it.</summary>
    /// <param name="embedder">Id and version of the new embedder.</param>
    /// <param name="embed">Vectors of some search texts, in their order.</param>
    /// <param name="cancellationToken">Stops between batches; what was made is kept and the old embedder stays in use.</param>
    /// <returns>How many units were embedded.</returns>
    public async Task<long> ReembedAsync(
        string embedder, Func<IReadOnlyList<string>, CancellationToken, Task<IReadOnlyList<ReadOnlyMemory<float>>>> embed, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(embedder);
        long done = 0;
        while (true)
        {
            var batch = Write(connection => SqliteVectors.Missing(connection, embedder, 64));
            if (batch.Count == 0)
            {
                break;
            }

            var vectors = await embed([.. batch.Select(b => b.Text)], cancellationToken).ConfigureAwait(false);
            Transact(connection =>
            {
                for (int i = 0; i < batch.Count; i++)
                {
                    SqliteVectors.Put(connection, batch[i].Row, embedder, vectors[i].Span);
                }

                return 0;
            });
            done += batch.Count;
        }

        Transact(connection =>
        {
            SqliteSchema.Execute(connection, "DELETE FROM vectors WHERE embedder <> $e", ("$e", embedder));
            SqliteSchema.Execute(connection, "UPDATE meta SET value = $e WHERE key = 'embedder'", ("$e", embedder));
            SqliteSchema.Execute(connection, "UPDATE tenants SET epoch = epoch + 1");
            return 0;
        });
        Embedder = embedder;
        return done;
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
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(folder);
        }
        else
        {
            Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
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
            string stored = (string)SqliteSchema.Scalar(connection, "SELECT value FROM meta WHERE key = 'embedder'")!;
            return stored == Embedder ? _writer = connection : throw new EmbedderMismatchException(stored, Embedder);
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
