using RyzenLlm.Memory.Stores;

namespace RyzenLlm.Memory;

/// <summary>Something said or read, to be stored.</summary>
public sealed record Utterance
{
    /// <summary>The words.</summary>
    public required string Text { get; init; }

    /// <summary>Who said it; empty when unknown.</summary>
    public string Speaker { get; init; } = "";

    /// <summary>When; now if not given.</summary>
    public DateTimeOffset? At { get; init; }

    /// <summary>Where it came from: a file, a tool, a line of a transcript.</summary>
    public string Source { get; init; } = "";

    /// <summary>Place in the session; by time of storing if not given.</summary>
    public long? Ordinal { get; init; }

    /// <summary>What an attached picture or file shows, in words.</summary>
    public string Attachment { get; init; } = "";

    /// <summary>Name of a saved prefix state that ends with this utterance.</summary>
    public string? State { get; init; }
}

/// <summary>What to store, in order.</summary>
public sealed record StoreRequest
{
    /// <summary>The utterances or documents.</summary>
    public required IReadOnlyList<Utterance> Items { get; init; }

    /// <summary>The conversation or document that they belong to.</summary>
    public string Session { get; init; } = "";

    /// <summary>The shelf.</summary>
    public string Scope { get; init; } = "private";

    /// <summary>When to forget them; by <c>Memory:TimeToLiveDays</c> if not given.</summary>
    public DateTimeOffset? ExpiresAt { get; init; }

    /// <summary>From when the statements hold.</summary>
    public DateTimeOffset? ValidFrom { get; init; }

    /// <summary>The unit that the first item corrects.</summary>
    public Guid? Supersedes { get; init; }
}

/// <summary>What became of a store request.</summary>
public sealed record StoreResult
{
    /// <summary>Units of the request, new or merged, in order.</summary>
    public IReadOnlyList<Guid> Ids { get; init; } = [];

    /// <summary>New units.</summary>
    public int Stored { get; init; }

    /// <summary>Units that were known already and got a further source.</summary>
    public int Merged { get; init; }

    /// <summary>New units linked to one that says nearly the same.</summary>
    public int Linked { get; init; }

    /// <summary>Older units that a correction ended.</summary>
    public int Superseded { get; init; }

    /// <summary>Items left out because they only repeated recalled text.</summary>
    public int Recalled { get; init; }

    /// <summary>Units in which a secret was found.</summary>
    public int Secrets { get; init; }

    /// <summary>Units that wait in the outbox, safe on this machine, because the remote store is away.</summary>
    public int Queued { get; init; }
}

/// <summary>How much of each unit is written out.</summary>
public enum RecallFormat
{
    /// <summary>Short id, time, speaker and text.</summary>
    Compact,

    /// <summary>Also score, session, source, density and validity.</summary>
    Full,
}

/// <summary>What to look for and how much of it to bring.</summary>
public sealed record RecallRequest
{
    /// <summary>The question or topic.</summary>
    public required string Query { get; init; }

    /// <summary>Tokens of the rendered pack; <c>Memory:Budget</c> if not given.</summary>
    public int? Budget { get; init; }

    /// <summary>Units at most, 1 to 200.</summary>
    public int Top { get; init; } = 50;

    /// <summary>Least score, in standard deviations above the tenant's mean for this query (embedded store).</summary>
    public double MinimumScore { get; init; } = double.NegativeInfinity;

    /// <summary>Only this shelf.</summary>
    public string? Scope { get; init; }

    /// <summary>Only this conversation or document.</summary>
    public string? Session { get; init; }

    /// <summary>Only this speaker.</summary>
    public string? Speaker { get; init; }

    /// <summary>Not older than this.</summary>
    public DateTimeOffset? From { get; init; }

    /// <summary>Not newer than this.</summary>
    public DateTimeOffset? To { get; init; }

    /// <summary>Also what was superseded or has expired.</summary>
    public bool IncludePast { get; init; }

    /// <summary>How to write the units.</summary>
    public RecallFormat Format { get; init; }

    /// <summary>Length of a text in tokens of the model that will read the pack; <see cref="MemoryModels.CountTokens"/> if not given.</summary>
    public Func<string, int>? CountTokens { get; init; }
}

/// <summary>One unit of an answer.</summary>
/// <param name="Unit">The unit.</param>
/// <param name="Score">Its score; comparable within one answer only.</param>
/// <param name="Packed">Whether it is in the text.</param>
public sealed record RecallHit(Rsu Unit, double Score, bool Packed);

/// <summary>What was found.</summary>
/// <param name="Text">The rendered pack; empty when nothing was found.</param>
/// <param name="Tokens">Its length.</param>
/// <param name="Hits">All hits, best first.</param>
public sealed record RecallResult(string Text, int Tokens, IReadOnlyList<RecallHit> Hits)
{
    /// <summary>Whether the remote store was away, so that only what waits in the outbox was looked at.</summary>
    public bool Degraded { get; init; }

    /// <summary>Hits that did not fit in the budget.</summary>
    public int LeftOut => Hits.Count(h => !h.Packed);
}

/// <summary>What to forget. Everything of the tenant must be asked for by name.</summary>
public sealed record ForgetRequest
{
    /// <summary>These units.</summary>
    public IReadOnlyCollection<Guid>? Ids { get; init; }

    /// <summary>This conversation or document.</summary>
    public string? Session { get; init; }

    /// <summary>This shelf.</summary>
    public string? Scope { get; init; }

    /// <summary>Text from here.</summary>
    public string? Source { get; init; }

    /// <summary>Not older than this.</summary>
    public DateTimeOffset? From { get; init; }

    /// <summary>Not newer than this.</summary>
    public DateTimeOffset? To { get; init; }

    /// <summary>Only what has expired.</summary>
    public bool Expired { get; init; }

    /// <summary>All units of the tenant.</summary>
    public bool Everything { get; init; }

    /// <summary>Only count and show; the default.</summary>
    public bool DryRun { get; init; } = true;

    internal RsuFilter ToFilter(string tenant, DateTimeOffset now)
    {
        bool narrowed = Ids is not null || Session is not null || Scope is not null || Source is not null || From is not null || To is not null || Expired;
        if (narrowed == Everything)
        {
            throw new ArgumentException(
                narrowed ? "Ask for everything, or give conditions, not both." : "Say what to forget: ids, session, scope, source, a time range, expired units, or everything.");
        }

        return new RsuFilter(tenant)
        {
            Ids = Ids,
            Session = Session,
            Scope = Scope,
            Source = Source,
            From = From,
            To = To,
            ExpiredAt = Expired ? now : null,
        };
    }
}

/// <summary>What was, or would be, forgotten.</summary>
/// <param name="Matched">Units that the request means.</param>
/// <param name="Deleted">Units deleted; 0 in a dry run.</param>
/// <param name="Remaining">Units that the request still means, counted afterwards: 0 is the proof of absence.</param>
/// <param name="States">Saved prefix states deleted with them.</param>
/// <param name="Sample">Some of the units meant.</param>
public sealed record ForgetResult(long Matched, long Deleted, long Remaining, int States, IReadOnlyList<Rsu> Sample);

/// <summary>Size of a tenant's memory.</summary>
/// <param name="Units">Units in all.</param>
/// <param name="Live">Units neither superseded nor expired.</param>
/// <param name="Embedder">Id and version of the embedder.</param>
/// <param name="Change">The change to another embedder that is under way, or null.</param>
public sealed record MemoryStats(long Units, long Live, string Embedder, EmbedderChange? Change = null);

/// <summary>How far a tenant's memory is re-embedded.</summary>
/// <param name="Embedder">Id and version of the new embedder.</param>
/// <param name="Done">Units that have its vector.</param>
/// <param name="Units">Units that shall have one.</param>
public sealed record EmbedderChange(string Embedder, long Done, long Units);
