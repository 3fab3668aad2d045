using System.Linq.Expressions;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.VectorData;

namespace RyzenLlm.Memory.Stores;

/// <summary>
/// The units of one tenant in some store. The tenant is fixed when the collection is opened, so neither a key nor a
/// filter can reach another's units.
/// </summary>
public abstract class RsuCollection : VectorStoreCollection<Guid, Rsu>, IKeywordHybridSearchable<Rsu>
{
    /// <param name="tenant">Whose units; not empty.</param>
    /// <exception cref="ArgumentException">The tenant is empty.</exception>
    protected RsuCollection(string tenant) => Tenant = RsuFilter.RequireTenant(tenant);

    /// <summary>Whose units these are.</summary>
    public string Tenant { get; }

    /// <summary>See <see cref="RsuStore.Embedder"/>.</summary>
    public virtual string? Embedder => null;

    /// <summary>
    /// Adds vectors of the embedder that a change is under way to, or of the one in use, to units as they were read; those that were deleted or changed since are
    /// passed over.
    /// </summary>
    /// <param name="units">Units with <see cref="Rsu.Embedder"/> and <see cref="Rsu.Embedding"/>.</param>
    /// <param name="cancellationToken">Stops before the write.</param>
    /// <exception cref="EmbedderMismatchException">No change to that embedder is under way.</exception>
    public virtual Task AddVectorsAsync(IReadOnlyList<Rsu> units, CancellationToken cancellationToken = default) => throw RsuStore.HoldsOneEmbedder();

    /// <summary>Counts the units that <paramref name="filter"/> means.</summary>
    public abstract Task<long> CountAsync(RsuFilter filter, CancellationToken cancellationToken = default);

    /// <summary>Deletes the units that <paramref name="filter"/> means, for good, and says how many they were.</summary>
    public abstract Task<long> DeleteAsync(RsuFilter filter, CancellationToken cancellationToken = default);

    /// <summary>Reads units by filter, in order of session and ordinal, or newest first.</summary>
    public abstract IAsyncEnumerable<Rsu> ReadAsync(
        RsuFilter filter, int top, int skip = 0, bool newestFirst = false, bool vectors = false, CancellationToken cancellationToken = default);

    /// <summary>
    /// Ranks by words and vector together. <paramref name="vector"/> may be null, for words alone, and
    /// <paramref name="text"/> empty, for the vector alone. Best first; scores compare within one answer only.
    /// </summary>
    public abstract Task<IReadOnlyList<VectorSearchResult<Rsu>>> RankAsync(
        string text, ReadOnlyMemory<float>? vector, RsuFilter filter, int top, CancellationToken cancellationToken = default);

    /// <inheritdoc/>
    public override async Task<Rsu?> GetAsync(Guid key, RecordRetrievalOptions? options = null, CancellationToken cancellationToken = default)
    {
        await foreach (Rsu unit in ReadAsync(
            new RsuFilter(Tenant) { Ids = [key] }, 1, vectors: options?.IncludeVectors ?? false, cancellationToken: cancellationToken).ConfigureAwait(false))
        {
            return unit;
        }

        return null;
    }

    /// <inheritdoc/>
    public override IAsyncEnumerable<Rsu> GetAsync(
        Expression<Func<Rsu, bool>> filter, int top, FilteredRecordRetrievalOptions<Rsu>? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(top, 1);
        return options?.OrderBy is not null
            ? throw new NotSupportedException("Units come in order of session and ordinal; another order is not supported.")
            : ReadAsync(RsuFilter.Parse(Tenant, filter), top, options?.Skip ?? 0, false, options?.IncludeVectors ?? false, cancellationToken);
    }

    /// <inheritdoc/>
    public override Task DeleteAsync(Guid key, CancellationToken cancellationToken = default) =>
        DeleteAsync(new RsuFilter(Tenant) { Ids = [key] }, cancellationToken);

    /// <inheritdoc/>
    public override Task DeleteAsync(IEnumerable<Guid> keys, CancellationToken cancellationToken = default)
    {
        Guid[] ids = [.. keys];
        return ids.Length == 0 ? Task.CompletedTask : DeleteAsync(new RsuFilter(Tenant) { Ids = ids }, cancellationToken);
    }

    /// <inheritdoc/>
    public override Task UpsertAsync(Rsu record, CancellationToken cancellationToken = default) => UpsertAsync([record], cancellationToken);

    /// <inheritdoc/>
    public override IAsyncEnumerable<VectorSearchResult<Rsu>> SearchAsync<TInput>(
        TInput searchValue, int top, VectorSearchOptions<Rsu>? options = null, CancellationToken cancellationToken = default) =>
        Page("", searchValue, top, options?.Skip ?? 0, options?.ScoreThreshold, RsuFilter.Parse(Tenant, options?.Filter), cancellationToken);

    /// <inheritdoc/>
    public IAsyncEnumerable<VectorSearchResult<Rsu>> HybridSearchAsync<TInput>(
        TInput searchValue, ICollection<string> keywords, int top, HybridSearchOptions<Rsu>? options = null, CancellationToken cancellationToken = default)
        where TInput : notnull
    {
        ArgumentNullException.ThrowIfNull(keywords);
        return Page(string.Join(' ', keywords), searchValue, top, options?.Skip ?? 0, options?.ScoreThreshold, RsuFilter.Parse(Tenant, options?.Filter), cancellationToken);
    }

    /// <inheritdoc/>
    public override object? GetService(Type serviceType, object? serviceKey = null) =>
        serviceKey is null && serviceType.IsInstanceOfType(this) ? this : null;

    /// <summary>Refuses a unit of another tenant.</summary>
    protected Rsu Own(Rsu unit) => unit.Tenant == Tenant
        ? unit
        : throw new ArgumentException($"The unit {unit.Id} belongs to another tenant than the one this collection was opened for.", nameof(unit));

    private async IAsyncEnumerable<VectorSearchResult<Rsu>> Page<TInput>(
        string text, TInput value, int top, int skip, double? threshold, RsuFilter filter, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(top, 1);
        ReadOnlyMemory<float> vector = value switch
        {
            ReadOnlyMemory<float> memory => memory,
            float[] array => array,
            Embedding<float> embedding => embedding.Vector,
            _ => throw new NotSupportedException($"Search with a vector of floats; a {typeof(TInput).Name} was given."),
        };
        foreach (var result in (await RankAsync(text, vector, filter, top + skip, cancellationToken).ConfigureAwait(false)).Skip(skip))
        {
            if (threshold is null || result.Score >= threshold)
            {
                yield return result;
            }
        }
    }
}

/// <summary>A store of units: opens the collection of one tenant.</summary>
public abstract class RsuStore : IDisposable
{
    /// <summary>The units of one tenant.</summary>
    /// <exception cref="ArgumentException">The tenant is empty.</exception>
    public abstract RsuCollection ForTenant(string tenant);

    /// <summary>Who has units here.</summary>
    public abstract Task<IReadOnlyList<string>> TenantsAsync(CancellationToken cancellationToken = default);

    /// <summary>
    /// Id and version of the embedder whose vectors are written and searched, <c>none</c> for words alone: of an existing store, once it is open, the one it was made
    /// with or switched to last, whoever switched it. Null where a store does not tell.
    /// </summary>
    public virtual string? Embedder => null;

    /// <summary>The embedder that a change is under way to, or null.</summary>
    public virtual Task<string?> NextEmbedderAsync(CancellationToken cancellationToken = default) => Task.FromResult<string?>(null);

    /// <summary>
    /// Makes room for the vectors of another embedder beside those in use, and drops those of any third one. With the embedder in use it drops what is left of
    /// changes that were given up. May be repeated: what was made stays.
    /// </summary>
    /// <param name="embedder">Id and version.</param>
    /// <param name="dimensions">Numbers in its vectors; 0 for <c>none</c>.</param>
    /// <param name="cancellationToken">Stops between requests.</param>
    /// <exception cref="NotSupportedException">The store holds one vector for each unit.</exception>
    public virtual Task BeginEmbedderAsync(string embedder, int dimensions, CancellationToken cancellationToken = default) => throw HoldsOneEmbedder();

    /// <summary>Switches to the embedder that a change is under way to and drops the old vectors, if no unit of any tenant lacks a new one; says whether it did.</summary>
    /// <exception cref="EmbedderMismatchException">No change to that embedder is under way.</exception>
    public virtual Task<bool> TrySwitchAsync(string embedder, CancellationToken cancellationToken = default) => throw HoldsOneEmbedder();

    internal static NotSupportedException HoldsOneEmbedder() => new("This store holds one vector for each unit: copy it into a new one for another embedder.");

    /// <summary>Creates what is missing, and finds out what an existing store was made with.</summary>
    public abstract Task OpenAsync(CancellationToken cancellationToken = default);

    /// <inheritdoc/>
    public abstract void Dispose();
}

/// <summary>The store holds vectors of one embedder and was given one of another; they do not compare.</summary>
public sealed class EmbedderMismatchException(string stored, string given) : InvalidOperationException(
    $"This memory is embedded with '{stored}', not with '{given}', whose vectors do not compare with them. Use the first, or re-embed the memory.")
{
    /// <summary>The embedder of the store.</summary>
    public string Stored { get; } = stored;

    /// <summary>The other one.</summary>
    public string Given { get; } = given;
}
