using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Ranking;
using RyzenLlm.Memory.Stores;

namespace RyzenLlm.Memory;

/// <summary>What happens while a remote store is away: limited patience, the outbox, and its delivery in the background.</summary>
public sealed partial class RsuMemory
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(1);

    private readonly Lock _starting = new();
    private readonly CancellationTokenSource _closing = new();
    private Task _delivering = Task.CompletedTask;

    /// <summary>Hands over what waits for a tenant. Callers that can go on without catch the outage.</summary>
    /// <exception cref="StoreUnavailableException">The store is still away.</exception>
    public async Task<int> DeliverAsync(string tenant, CancellationToken cancellationToken = default) => outbox is null
        ? 0
        : await outbox.DeliverAsync(
            tenant,
            batch => WriteAsync(Store.ForTenant(tenant), batch, new StoreRequest { Items = [] }, new StoreResult(), cancellationToken),
            BatchUnits,
            cancellationToken).ConfigureAwait(false);

    private async Task DeliverBeforeAsync(string tenant, CancellationToken cancellationToken)
    {
        try
        {
            await DeliverAsync(tenant, cancellationToken).ConfigureAwait(false);
        }
        catch (VectorStoreException e) when (e is not StoreUnavailableException)
        {
            // Units that the store refuses stay where they are; they are no reason to refuse others.
        }
    }

    // From the store, and from the outbox as long as something waits there; from the outbox alone where the store is away.
    private async Task<(IReadOnlyList<VectorSearchResult<Rsu>> Hits, bool Degraded)> FindAsync(string tenant, RecallRequest request, CancellationToken cancellationToken)
    {
        if (outbox is null)
        {
            return (await SearchAsync(tenant, request, cancellationToken).ConfigureAwait(false), false);
        }

        StartDelivering();
        bool waiting = await outbox.CountAsync(tenant, cancellationToken).ConfigureAwait(false) > 0;
        var local = waiting ? await SearchAsync(outbox.ForTenant(tenant), request, cancellationToken).ConfigureAwait(false) : [];
        try
        {
            var hits = await WithPatienceAsync(cancel => SearchAsync(tenant, request, cancel), cancellationToken).ConfigureAwait(false);
            HashSet<Guid> known = [.. hits.Select(h => h.Record.Id)];
            return ([.. hits, .. local.Where(h => !known.Contains(h.Record.Id))], false);
        }
        catch (StoreUnavailableException)
        {
            return (local, true);
        }
    }

    private Task WithPatienceAsync(Func<CancellationToken, Task> act, CancellationToken cancellationToken) => WithPatienceAsync(
        async cancel =>
        {
            await act(cancel).ConfigureAwait(false);
            return true;
        },
        cancellationToken);

    // Nobody who generates or stores waits longer than this for a server that does not answer.
    private async Task<T> WithPatienceAsync<T>(Func<CancellationToken, Task<T>> act, CancellationToken cancellationToken)
    {
        if (outbox is null)
        {
            return await act(cancellationToken).ConfigureAwait(false);
        }

        using var late = new CancellationTokenSource(TimeSpan.FromSeconds(options.Qdrant.PatienceSeconds), models.Clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, late.Token);
        try
        {
            return await act(either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException e) when (late.IsCancellationRequested && !cancellationToken.IsCancellationRequested)
        {
            throw new StoreUnavailableException($"The memory at {options.Qdrant.Url} did not answer in {options.Qdrant.PatienceSeconds} s.", e);
        }
    }

    private void StartDelivering()
    {
        lock (_starting)
        {
            if (outbox is not null && _delivering.IsCompleted && !_closing.IsCancellationRequested)
            {
                _delivering = Task.Run(() => DeliverUntilEmptyAsync(_closing.Token));
            }
        }
    }

    // Ends when nothing waits; the next unit that has to wait starts it again.
    private async Task DeliverUntilEmptyAsync(CancellationToken cancel)
    {
        TimeSpan pause = FirstPause;
        try
        {
            while (await outbox!.TenantsAsync(cancel).ConfigureAwait(false) is { Count: > 0 } tenants)
            {
                try
                {
                    foreach (string tenant in tenants)
                    {
                        await DeliverAsync(tenant, cancel).ConfigureAwait(false);
                    }
                }
                catch (VectorStoreException)
                {
                    // Not all processes at the same moment.
                    await Task.Delay(pause * (0.75 + (Random.Shared.NextDouble() / 2)), models.Clock, cancel).ConfigureAwait(false);
                    pause = pause * 2 < LongestPause ? pause * 2 : LongestPause;
                }
            }
        }
        catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException or System.Data.Common.DbException)
        {
            // Closing, or the file is in the way: the next call tries again.
        }
    }

    private void StopBackground()
    {
        _closing.Cancel();
        Task.WhenAll(_delivering, _reembedding).Wait(TimeSpan.FromSeconds(5));
        _closing.Dispose();
    }
}
