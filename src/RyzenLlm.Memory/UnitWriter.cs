using Microsoft.Extensions.AI;
using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Packing;
using RyzenLlm.Memory.Stores;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory;

/// <summary>The way of text into the store: checks, cutting, density, vectors, equivalence, write.</summary>
internal sealed class UnitWriter(RsuCollection collection, MemoryOptions options, MemoryModels models)
{
    private const int CandidatesPerUnit = 4;

    /// <summary>Cuts the items into units without vectors. Throws before anything is written.</summary>
    public IReadOnlyList<Rsu> Draft(StoreRequest request, out int recalled)
    {
        recalled = 0;
        var drafts = new List<Rsu>();
        DateTimeOffset now = models.Clock.GetUtcNow();
        DateTimeOffset? expires = request.ExpiresAt ?? (options.TimeToLiveDays > 0 ? now.AddDays(options.TimeToLiveDays) : null);
        if (expires <= now)
        {
            throw new ArgumentException("The expiry lies in the past: nothing would be kept.", nameof(request));
        }

        for (int i = 0; i < request.Items.Count; i++)
        {
            Utterance item = request.Items[i];
            if (item.Text.Length > options.MaximumText)
            {
                throw new ArgumentException($"Item {i + 1} has {item.Text.Length} characters; at most {options.MaximumText} are taken. Split it.", nameof(request));
            }

            if (string.IsNullOrWhiteSpace(item.Text) && item.Attachment.Length == 0)
            {
                throw new ArgumentException($"Item {i + 1} has no text.", nameof(request));
            }

            string text = Packer.Strip(item.Text);
            if (text.Length == 0 && item.Attachment.Length == 0)
            {
                recalled++;
                continue;
            }

            drafts.AddRange(Cut(request, item, text, now, expires, drafts.Count));
        }

        return drafts;
    }

    private IEnumerable<Rsu> Cut(StoreRequest request, Utterance item, string text, DateTimeOffset now, DateTimeOffset? expires, int drafted)
    {
        string[] pieces = [.. Sentences.Segment(text, options.UnitTokens, models.CountTokens)];
        pieces = pieces.Length == 0 ? [""] : pieces;
        for (int p = 0; p < pieces.Length; p++)
        {
            bool question = pieces[p].EndsWith('?');
            string whole = p == pieces.Length - 1 && item.Attachment.Length > 0 ? $"{pieces[p]} [shares {item.Attachment}]".Trim() : pieces[p];
            bool secret = SecretScan.Find(whole).Count > 0;
            if (secret && options.Secrets == SecretPolicy.Refuse)
            {
                throw new ArgumentException($"The text holds a secret ({SecretScan.Find(whole)[0].Kind}); nothing was stored. Take it out, or set Memory:Secrets to Redact.");
            }

            whole = secret && options.Secrets == SecretPolicy.Redact ? SecretScan.Redact(whole) : whole;
            DateTimeOffset at = (item.At ?? now).ToUniversalTime();
            long ordinal = item.Ordinal is { } given
                ? given + p
                : (now.UtcTicks - DateTimeOffset.UnixEpoch.UtcTicks) / TimeSpan.TicksPerMicrosecond + drafted + p;
            TermBag terms = TermBag.Of(whole);
            string hash = Fingerprint.Hash(whole);

            // A short remark means something only where it was made, so its place in the session is part of its name; longer
            // text, and a note that belongs to no session, is named by its words alone, so that storing it again changes nothing.
            bool remark = request.Session.Length > 0 && terms.Terms.Length < Equivalence.StemsToCompare;
            string place = item.Ordinal is not null || remark ? ordinal.ToString(System.Globalization.CultureInfo.InvariantCulture) : "";
            yield return new Rsu
            {
                Id = Fingerprint.Id(collection.Tenant, request.Scope, request.Session, item.Speaker, hash, place),
                Tenant = collection.Tenant,
                Scope = request.Scope,
                Session = request.Session,
                Ordinal = ordinal,
                Speaker = item.Speaker,
                Source = item.Source,
                CreatedAt = at,
                Text = whole,
                Hash = hash,
                Sketch = Fingerprint.Sketch(terms),
                Kinds = (question ? RsuKinds.Question : 0) | (secret ? RsuKinds.Secret : 0) | (LooksLikeCode(whole) ? RsuKinds.Code : 0),
                ValidFrom = request.ValidFrom,
                ExpiresAt = expires,
                Tokens = models.CountTokens(whole),
                Tokenizer = models.Tokenizer,
                State = p == pieces.Length - 1 ? item.State : null,
            };
        }
    }

    /// <summary>Completes one batch of drafts and writes it in one go; returns <paramref name="before"/> with the batch added.</summary>
    public async Task<StoreResult> WriteAsync(
        Rsu[] drafts, TenantStatistics statistics, StoreRequest request, StoreResult before, CancellationToken cancellationToken)
    {
        Rsu[] rated = await RateAsync(drafts, statistics, cancellationToken).ConfigureAwait(false);
        while (true)
        {
            string? embedder = collection.Embedder;
            try
            {
                return await WriteRatedAsync([.. rated], embedder, request, before, cancellationToken).ConfigureAwait(false);
            }
            catch (EmbedderMismatchException) when (collection.Embedder != embedder)
            {
                // Somebody has switched the store to another embedder in between.
            }
        }
    }

    private async Task<StoreResult> WriteRatedAsync(Rsu[] units, string? embedder, StoreRequest request, StoreResult before, CancellationToken cancellationToken)
    {
        await Migration.EmbedAsync(units, models, embedder, cancellationToken).ConfigureAwait(false);
        Dictionary<Guid, Rsu> known = await CandidatesAsync(units, cancellationToken).ConfigureAwait(false);
        var write = new Dictionary<Guid, Rsu>();
        var ids = new List<Guid>(before.Ids);
        int stored = 0, merged = 0, linked = 0, superseded = 0;
        for (int i = 0; i < units.Length; i++)
        {
            Rsu unit = Relate(units[i], known.Values, out Rsu? same);
            if (same is not null)
            {
                merged += 1;
                unit = Merge(same, unit);
            }
            else
            {
                stored++;
                linked += unit.VariantOf is null ? 0 : 1;
                foreach (Rsu old in await CorrectedAsync(unit, before.Ids.Count + i == 0 ? request.Supersedes : null, cancellationToken).ConfigureAwait(false))
                {
                    write[old.Id] = old with { ValidTo = unit.CreatedAt > old.CreatedAt ? unit.CreatedAt : models.Clock.GetUtcNow(), SupersededBy = unit.Id };
                    superseded++;
                }
            }

            write[unit.Id] = known[unit.Id] = unit;
            ids.Add(unit.Id);
        }

        await collection.UpsertAsync(write.Values, cancellationToken).ConfigureAwait(false);
        return before with
        {
            Ids = ids,
            Stored = before.Stored + stored,
            Merged = before.Merged + merged,
            Linked = before.Linked + linked,
            Superseded = before.Superseded + superseded,
            Secrets = before.Secrets + units.Count(u => u.Kinds.HasFlag(RsuKinds.Secret)),
        };
    }

    private async Task<Rsu[]> RateAsync(Rsu[] drafts, TenantStatistics statistics, CancellationToken cancellationToken)
    {
        var rated = new Rsu[drafts.Length];
        for (int i = 0; i < drafts.Length; i++)
        {
            Rsu unit = drafts[i];
            float[] bits = (models.Surprisal is null ? null : await models.Surprisal(unit.Text, cancellationToken).ConfigureAwait(false)) ?? [];
            lock (statistics)
            {
                var (density, tier) = statistics.Add(unit.Session, unit.Text, TermBag.Of(unit.Text), bits);
                rated[i] = unit with { Density = density, Tier = tier };
            }
        }

        return rated;
    }

    /// <summary>Stored units that could equal one of the batch, by id or by a shared sketch key, in one read.</summary>
    private async Task<Dictionary<Guid, Rsu>> CandidatesAsync(Rsu[] units, CancellationToken cancellationToken)
    {
        var known = new Dictionary<Guid, Rsu>();
        await foreach (Rsu unit in collection.ReadAsync(
            new RsuFilter(collection.Tenant) { Ids = [.. units.Select(u => u.Id)] }, units.Length, vectors: true, cancellationToken: cancellationToken).ConfigureAwait(false))
        {
            known[unit.Id] = unit;
        }

        string[] sketches = [.. units.Where(u => TermBag.Of(u.Text).Terms.Length >= Equivalence.StemsToCompare).SelectMany(u => u.Sketch).Distinct()];
        if (sketches.Length > 0)
        {
            var filter = new RsuFilter(collection.Tenant) { Scope = units[0].Scope, Sketch = sketches };
            await foreach (Rsu unit in collection.ReadAsync(filter, CandidatesPerUnit * units.Length, vectors: true, cancellationToken: cancellationToken).ConfigureAwait(false))
            {
                known.TryAdd(unit.Id, unit);
            }
        }

        return known;
    }

    private static Rsu Relate(Rsu unit, IEnumerable<Rsu> known, out Rsu? same)
    {
        same = null;
        TermBag terms = TermBag.Of(unit.Text);
        foreach (Rsu other in known)
        {
            if (other.Id == unit.Id)
            {
                same = other;
                return unit;
            }

            bool comparable = terms.Terms.Length >= Equivalence.StemsToCompare && other.Scope == unit.Scope && other.ValidTo is null
                && unit.Sketch.Any(other.Sketch.Contains);
            Relation relation = comparable ? Equivalence.Compare(unit, terms, other) : Relation.Different;
            if (relation == Relation.Same)
            {
                same = other;
            }
            else if (relation == Relation.Variant)
            {
                unit = unit with { VariantOf = other.VariantOf ?? other.Id };
            }
        }

        return unit;
    }

    private static Rsu Merge(Rsu known, Rsu again)
    {
        string place = again.Source.Length > 0 ? again.Source : again.Session;
        bool retold = place.Length > 0 && place != known.Source && place != known.Session && !known.Sources.Contains(place);
        return known with
        {
            Seen = known.Seen + (retold ? 1 : 0),
            Sources = retold ? [.. known.Sources, place] : known.Sources,
            ExpiresAt = known.ExpiresAt is null || again.ExpiresAt is null ? null : known.ExpiresAt > again.ExpiresAt ? known.ExpiresAt : again.ExpiresAt,
            State = again.State ?? known.State,
        };
    }

    /// <summary>Units that a new one ends: the one that the caller names, or the closest to a text that calls itself a correction.</summary>
    private async Task<IReadOnlyList<Rsu>> CorrectedAsync(Rsu unit, Guid? named, CancellationToken cancellationToken)
    {
        if (named is null && Equivalence.IsCorrection(unit.Text))
        {
            var filter = new RsuFilter(collection.Tenant) { Scope = unit.Scope, Speaker = unit.Speaker, LiveAt = models.Clock.GetUtcNow() };
            var near = await collection.RankAsync(unit.Text, null, filter, 3, cancellationToken).ConfigureAwait(false);
            named = near.Select(n => n.Record).FirstOrDefault(old => old.Id != unit.Id && Equivalence.Corrects(unit, old))?.Id;
        }

        if (named is not { } id)
        {
            return [];
        }

        Rsu? old = await collection.GetAsync(id, new RecordRetrievalOptions { IncludeVectors = true }, cancellationToken).ConfigureAwait(false);
        return old is null ? throw new ArgumentException($"There is no unit {id} to supersede; nothing was stored.") : [old];
    }

    private static bool LooksLikeCode(string text) =>
        text.Contains("```", StringComparison.Ordinal) || text.Count(c => c is '{' or '}' or ';' or '=') * 20 > text.Length;
}
