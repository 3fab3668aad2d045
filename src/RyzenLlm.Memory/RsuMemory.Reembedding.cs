using System.Diagnostics;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Stores;

namespace RyzenLlm.Memory;

/// <summary>
/// The change to another embedder. New vectors are made beside the old, which are searched until all new ones are there; then the store switches, then the old are
/// dropped. What was made is in the store, so it goes on where it was interrupted; units that come meanwhile are found as lacking.
/// </summary>
public sealed partial class RsuMemory
{
    private const int PageUnits = 256;
    private const int EmbedUnits = 32;
    private const int MostIdlePages = 3;
    private Task _reembedding = Task.CompletedTask;

    /// <summary>Whether the vectors of the store come from another embedder than the one chosen. Known once it is open.</summary>
    public bool NeedsReembedding => Store.Embedder is { } inUse && inUse != models.EmbedderId;

    /// <summary>Re-embeds all tenants' units with the chosen embedder and switches to it; with the one in use, drops what is left of other changes.</summary>
    /// <param name="progress">Told how many units got their vector so far.</param>
    /// <param name="cancellationToken">Stops between two batches.</param>
    /// <returns>How many units were embedded; 0 if nothing was to be done.</returns>
    /// <exception cref="EmbedderMismatchException">Another process has begun the change to yet another embedder.</exception>
    /// <exception cref="NotSupportedException">The store holds one vector for each unit.</exception>
    public Task<long> ReembedAsync(IProgress<long>? progress = null, CancellationToken cancellationToken = default) => ReembedAsync(progress, idleShare: 0, cancellationToken);

    /// <summary>As <see cref="ReembedAsync(IProgress{long}?, CancellationToken)"/>, in the background and at most half of the time, until this memory is closed.</summary>
    /// <param name="failed">Told of what ended it early; the next start of the program goes on.</param>
    public void StartReembedding(Action<Exception> failed)
    {
        lock (_starting)
        {
            if (_reembedding.IsCompleted && !_closing.IsCancellationRequested)
            {
                _reembedding = Task.Run(() => ReembedInBackgroundAsync(failed, _closing.Token));
            }
        }
    }

    private async Task ReembedInBackgroundAsync(Action<Exception> failed, CancellationToken cancel)
    {
        try
        {
            await ReembedAsync(null, idleShare: 1, cancel).ConfigureAwait(false);
        }
        catch (Exception) when (cancel.IsCancellationRequested)
        {
            // Closing: the next start goes on.
        }
        catch (Exception e)
        {
            failed(e);
        }
    }

    private async Task<long> ReembedAsync(IProgress<long>? progress, double idleShare, CancellationToken cancellationToken)
    {
        await Store.OpenAsync(cancellationToken).ConfigureAwait(false);
        if (Store.Embedder is null)
        {
            return 0;
        }

        var (target, done) = (models.EmbedderId, 0L);
        await Store.BeginEmbedderAsync(target, models.Dimensions, cancellationToken).ConfigureAwait(false);
        while (NeedsReembedding)
        {
            done = await FillAsync(target, done, progress, idleShare, cancellationToken).ConfigureAwait(false);
            if (await Store.TrySwitchAsync(target, cancellationToken).ConfigureAwait(false))
            {
                break;
            }
        }

        // What others wrote with the old embedder, at the moment of the switch or without being able to embed, is still without.
        return await FillAsync(target, done, progress, idleShare, cancellationToken).ConfigureAwait(false);
    }

    // Gives every unit that lacks it a vector of the chosen embedder.
    private async Task<long> FillAsync(string target, long done, IProgress<long>? progress, double idleShare, CancellationToken cancellationToken)
    {
        if (models.Embedder is not { } embedder)
        {
            return done;
        }

        foreach (string tenant in await Store.TenantsAsync(cancellationToken).ConfigureAwait(false))
        {
            RsuCollection collection = Store.ForTenant(tenant);
            var lacking = new RsuFilter(tenant) { Tier = RsuTier.Full, LacksVectorOf = target };
            var (seen, idle) = (new HashSet<Guid>(), 0);
            while (await collection.ReadAsync(lacking, PageUnits, cancellationToken: cancellationToken).ToArrayAsync(cancellationToken).ConfigureAwait(false) is { Length: > 0 } page)
            {
                idle = page.Count(u => seen.Add(u.Id)) > 0 ? 0 : idle + 1;
                if (idle == MostIdlePages)
                {
                    throw new VectorStoreException($"The store does not keep the new vectors of {page.Length} units; the old ones stay in use.");
                }

                foreach (Rsu[] batch in page.Chunk(EmbedUnits))
                {
                    long began = Stopwatch.GetTimestamp();
                    var vectors = await embedder.GenerateAsync(batch.Select(u => u.Text), cancellationToken: cancellationToken).ConfigureAwait(false);
                    await collection.AddVectorsAsync([.. batch.Zip(vectors, (u, v) => u with { Embedder = target, Embedding = v.Vector })], cancellationToken).ConfigureAwait(false);
                    done += batch.Length;
                    progress?.Report(done);
                    await Task.Delay(Stopwatch.GetElapsedTime(began) * idleShare, models.Clock, cancellationToken).ConfigureAwait(false);
                }
            }
        }

        return done;
    }

    private async Task<EmbedderChange?> ChangeAsync(RsuCollection collection, CancellationToken cancellationToken)
    {
        if (await Store.NextEmbedderAsync(cancellationToken).ConfigureAwait(false) is not { } next)
        {
            return null;
        }

        var full = new RsuFilter(collection.Tenant) { Tier = RsuTier.Full };
        long units = await collection.CountAsync(full, cancellationToken).ConfigureAwait(false);
        return new EmbedderChange(next, units - await collection.CountAsync(full with { LacksVectorOf = next }, cancellationToken).ConfigureAwait(false), units);
    }
}
