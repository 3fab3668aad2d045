using System.Text.Json.Nodes;
using Microsoft.Extensions.VectorData;

namespace RyzenLlm.Memory.Stores.Qdrant;

/// <summary>
/// The change to another embedder: a named vector for each, and in the collection's metadata which is in use. Every step may be repeated, so it goes on where it was
/// interrupted.
/// </summary>
public sealed partial class QdrantRsuStore
{
    /// <summary>First version that adds a vector to a collection.</summary>
    private static readonly Version LaterVectors = new(1, 18);

    /// <inheritdoc/>
    public override async Task<string?> NextEmbedderAsync(CancellationToken cancellationToken = default)
    {
        JsonNode config = await ConfigurationAsync(cancellationToken).ConfigureAwait(false);
        return (string?)config["metadata"]?["next"] is { Length: > 0 } next ? next : null;
    }

    /// <inheritdoc/>
    /// <exception cref="VectorStoreException">The server is older than 1.18.</exception>
    public override async Task BeginEmbedderAsync(string embedder, int dimensions, CancellationToken cancellationToken = default)
    {
        await RefreshAsync(cancellationToken).ConfigureAwait(false);
        JsonNode config = await ConfigurationAsync(cancellationToken).ConfigureAwait(false);
        string name = VectorName(embedder), next = embedder == Embedder ? "" : embedder;
        if (next.Length > 0 && _version < LaterVectors)
        {
            throw new VectorStoreException($"This is Qdrant {_version}; before {LaterVectors} a collection cannot take the vectors of another embedder. Update it, or copy the memory into another collection.");
        }

        if (((string?)config["metadata"]?["next"] ?? "") != next)
        {
            await PatchAsync(Embedder, DenseName, next, cancellationToken).ConfigureAwait(false);
        }

        await DropOthersAsync(config, [DenseName, name], cancellationToken).ConfigureAwait(false);
        if (config["params"]!["vectors"]![name] is null)
        {
            var vector = new JsonObject { ["dense"] = QdrantSchema.Dense(dimensions, HasTenantIdf) };
            await Http.SendAsync(HttpMethod.Put, $"{Root}/vectors/{name}{Wait}", vector, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public override async Task<bool> TrySwitchAsync(string embedder, CancellationToken cancellationToken = default)
    {
        await RequireNextAsync(embedder, cancellationToken).ConfigureAwait(false);
        foreach (string tenant in await TenantsAsync(cancellationToken).ConfigureAwait(false))
        {
            var lacking = new RsuFilter(tenant) { Tier = RsuTier.Full, LacksVectorOf = embedder };
            if (await ForTenant(tenant).CountAsync(lacking, cancellationToken).ConfigureAwait(false) > 0)
            {
                return false;
            }
        }

        await PatchAsync(embedder, VectorName(embedder), "", cancellationToken).ConfigureAwait(false);
        await RefreshAsync(cancellationToken).ConfigureAwait(false);
        await DropOthersAsync(await ConfigurationAsync(cancellationToken).ConfigureAwait(false), [DenseName], cancellationToken).ConfigureAwait(false);
        return true;
    }

    /// <summary>Refuses an embedder that is neither in use nor to come.</summary>
    /// <exception cref="EmbedderMismatchException">It is none of them.</exception>
    internal async Task RequireNextAsync(string embedder, CancellationToken cancellationToken)
    {
        await RefreshAsync(cancellationToken).ConfigureAwait(false);
        if (embedder != Embedder && embedder != await NextEmbedderAsync(cancellationToken).ConfigureAwait(false))
        {
            throw new EmbedderMismatchException(Embedder, embedder);
        }
    }

    private async Task<JsonNode> ConfigurationAsync(CancellationToken cancellationToken) =>
        (await Http.SendAsync(HttpMethod.Get, Root, null, cancellationToken).ConfigureAwait(false))!["config"]!;

    // All keys, as the server adds them to those that are there.
    private Task PatchAsync(string embedder, string vector, string next, CancellationToken cancellationToken) => Http.SendAsync(
        HttpMethod.Patch, Root + Timeout, new JsonObject { ["metadata"] = QdrantSchema.Metadata(embedder, vector, next) }, cancellationToken);

    private async Task DropOthersAsync(JsonNode config, string[] kept, CancellationToken cancellationToken)
    {
        foreach (string name in config["params"]!["vectors"]!.AsObject().Select(v => v.Key).Except(kept).ToArray())
        {
            await Http.SendAsync(HttpMethod.Delete, $"{Root}/vectors/{name}{Wait}", null, cancellationToken).ConfigureAwait(false);
        }
    }
}
