using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Ranking;
using RyzenLlm.Memory.Stores.Sqlite;

namespace RyzenLlm.Memory.Stores;

/// <summary>
/// Units that were accepted while a remote store was away, in a file of their own. They are found by recall meanwhile, and delivered when the
/// store is back. Ids follow from content and were given on acceptance, so a delivery that is repeated changes nothing. Processes may share the file.
/// </summary>
public sealed class Outbox : IDisposable
{
    private readonly SqliteRsuStore _waiting;
    private readonly SemaphoreSlim _delivering = new(1, 1);
    private readonly int _limit;
    private readonly string _path;

    /// <param name="path">The file.</param>
    /// <param name="limit">Units of all tenants that may wait.</param>
    /// <param name="embedder">Id and version of the embedder.</param>
    /// <param name="ranking">Weights of the search among waiting units.</param>
    public Outbox(string path, int limit, string embedder, RankingOptions? ranking = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(limit, 1);
        (_path, _limit) = (path, limit);
        _waiting = new SqliteRsuStore(path, embedder, ranking);
    }

    /// <summary>Who has units waiting.</summary>
    public Task<IReadOnlyList<string>> TenantsAsync(CancellationToken cancellationToken = default) => _waiting.TenantsAsync(cancellationToken);

    /// <summary>A tenant's waiting units.</summary>
    public RsuCollection ForTenant(string tenant) => _waiting.ForTenant(tenant);

    /// <summary>Creates or opens the file.</summary>
    public Task OpenAsync(CancellationToken cancellationToken = default) => _waiting.OpenAsync(cancellationToken);

    /// <summary>How many of a tenant's units wait.</summary>
    public Task<long> CountAsync(string tenant, CancellationToken cancellationToken = default) =>
        ForTenant(tenant).CountAsync(new RsuFilter(tenant), cancellationToken);

    /// <summary>Refuses where so many more units have no room.</summary>
    /// <exception cref="StoreUnavailableException">The outbox is full; nothing was stored.</exception>
    public async Task RequireRoomAsync(int units, StoreUnavailableException outage, CancellationToken cancellationToken)
    {
        long waiting = 0;
        foreach (string tenant in await TenantsAsync(cancellationToken).ConfigureAwait(false))
        {
            waiting += await CountAsync(tenant, cancellationToken).ConfigureAwait(false);
        }

        if (waiting + units > _limit)
        {
            throw new StoreUnavailableException(
                $"{outage.Message} The outbox {_path} has no room for {units} more units, {waiting} of {_limit} wait there: nothing was stored. Bring the store back, or raise Memory:Qdrant:OutboxUnits.",
                outage);
        }
    }

    /// <summary>Hands a tenant's waiting units over, oldest place first, and removes those that were taken.</summary>
    /// <param name="tenant">Whose.</param>
    /// <param name="write">Writes a batch to the remote store; throws where it cannot.</param>
    /// <param name="batchUnits">Units in a batch.</param>
    /// <param name="cancellationToken">Stops between batches.</param>
    /// <returns>How many were delivered.</returns>
    public async Task<int> DeliverAsync(string tenant, Func<Rsu[], Task> write, int batchUnits, CancellationToken cancellationToken = default)
    {
        RsuCollection waiting = ForTenant(tenant);
        var everything = new RsuFilter(tenant);
        if (await waiting.CountAsync(everything, cancellationToken).ConfigureAwait(false) == 0)
        {
            return 0;
        }

        await _delivering.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            int delivered = 0;
            while (await waiting.ReadAsync(everything, batchUnits, cancellationToken: cancellationToken).ToArrayAsync(cancellationToken).ConfigureAwait(false) is { Length: > 0 } batch)
            {
                await write(batch).ConfigureAwait(false);
                await waiting.DeleteAsync(batch.Select(u => u.Id), CancellationToken.None).ConfigureAwait(false);
                delivered += batch.Length;
            }

            return delivered;
        }
        finally
        {
            _delivering.Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _waiting.Dispose();
        _delivering.Dispose();
    }
}
