namespace RyzenLlm.Memory.Stores;

/// <summary>Copies memories between stores.</summary>
public static class Migration
{
    private const int BatchUnits = 256;

    /// <summary>
    /// Copies every unit of every tenant with its vector. Ids stay, so copying twice, or going on after a failure, makes
    /// no duplicates. Nothing is deleted at the source.
    /// </summary>
    /// <param name="source">Read from here.</param>
    /// <param name="target">Written to here; opened with the same embedder.</param>
    /// <param name="progress">Told the number of units copied so far.</param>
    /// <param name="cancellationToken">Stops between batches.</param>
    /// <returns>How many units were copied.</returns>
    public static async Task<long> CopyAsync(RsuStore source, RsuStore target, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        await source.OpenAsync(cancellationToken).ConfigureAwait(false);
        await target.OpenAsync(cancellationToken).ConfigureAwait(false);
        long copied = 0;
        foreach (string tenant in await source.TenantsAsync(cancellationToken).ConfigureAwait(false))
        {
            RsuCollection to = target.ForTenant(tenant);
            await foreach (Rsu[] batch in source.ForTenant(tenant)
                .ReadAsync(new RsuFilter(tenant), int.MaxValue, vectors: true, cancellationToken: cancellationToken).Chunk(BatchUnits).ConfigureAwait(false))
            {
                await to.UpsertAsync(batch, cancellationToken).ConfigureAwait(false);
                copied += batch.Length;
                progress?.Report(copied);
            }
        }

        return copied;
    }
}
