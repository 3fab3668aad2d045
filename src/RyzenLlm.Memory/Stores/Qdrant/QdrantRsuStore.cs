using System.Text.Json.Nodes;
using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Ranking;

namespace RyzenLlm.Memory.Stores.Qdrant;

/// <summary>
/// Memory in one collection of a Qdrant server, for all tenants, over its REST interface. Ranking and fusion run on the
/// server; the tenant filter is part of every request.
/// </summary>
public sealed partial class QdrantRsuStore : RsuStore
{
    /// <summary>First version that can restrict idf to one tenant.</summary>
    private static readonly Version TenantIdf = new(1, 19);

    private static readonly Version Oldest = new(1, 15);

    private readonly QdrantOptions _options;
    private readonly string _wanted;
    private readonly int _dimensions;
    private volatile string _embedder;
    private Version _version = Oldest;
    private bool _open;

    /// <param name="options">Where the server is.</param>
    /// <param name="embedder">Id and version of the embedder that a new collection is made for; one that exists has its own.</param>
    /// <param name="dimensions">Numbers in each vector, 1 to 65,536.</param>
    /// <param name="ranking">Weights; those that the server cannot apply (session, feedback) are ignored.</param>
    /// <param name="handler">Replaces the network, for tests.</param>
    /// <param name="clock">Time for retries.</param>
    public QdrantRsuStore(QdrantOptions options, string embedder, int dimensions, RankingOptions? ranking = null, HttpMessageHandler? handler = null, TimeProvider? clock = null)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(embedder);
        ArgumentOutOfRangeException.ThrowIfLessThan(dimensions, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(dimensions, 65_536);
        _options = options;
        _wanted = _embedder = embedder;
        _dimensions = dimensions;
        Ranking = ranking ?? new RankingOptions();
        Http = new QdrantHttp(options, handler, clock);
    }

    internal QdrantHttp Http { get; }

    /// <summary>Server and collection.</summary>
    internal string Place => $"{_options.Url}/{_options.Collection}";

    internal RankingOptions Ranking { get; }

    internal string Root => $"/collections/{Uri.EscapeDataString(_options.Collection)}";

    /// <summary>Appended to writes: answer when the write can be searched, or after the timeout.</summary>
    internal string Wait => $"?wait=true&ordering=medium&timeout={_options.TimeoutSeconds}";

    internal string Timeout => $"?timeout={_options.TimeoutSeconds}";

    /// <inheritdoc/>
    public override string Embedder => _embedder;

    /// <summary>Name of the vector of the embedder in use.</summary>
    internal string DenseName { get; private set; } = QdrantSchema.FirstVector;

    internal string Collection => _options.Collection;

    /// <summary>Whether the server weighs words by one tenant's units; known once open.</summary>
    internal bool HasTenantIdf { get; private set; }

    /// <summary>Whether the server is there and ready.</summary>
    public async Task<bool> IsReadyAsync(CancellationToken cancellationToken = default)
    {
        try
        {
            await Http.SendAsync(HttpMethod.Get, "/readyz", null, cancellationToken).ConfigureAwait(false);
            return true;
        }
        catch (VectorStoreException)
        {
            return false;
        }
    }

    /// <inheritdoc/>
    public override async Task OpenAsync(CancellationToken cancellationToken = default)
    {
        if (_open)
        {
            return;
        }

        await CheckVersionAsync(cancellationToken).ConfigureAwait(false);
        JsonNode? existing = await Http.SendAsync(HttpMethod.Get, Root, null, cancellationToken, missing: true).ConfigureAwait(false);
        if (existing is null)
        {
            try
            {
                await Http.SendAsync(HttpMethod.Put, Root + Timeout, QdrantSchema.Collection(_dimensions, _wanted, HasTenantIdf), cancellationToken).ConfigureAwait(false);
            }
            catch (VectorStoreException e) when (e.Message.Contains(" with 409:", StringComparison.Ordinal))
            {
                // Another process created it first; what it created is checked like any other below.
            }

            existing = await Http.SendAsync(HttpMethod.Get, Root, null, cancellationToken).ConfigureAwait(false);
        }

        CheckConfiguration(existing!["config"]!);
        foreach (JsonObject index in QdrantSchema.Indexes())
        {
            await Http.SendAsync(HttpMethod.Put, $"{Root}/index?wait=true", index, cancellationToken).ConfigureAwait(false);
        }

        _open = true;
    }

    private async Task CheckVersionAsync(CancellationToken cancellationToken)
    {
        string text = (string?)(await Http.SendAsync(HttpMethod.Get, "/", null, cancellationToken).ConfigureAwait(false))?["version"] ?? "";
        if (!Version.TryParse(text.Split('-')[0], out Version? version))
        {
            throw new VectorStoreException($"{_options.Url} does not answer like Qdrant: check Memory:Qdrant:Url.");
        }

        _version = version;
        HasTenantIdf = version >= TenantIdf;
        if (version < Oldest || (!HasTenantIdf && !_options.AllowSharedIdf))
        {
            throw new VectorStoreException(
                $"This is Qdrant {version}. " + (version < Oldest
                    ? $"Update it to {TenantIdf} or newer."
                    : $"Before {TenantIdf} it weighs words by the units of all tenants, which shows through in rankings: update it, or set Memory:Qdrant:AllowSharedIdf when all tenants may know of each other."));
        }
    }

    private void CheckConfiguration(JsonNode config)
    {
        DenseName = (string?)config["metadata"]?["vector"] ?? QdrantSchema.FirstVector;
        string stored = (string?)config["metadata"]?["embedder"] ?? _wanted;
        int? size = (int?)config["params"]?["vectors"]?[DenseName]?["size"];
        if (size is null || (stored == _wanted && size != _dimensions))
        {
            throw new EmbedderMismatchException($"vectors of {size?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "no known"} length", $"{_wanted} ({_dimensions})");
        }

        _embedder = stored;
    }

    /// <summary>Finds out anew what the collection is embedded with: another process may have switched it.</summary>
    internal async Task RefreshAsync(CancellationToken cancellationToken)
    {
        await OpenAsync(cancellationToken).ConfigureAwait(false);
        CheckConfiguration(await ConfigurationAsync(cancellationToken).ConfigureAwait(false));
    }

    /// <summary>Name of the vector of an embedder.</summary>
    internal string VectorName(string embedder) =>
        embedder == _embedder ? DenseName : QdrantSchema.VectorName(embedder);

    /// <inheritdoc/>
    public override RsuCollection ForTenant(string tenant) => new QdrantRsuCollection(this, tenant);

    /// <inheritdoc/>
    public override async Task<IReadOnlyList<string>> TenantsAsync(CancellationToken cancellationToken = default)
    {
        await OpenAsync(cancellationToken).ConfigureAwait(false);
        JsonNode? result = await Http.SendAsync(
            HttpMethod.Post, $"{Root}/facet{Timeout}", new JsonObject { ["key"] = "tenant", ["limit"] = 10_000, ["exact"] = true }, cancellationToken).ConfigureAwait(false);
        return [.. result!["hits"]!.AsArray().Select(h => (string)h!["value"]!).Order(StringComparer.Ordinal)];
    }

    /// <inheritdoc/>
    public override void Dispose() => Http.Dispose();
}
