using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Stores;
using RyzenLlm.Memory.Stores.Sqlite;

namespace RyzenLlm.Memory;

/// <summary>
/// Sharing between tenants: asked for unit by unit, noted in the audit log, and over as soon as the owner says so, forgets the unit or
/// corrects it. A copy is shown only while the owner's unit is there and holds, so that nothing depends on when copies are removed.
/// </summary>
public sealed partial class RsuMemory
{
    private readonly AuditLog _audit = new(options.Audit.Length > 0
        ? options.Audit
        : store is SqliteRsuStore file ? file.Path + ".audit.jsonl" : Path.Combine(DataFolder(), "audit.jsonl"));

    /// <summary>Lets others recall units: those of now, not what is stored later. The audit log gets its lines first.</summary>
    /// <returns>How many units are shared by it.</returns>
    /// <exception cref="ArgumentException">The request names no units, or nobody or the owner to share with.</exception>
    /// <exception cref="VectorStoreException">The audit log cannot be written; nothing was shared.</exception>
    public async Task<int> ShareAsync(string tenant, ShareRequest request, CancellationToken cancellationToken = default)
    {
        RsuCollection own = Open(tenant);
        RequireUnits(request);
        string reader = SharedUnits.RequireTenant(request.With ?? SharedUnits.Everyone);
        if (reader == tenant)
        {
            throw new ArgumentException("Units are not shared with their owner: name another tenant, or all.", nameof(request));
        }

        if (Store is ConnectorRsuStore)
        {
            throw new NotSupportedException("A memory behind a connector cannot share units.");
        }

        await DeliverAsync(tenant, cancellationToken).ConfigureAwait(false); // what waits may be among them
        var filter = new RsuFilter(tenant) { Ids = request.Ids, Session = request.Session, Scope = request.Scope, LiveAt = models.Clock.GetUtcNow() };
        Rsu[] units = await own.ReadAsync(filter, int.MaxValue, vectors: true, cancellationToken: cancellationToken).ToArrayAsync(cancellationToken).ConfigureAwait(false);
        Note("share", tenant, units.Select(u => (tenant, u.Id)), reader, "Nothing was shared.");
        string place = SharedUnits.PlaceOf(reader);
        foreach (Rsu[] batch in units.Chunk(BatchUnits))
        {
            await Store.ForTenant(place).UpsertAsync(batch.Select(u => SharedUnits.Copy(u, place)), cancellationToken).ConfigureAwait(false);
        }

        await WithdrawStaleAsync(tenant, CancellationToken.None).ConfigureAwait(false); // what was forgotten meanwhile
        return units.Length;
    }

    /// <summary>Ends sharing, at once for every reader.</summary>
    /// <returns>How many units are no longer shared, counted once for each reader or for all.</returns>
    /// <exception cref="ArgumentException">The request names no units.</exception>
    /// <exception cref="VectorStoreException">The audit log cannot be written; sharing has ended all the same.</exception>
    public async Task<int> UnshareAsync(string tenant, ShareRequest request, CancellationToken cancellationToken = default)
    {
        _ = Open(tenant);
        RequireUnits(request);
        int ended = 0;
        await foreach (var (place, copies) in CopiesAsync(tenant, cancellationToken).ConfigureAwait(false))
        {
            Rsu[] meant = [.. copies.Where(c => (request.Ids is null || request.Ids.Contains(c.Origin!.Value))
                && (request.Session is null || request.Session == c.Session) && (request.Scope is null || request.Scope == c.Scope))];
            if (request.With is null || request.With == SharedUnits.ReaderOf(place))
            {
                await WithdrawAsync(tenant, place, meant).ConfigureAwait(false);
                ended += meant.Length;
            }
        }

        return ended;
    }

    /// <summary>With whom a tenant shares a unit: <c>all</c> and names of tenants.</summary>
    public async Task<IReadOnlyList<string>> ReadersAsync(string tenant, Guid id, CancellationToken cancellationToken = default)
    {
        _ = Open(tenant);
        var readers = new List<string>();
        await foreach (var (place, copies) in CopiesAsync(tenant, cancellationToken).ConfigureAwait(false))
        {
            if (Array.Exists(copies, c => c.Origin == id))
            {
                readers.Add(SharedUnits.ReaderOf(place));
            }
        }

        return readers;
    }

    private RsuCollection Open(string tenant) => Store.ForTenant(SharedUnits.RequireTenant(tenant));

    private static void RequireUnits(ShareRequest request)
    {
        if (request is { Ids: null, Session: null, Scope: null })
        {
            throw new ArgumentException("Say which units: ids, a session or a scope.", nameof(request));
        }
    }

    /// <summary>A tenant's copies by the places where they lie.</summary>
    private async IAsyncEnumerable<(string Place, Rsu[] Copies)> CopiesAsync(
        string tenant, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        if (Store is ConnectorRsuStore)
        {
            yield break;
        }

        foreach (string place in (await Store.NamesAsync(cancellationToken).ConfigureAwait(false)).Where(SharedUnits.IsPlace))
        {
            var filter = new RsuFilter(place) { SharedBy = tenant };
            yield return (place, await Store.ForTenant(place).ReadAsync(filter, int.MaxValue, cancellationToken: cancellationToken).ToArrayAsync(cancellationToken).ConfigureAwait(false));
        }
    }

    // First the copies, then the line: what is said to have ended has ended.
    private async Task WithdrawAsync(string tenant, string place, Rsu[] copies)
    {
        foreach (Rsu[] batch in copies.Chunk(BatchUnits))
        {
            await Store.ForTenant(place).DeleteAsync(batch.Select(c => c.Id), CancellationToken.None).ConfigureAwait(false);
        }

        Note("unshare", tenant, copies.Select(c => (tenant, c.Origin!.Value)), SharedUnits.ReaderOf(place), "Sharing has ended all the same.");
    }

    /// <summary>Removes copies of units that are gone or were corrected.</summary>
    private async Task WithdrawStaleAsync(string tenant, CancellationToken cancellationToken)
    {
        await foreach (var (place, copies) in CopiesAsync(tenant, cancellationToken).ConfigureAwait(false))
        {
            HashSet<Guid> live = await LiveAsync(tenant, copies.Select(c => c.Origin!.Value), null, cancellationToken).ConfigureAwait(false);
            await WithdrawAsync(tenant, place, [.. copies.Where(c => !live.Contains(c.Origin!.Value))]).ConfigureAwait(false);
        }
    }

    // With no time given, units that have expired count too: a clock may jump.
    private async Task<HashSet<Guid>> LiveAsync(string owner, IEnumerable<Guid> ids, DateTimeOffset? at, CancellationToken cancellationToken)
    {
        var live = new HashSet<Guid>();
        foreach (Guid[] batch in ids.Chunk(BatchUnits))
        {
            await foreach (Rsu unit in Store.ForTenant(owner).ReadAsync(new RsuFilter(owner) { Ids = batch }, batch.Length, cancellationToken: cancellationToken).ConfigureAwait(false))
            {
                if (unit.ValidTo is null && (at is null || unit.ExpiresAt is null || unit.ExpiresAt > at))
                {
                    live.Add(unit.Id);
                }
            }
        }

        return live;
    }

    /// <summary>The hits without those whose owner no longer has them so.</summary>
    private async Task<IReadOnlyList<VectorSearchResult<Rsu>>> WithoutStaleAsync(IReadOnlyList<VectorSearchResult<Rsu>> hits, CancellationToken cancellationToken)
    {
        var stale = new HashSet<Guid>();
        foreach (var shared in hits.Where(h => h.Record.SharedBy is not null).GroupBy(h => h.Record.SharedBy!))
        {
            HashSet<Guid> live = await LiveAsync(shared.Key, shared.Select(h => h.Record.Id), models.Clock.GetUtcNow(), cancellationToken).ConfigureAwait(false);
            stale.UnionWith(shared.Select(h => h.Record.Id).Where(id => !live.Contains(id)));
        }

        return stale.Count == 0 ? hits : [.. hits.Where(h => h.Record.SharedBy is null || !stale.Contains(h.Record.Id))];
    }

    /// <summary>Notes which of others' units a pack shows; without the note it shows none of them.</summary>
    private RecallResult Audited(string tenant, RecallResult result, Func<RecallResult> ownAlone)
    {
        RecallHit[] shown = [.. result.Hits.Where(h => h.Packed || h.Unit.SharedBy is null)];
        try
        {
            Note("read", tenant, shown.Where(h => h.Unit.SharedBy is not null).Select(h => (h.Unit.SharedBy!, h.Unit.Id)), null, "Shared units were left out.");
            return result with { Hits = shown };
        }
        catch (VectorStoreException e)
        {
            return ownAlone() with { AuditProblem = e.Message };
        }
    }

    /// <summary>A unit that another tenant shares with this one, or null.</summary>
    private async Task<Rsu?> ShowSharedAsync(string tenant, Guid id, CancellationToken cancellationToken)
    {
        foreach (string place in Store is ConnectorRsuStore ? [] : SharedUnits.PlacesFor(tenant))
        {
            Rsu? copy = await Store.ForTenant(place).GetAsync(SharedUnits.CopyId(place, id), cancellationToken: cancellationToken).ConfigureAwait(false);
            if (copy is { SharedBy: { } owner } && owner != tenant && (await LiveAsync(owner, [id], models.Clock.GetUtcNow(), cancellationToken).ConfigureAwait(false)).Count > 0)
            {
                Note("read", tenant, [(owner, id)], null, "The unit is not shown.");
                return SharedUnits.Seen(copy);
            }
        }

        return null;
    }

    private void Note(string what, string tenant, IEnumerable<(string Owner, Guid Unit)> units, string? with, string otherwise)
    {
        try
        {
            _audit.Append([.. units.Select(u => new AuditLine(models.Clock.GetUtcNow(), what, tenant, u.Owner, u.Unit, with))]);
        }
        catch (IOException e)
        {
            throw new VectorStoreException($"The audit log {_audit.Path} cannot be written ({e.Message}): check free space and permissions. {otherwise}", e);
        }
    }
}
