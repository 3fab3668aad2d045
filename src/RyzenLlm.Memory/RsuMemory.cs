using System.Collections.Concurrent;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Packing;
using RyzenLlm.Memory.Ranking;
using RyzenLlm.Memory.Stores;
using RyzenLlm.Memory.Stores.Qdrant;
using RyzenLlm.Memory.Stores.Sqlite;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory;

/// <summary>
/// The memory: stores what is said as units, finds them again and packs them for a prompt. The tenant of every call
/// comes from authentication. No model is called to store, unless one was given as the embedder.
/// </summary>
/// <param name="store">Where the units are.</param>
/// <param name="options">Settings.</param>
/// <param name="models">What it needs of models.</param>
/// <param name="outbox">Takes what a remote store cannot take at the moment; null for a store that is always there. Owned.</param>
public sealed partial class RsuMemory(RsuStore store, MemoryOptions options, MemoryModels models, Outbox? outbox = null) : IDisposable
{
    private const int BatchUnits = 64;
    private const int PrimeUnits = 256;
    private const int ShortestId = 6;
    private const int MaximumTop = 200;
    private readonly ConcurrentDictionary<string, TenantStatistics> _statistics = new();

    /// <summary>The memory that the settings name: <c>sqlite:PATH</c>, <c>sqlite:</c> for the file in the user's data folder, or <c>qdrant:URL</c>.</summary>
    /// <exception cref="ArgumentException"><c>Memory:Store</c> is in no such form.</exception>
    public static RsuMemory Create(MemoryOptions options, MemoryModels models)
    {
        RsuStore store = OpenStore(options.Store, options, models);
        return new(store, options, models, store is QdrantRsuStore remote && options.Qdrant.OutboxUnits > 0
            ? new Outbox(OutboxFile(options.Qdrant, remote.Place), options.Qdrant.OutboxUnits, models.EmbedderId, options.Ranking)
            : null);
    }

    /// <summary>A store by its name, as in <see cref="Create"/>.</summary>
    /// <exception cref="ArgumentException">The name is in no such form.</exception>
    public static RsuStore OpenStore(string name, MemoryOptions options, MemoryModels models)
    {
        string rest = name[(name.IndexOf(':', StringComparison.Ordinal) + 1)..];
        return name.Split(':')[0] switch
        {
            "sqlite" => new SqliteRsuStore(rest.Length > 0 ? rest : DefaultFile(), models.EmbedderId, options.Ranking),
            "qdrant" when models.Embedder is null => throw new ArgumentException("A Qdrant store needs an embedder; set one, or use a sqlite: store."),
            "qdrant" => new QdrantRsuStore(rest.Length > 0 ? options.Qdrant with { Url = rest } : options.Qdrant, models.EmbedderId, models.Dimensions, options.Ranking, clock: models.Clock),
            _ => throw new ArgumentException($"Memory:Store is '{name}'; give sqlite:PATH or qdrant:URL."),
        };
    }

    private static string DefaultFile() => Path.Combine(DataFolder(), "memory.db");

    // Each server and collection has its own, so that nothing is delivered elsewhere after a change of settings.
    private static string OutboxFile(QdrantOptions options, string place) =>
        options.OutboxPath.Length > 0 ? options.OutboxPath : Path.Combine(DataFolder(), $"outbox-{Fingerprint.Hash(place)[..12]}.db");

    private static string DataFolder() =>
        Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify), "ryzenllm");

    /// <summary>The store, for listing and copying.</summary>
    public RsuStore Store { get; } = store;

    /// <summary>Creates or opens the store. A remote one that is away is opened by the first call after it is back.</summary>
    public async Task OpenAsync(CancellationToken cancellationToken = default)
    {
        if (outbox is not null)
        {
            await outbox.OpenAsync(cancellationToken).ConfigureAwait(false);
            StartDelivering();
        }

        try
        {
            await WithPatienceAsync(cancel => Store.OpenAsync(cancel), cancellationToken).ConfigureAwait(false);
        }
        catch (StoreUnavailableException) when (outbox is not null)
        {
            // Calls say so until it is back.
        }
    }

    /// <summary>
    /// Stores a conversation's turns or documents. All checks come before the first write. Where a remote store is away, the units wait in the
    /// outbox (<see cref="StoreResult.Queued"/>).
    /// </summary>
    /// <exception cref="ArgumentException">An item is empty or too long, or holds a secret where the policy refuses them.</exception>
    /// <exception cref="StoreUnavailableException">A remote store is away and the outbox is full, or the request corrects a unit by its id.</exception>
    public async Task<StoreResult> StoreAsync(string tenant, StoreRequest request, CancellationToken cancellationToken = default)
    {
        RsuCollection collection = Store.ForTenant(tenant);
        IReadOnlyList<Rsu> drafts = new UnitWriter(collection, options, models).Draft(request, out int recalled);
        var before = new StoreResult { Recalled = recalled };
        try
        {
            return await WithPatienceAsync(
                async cancel =>
                {
                    await DeliverBeforeAsync(tenant, cancel).ConfigureAwait(false); // what was said earlier comes first
                    return await WriteAsync(collection, drafts, request, before, cancel).ConfigureAwait(false);
                },
                cancellationToken).ConfigureAwait(false);
        }
        catch (StoreUnavailableException outage) when (outbox is not null && request.Supersedes is null)
        {
            await outbox.RequireRoomAsync(drafts.Count, outage, cancellationToken).ConfigureAwait(false);
            StoreResult kept = await WriteAsync(outbox.ForTenant(tenant), drafts, request, before, cancellationToken).ConfigureAwait(false);
            StartDelivering();
            return kept with { Queued = kept.Stored + kept.Merged };
        }
    }

    private async Task<StoreResult> WriteAsync(
        RsuCollection collection, IReadOnlyList<Rsu> drafts, StoreRequest request, StoreResult result, CancellationToken cancellationToken)
    {
        var writer = new UnitWriter(collection, options, models);
        TenantStatistics statistics = await StatisticsAsync(collection, cancellationToken).ConfigureAwait(false);
        foreach (Rsu[] batch in drafts.Chunk(BatchUnits))
        {
            result = await writer.WriteAsync(batch, statistics, request, result, cancellationToken).ConfigureAwait(false);
        }

        return result;
    }

    /// <summary>Finds units and packs the best into the token budget.</summary>
    public async Task<RecallResult> RecallAsync(string tenant, RecallRequest request, CancellationToken cancellationToken = default)
    {
        int budget = request.Budget ?? options.Budget;
        if (budget < 1 || budget > options.MaximumBudget)
        {
            throw new ArgumentException($"The budget must be 1 to {options.MaximumBudget} tokens; {budget} was given.", nameof(request));
        }

        var (hits, degraded) = await FindAsync(tenant, request, cancellationToken).ConfigureAwait(false);
        return Packer.Pack([.. hits.Select(h => (h.Record, h.Score ?? 0))], budget, request.Format, request.CountTokens ?? models.CountTokens) with { Degraded = degraded };
    }

    /// <summary>Finds units, best first, without packing them.</summary>
    public Task<IReadOnlyList<VectorSearchResult<Rsu>>> SearchAsync(string tenant, RecallRequest request, CancellationToken cancellationToken = default) =>
        SearchAsync(Store.ForTenant(tenant), request, cancellationToken);

    private async Task<IReadOnlyList<VectorSearchResult<Rsu>>> SearchAsync(RsuCollection collection, RecallRequest request, CancellationToken cancellationToken)
    {
        if (string.IsNullOrWhiteSpace(request.Query))
        {
            throw new ArgumentException("Say what to recall: the query is empty.", nameof(request));
        }

        if (request.Top is < 1 or > MaximumTop)
        {
            throw new ArgumentException($"Ask for 1 to {MaximumTop} units; {request.Top} was given.", nameof(request));
        }

        var filter = new RsuFilter(collection.Tenant)
        {
            Scope = request.Scope,
            Session = request.Session,
            Speaker = request.Speaker,
            From = request.From,
            To = request.To,
            LiveAt = request.IncludePast ? null : models.Clock.GetUtcNow(),
        };
        while (true)
        {
            string? embedder = collection.Embedder;
            try
            {
                var hits = await SearchAsync(collection, embedder, request, filter, cancellationToken).ConfigureAwait(false);
                if (collection.Embedder == embedder)
                {
                    return hits;
                }
            }
            catch (EmbedderMismatchException) when (collection.Embedder != embedder)
            {
                // Somebody has switched the store to another embedder in between; so the vector of the query is no good.
            }
        }
    }

    private async Task<IReadOnlyList<VectorSearchResult<Rsu>>> SearchAsync(
        RsuCollection collection, string? embedder, RecallRequest request, RsuFilter filter, CancellationToken cancellationToken)
    {
        ReadOnlyMemory<float>? vector = models.EmbedderOf(embedder) is { } generator
            ? await generator.GenerateVectorAsync(request.Query, cancellationToken: cancellationToken).ConfigureAwait(false)
            : default(ReadOnlyMemory<float>?);
        var hits = await collection.RankAsync(request.Query, vector, filter, request.Top, cancellationToken).ConfigureAwait(false);
        if (options.SecondHop > 0 && SecondHop.NewNames(request.Query, hits) is { Count: > 0 } names)
        {
            string further = $"{request.Query} {string.Join(' ', names)}";
            var second = await collection.RankAsync(further, vector, filter, request.Top, cancellationToken).ConfigureAwait(false);
            hits = SecondHop.Join(hits, second, options.SecondHop, request.Top);
        }

        return [.. hits.Where(h => h.Score >= request.MinimumScore)];
    }

    /// <summary>Counts what a request means, deletes it unless it is a dry run, and counts again.</summary>
    public async Task<ForgetResult> ForgetAsync(string tenant, ForgetRequest request, CancellationToken cancellationToken = default)
    {
        RsuCollection collection = Store.ForTenant(tenant);
        await DeliverAsync(tenant, cancellationToken).ConfigureAwait(false); // what waits would come back after the deletion
        RsuFilter filter = request.ToFilter(tenant, models.Clock.GetUtcNow());
        long matched = await collection.CountAsync(filter, cancellationToken).ConfigureAwait(false);
        Rsu[] sample = await collection.ReadAsync(filter, 5, cancellationToken: cancellationToken).ToArrayAsync(cancellationToken).ConfigureAwait(false);
        if (request.DryRun || matched == 0)
        {
            return new ForgetResult(matched, 0, matched, 0, sample);
        }

        string[] states = models.ForgetStates is null
            ? []
            : await collection.ReadAsync(filter, int.MaxValue, cancellationToken: cancellationToken)
                .Where(u => u.State is not null).Select(u => u.State!).Distinct().ToArrayAsync(cancellationToken).ConfigureAwait(false);
        long deleted = await collection.DeleteAsync(filter, cancellationToken).ConfigureAwait(false);
        _statistics.TryRemove(tenant, out _);
        int dropped = states.Length == 0 ? 0 : await models.ForgetStates!(tenant, states, cancellationToken).ConfigureAwait(false);
        long remaining = await collection.CountAsync(filter, cancellationToken).ConfigureAwait(false);
        return new ForgetResult(matched, deleted, remaining, dropped, []);
    }

    /// <summary>Units of a tenant by session, or newest first.</summary>
    public IAsyncEnumerable<Rsu> ListAsync(string tenant, string? session = null, string? scope = null, int top = 100, int skip = 0, CancellationToken cancellationToken = default) =>
        Store.ForTenant(tenant).ReadAsync(new RsuFilter(tenant) { Session = session, Scope = scope }, top, skip, session is null, false, cancellationToken);

    /// <summary>One unit, or null when the tenant has none of this id.</summary>
    public Task<Rsu?> ShowAsync(string tenant, Guid id, CancellationToken cancellationToken = default) =>
        Store.ForTenant(tenant).GetAsync(id, cancellationToken: cancellationToken);

    /// <summary>The id that a text means: all of one, or its first characters as packs show them, where one unit alone begins so.</summary>
    /// <exception cref="ArgumentException">No unit or several begin so, or the text is no part of an id.</exception>
    public async Task<Guid> FindIdAsync(string tenant, string text, CancellationToken cancellationToken = default)
    {
        if (Guid.TryParse(text, out Guid whole))
        {
            return whole;
        }

        if (text.Length < ShortestId || !text.All(c => c == '-' || char.IsAsciiHexDigit(c)))
        {
            throw new ArgumentException($"'{text}' is no id of a unit: give all of one, or its first {ShortestId} or more characters.");
        }

        Guid[] found = await Store.ForTenant(tenant).ReadAsync(new RsuFilter(tenant), int.MaxValue, cancellationToken: cancellationToken)
            .Select(u => u.Id).Where(id => id.ToString().StartsWith(text, StringComparison.OrdinalIgnoreCase)).Take(2).ToArrayAsync(cancellationToken).ConfigureAwait(false);
        return found.Length == 1
            ? found[0]
            : throw new ArgumentException(found.Length == 0 ? $"There is no unit {text}." : $"Several units begin with {text}: give more of the id.");
    }

    /// <summary>Size of a tenant's memory.</summary>
    public async Task<MemoryStats> StatsAsync(string tenant, CancellationToken cancellationToken = default)
    {
        RsuCollection collection = Store.ForTenant(tenant);
        return new MemoryStats(
            await collection.CountAsync(new RsuFilter(tenant), cancellationToken).ConfigureAwait(false),
            await collection.CountAsync(new RsuFilter(tenant) { LiveAt = models.Clock.GetUtcNow() }, cancellationToken).ConfigureAwait(false),
            Store.Embedder ?? models.EmbedderId,
            await ChangeAsync(collection, cancellationToken).ConfigureAwait(false));
    }

    /// <summary>What density is measured against: counted from the newest units when this process first writes for a tenant.</summary>
    private async Task<TenantStatistics> StatisticsAsync(RsuCollection collection, CancellationToken cancellationToken)
    {
        TenantStatistics statistics = _statistics.GetOrAdd(collection.Tenant, _ => new TenantStatistics());
        if (!statistics.Primed)
        {
            Rsu[] known = await collection.ReadAsync(new RsuFilter(collection.Tenant), PrimeUnits, newestFirst: true, cancellationToken: cancellationToken)
                .ToArrayAsync(cancellationToken).ConfigureAwait(false);
            lock (statistics)
            {
                foreach (Rsu unit in statistics.Primed ? [] : known)
                {
                    statistics.Count(unit.Session, TermBag.Of(unit.Text), unit.Density, unit.Text.Count(char.IsWhiteSpace) + 1);
                }

                statistics.Primed = true;
            }
        }

        return statistics;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        StopBackground();
        outbox?.Dispose();
        Store.Dispose();
        models.Embedder?.Dispose();
    }
}
