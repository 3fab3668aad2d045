using Microsoft.Extensions.AI;

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
    /// <param name="target">Written to here.</param>
    /// <param name="reembed">Makes new vectors, where the target has another embedder; null copies those of the source.</param>
    /// <param name="progress">Told the number of units copied so far.</param>
    /// <param name="cancellationToken">Stops between batches.</param>
    /// <returns>How many units were copied.</returns>
    /// <exception cref="EmbedderMismatchException">The stores have different embedders and <paramref name="reembed"/> is null; nothing was copied.</exception>
    public static async Task<long> CopyAsync(
        RsuStore source, RsuStore target, MemoryModels? reembed = null, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        await source.OpenAsync(cancellationToken).ConfigureAwait(false);
        await target.OpenAsync(cancellationToken).ConfigureAwait(false);
        if (reembed is null && source.Embedder is { } from && target.Embedder is { } other && from != other)
        {
            throw new EmbedderMismatchException(other, from);
        }

        long copied = 0;
        foreach (string tenant in await source.TenantsAsync(cancellationToken).ConfigureAwait(false))
        {
            RsuCollection to = target.ForTenant(tenant);
            await foreach (Rsu[] batch in source.ForTenant(tenant)
                .ReadAsync(new RsuFilter(tenant), int.MaxValue, vectors: reembed is null, cancellationToken: cancellationToken).Chunk(BatchUnits).ConfigureAwait(false))
            {
                if (reembed is not null)
                {
                    await EmbedAsync(batch, reembed, target.Embedder, cancellationToken).ConfigureAwait(false);
                }

                await to.UpsertAsync(batch, cancellationToken).ConfigureAwait(false);
                copied += batch.Length;
                progress?.Report(copied);
            }
        }

        return copied;
    }

    /// <summary>Gives the units of the full tier, in place, the vectors of an embedder.</summary>
    internal static async Task EmbedAsync(Rsu[] units, MemoryModels models, string? embedder, CancellationToken cancellationToken)
    {
        int[] full = [.. Enumerable.Range(0, units.Length).Where(i => units[i].Tier == RsuTier.Full)];
        if (models.EmbedderOf(embedder) is not { } generator || full.Length == 0)
        {
            return;
        }

        var vectors = await generator.GenerateAsync(full.Select(i => units[i].Text), cancellationToken: cancellationToken).ConfigureAwait(false);
        for (int j = 0; j < full.Length; j++)
        {
            units[full[j]] = units[full[j]] with { Embedder = embedder ?? models.EmbedderId, Embedding = vectors[j].Vector };
        }
    }
}
