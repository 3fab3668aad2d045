using System.Linq.Expressions;
using System.Reflection;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Stores;

/// <summary>
/// Memory in any vector store that has a connector for Microsoft.Extensions.VectorData. The tenant's filter goes with
/// every read and search, and what comes back is checked against it. Ranking is the connector's own; near copies are
/// not looked for, as not every connector can filter by list, and nothing can be shared.
/// </summary>
/// <param name="collection">The connector's collection of units; the store owns it.</param>
/// <param name="tenants">Who has units there, which a connector cannot tell; needed only for copying.</param>
public sealed class ConnectorRsuStore(VectorStoreCollection<Guid, Rsu> collection, IReadOnlyList<string>? tenants = null) : RsuStore
{
    /// <inheritdoc/>
    public override RsuCollection ForTenant(string tenant) => new ConnectorRsuCollection(collection, tenant);

    /// <inheritdoc/>
    protected internal override Task<IReadOnlyList<string>> NamesAsync(CancellationToken cancellationToken = default) =>
        Task.FromResult(tenants ?? throw new NotSupportedException("A connector cannot list tenants; name them when creating the store."));

    /// <inheritdoc/>
    public override Task OpenAsync(CancellationToken cancellationToken = default) => collection.EnsureCollectionExistsAsync(cancellationToken);

    /// <inheritdoc/>
    public override void Dispose() => collection.Dispose();
}

/// <summary>One tenant's units behind a connector.</summary>
internal sealed class ConnectorRsuCollection(VectorStoreCollection<Guid, Rsu> inner, string tenant) : RsuCollection(tenant)
{
    private const int Page = 256;

    public override string Name => inner.Name;

    public override Task<bool> CollectionExistsAsync(CancellationToken cancellationToken = default) => inner.CollectionExistsAsync(cancellationToken);

    public override Task EnsureCollectionExistsAsync(CancellationToken cancellationToken = default) => inner.EnsureCollectionExistsAsync(cancellationToken);

    public override Task EnsureCollectionDeletedAsync(CancellationToken cancellationToken = default) => DeleteAsync(new RsuFilter(Tenant), cancellationToken);

    public override Task UpsertAsync(IEnumerable<Rsu> records, CancellationToken cancellationToken = default) =>
        inner.UpsertAsync([.. records.Select(Own)], cancellationToken);

    public override async Task<long> CountAsync(RsuFilter filter, CancellationToken cancellationToken = default) =>
        await ReadAsync(filter, int.MaxValue, cancellationToken: cancellationToken).LongCountAsync(cancellationToken).ConfigureAwait(false);

    public override async Task<long> DeleteAsync(RsuFilter filter, CancellationToken cancellationToken = default)
    {
        Guid[] ids = await ReadAsync(filter, int.MaxValue, cancellationToken: cancellationToken).Select(u => u.Id).ToArrayAsync(cancellationToken).ConfigureAwait(false);
        foreach (Guid[] batch in ids.Chunk(Page))
        {
            await inner.DeleteAsync(batch, cancellationToken).ConfigureAwait(false);
        }

        return ids.Length;
    }

    public override async IAsyncEnumerable<Rsu> ReadAsync(
        RsuFilter filter, int top, int skip = 0, bool newestFirst = false, bool vectors = false, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        if (filter.Sketch is not null)
        {
            yield break;
        }

        var options = new FilteredRecordRetrievalOptions<Rsu> { IncludeVectors = vectors };
        options.OrderBy = newestFirst
            ? by => by.Descending(u => u.CreatedAt).Descending(u => u.Ordinal)
            : by => by.Ascending(u => u.Session).Ascending(u => u.Ordinal);
        Expression<Func<Rsu, bool>> expression = ConnectorFilter.Of(filter);
        for (int read = 0, page = 0; read < top; read += page)
        {
            options.Skip = skip + read;
            int asked = Math.Min(Page, top - read);
            page = 0;
            await foreach (Rsu unit in inner.GetAsync(expression, asked, options, cancellationToken).ConfigureAwait(false))
            {
                page++;
                yield return Own(unit);
            }

            if (page < asked)
            {
                yield break;
            }
        }
    }

    public override async Task<IReadOnlyList<VectorSearchResult<Rsu>>> RankAsync(
        string text, ReadOnlyMemory<float>? vector, RsuFilter filter, int top, bool shared = false, CancellationToken cancellationToken = default)
    {
        if (vector is not { Length: > 0 } query)
        {
            return [];
        }

        Expression<Func<Rsu, bool>> expression = ConnectorFilter.Of(filter);
        string[] words = [.. Words.Of(text).Where(w => !Words.IsStop(w)).Distinct()];
        IAsyncEnumerable<VectorSearchResult<Rsu>> found = inner is IKeywordHybridSearchable<Rsu> hybrid && words.Length > 0
            ? hybrid.HybridSearchAsync(query, words, top, new HybridSearchOptions<Rsu> { Filter = expression }, cancellationToken)
            : inner.SearchAsync(query, top, new VectorSearchOptions<Rsu> { Filter = expression }, cancellationToken);
        VectorSearchResult<Rsu>[] results = await found.ToArrayAsync(cancellationToken).ConfigureAwait(false);
        foreach (VectorSearchResult<Rsu> result in results)
        {
            Own(result.Record);
        }

        return results;
    }
}

/// <summary>Turns the conditions of a filter into the expression that connectors translate.</summary>
internal static class ConnectorFilter
{
    private static readonly Dictionary<string, PropertyInfo> Fields = typeof(Rsu).GetProperties()
        .Select(p => (Property: p, Name: p.Name == nameof(Rsu.Id) ? "id" : p.GetCustomAttribute<VectorStoreDataAttribute>()?.StorageName))
        .Where(p => p.Name is not null).ToDictionary(p => p.Name!, p => p.Property);

    public static Expression<Func<Rsu, bool>> Of(RsuFilter filter)
    {
        ParameterExpression unit = Expression.Parameter(typeof(Rsu), "u");
        Expression body = filter.Conditions().Select(c => Term(unit, c)).Aggregate(Expression.AndAlso);
        return Expression.Lambda<Func<Rsu, bool>>(body, unit);
    }

    private static Expression Term(ParameterExpression unit, Condition condition)
    {
        MemberExpression field = Expression.Property(unit, Fields[condition.Field]);
        Expression Value() => Expression.Constant(condition.Value, field.Type);
        Expression IsAbsent() => Expression.Equal(field, Expression.Constant(null, field.Type));
        return condition.Comparison switch
        {
            Comparison.Equal => Expression.Equal(field, Value()),
            Comparison.AtLeast => Expression.GreaterThanOrEqual(field, Value()),
            Comparison.AtMost => Expression.LessThanOrEqual(field, Value()),
            Comparison.Absent => IsAbsent(),
            Comparison.AbsentOrAfter => Expression.OrElse(IsAbsent(), Expression.GreaterThan(field, Value())),
            Comparison.AnyOf when condition.Field == "id" => Expression.Call(
                typeof(Enumerable), nameof(Enumerable.Contains), [typeof(Guid)], Expression.Constant(((System.Collections.IEnumerable)condition.Value!).Cast<Guid>().ToArray()), field),
            _ => throw new NotSupportedException($"Connectors cannot compare {condition.Field} by {condition.Comparison}."),
        };
    }
}
