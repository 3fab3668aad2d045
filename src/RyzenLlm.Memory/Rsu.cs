using Microsoft.Extensions.VectorData;

namespace RyzenLlm.Memory;

/// <summary>What a unit is, beside its words.</summary>
[Flags]
public enum RsuKinds
{
    /// <summary>Plain text.</summary>
    None = 0,

    /// <summary>Ends in a question.</summary>
    Question = 1,

    /// <summary>Looks like source code.</summary>
    Code = 2,

    /// <summary>Held a key, token, password or card number, which was redacted unless the policy keeps it.</summary>
    Secret = 4,
}

/// <summary>How much of the search machinery a unit is worth. A low tier saves work; it never deletes.</summary>
public enum RsuTier
{
    /// <summary>The least dense tenth of a tenant's words: read as neighbour text and ranked last.</summary>
    Context = 0,

    /// <summary>The next 15 %: found by words, not by vector.</summary>
    Sparse = 1,

    /// <summary>Everything else: found by words and by vector.</summary>
    Full = 2,
}

/// <summary>
/// A recyclable semantic unit: one turn of a conversation or one paragraph of a longer text, kept word for word with
/// where it came from and how long it holds.
/// </summary>
public sealed record Rsu
{
    /// <summary>UUIDv5 of tenant, scope, session, speaker and text, so that a retried store writes the same unit again.</summary>
    [VectorStoreKey]
    public Guid Id { get; init; }

    /// <summary>Whose memory this is. Comes from authentication, never from a tool argument.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "tenant")]
    public string Tenant { get; init; } = "";

    /// <summary>A shelf inside the tenant, such as a project.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "scope")]
    public string Scope { get; init; } = "private";

    /// <summary>The conversation or document that the unit is part of.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "session")]
    public string Session { get; init; } = "";

    /// <summary>Place inside the session; only the order matters.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "ordinal")]
    public long Ordinal { get; init; }

    /// <summary>Who said or wrote it; empty when unknown.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "speaker")]
    public string Speaker { get; init; } = "";

    /// <summary>Where the text came from: a file, a tool, a transcript line.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "source")]
    public string Source { get; init; } = "";

    /// <summary>When it was said, in UTC.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "created_at")]
    public DateTimeOffset CreatedAt { get; init; }

    /// <summary>The text as it was given, less redacted secrets.</summary>
    [VectorStoreData(IsFullTextIndexed = true, StorageName = "text")]
    public string Text { get; init; } = "";

    /// <summary>SHA-256 (first 16 bytes, hexadecimal) of the lower-case text with single spaces.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "hash")]
    public string Hash { get; init; } = "";

    /// <summary>Two keys made of min-hashes of the stems; near-equal texts share one with high probability.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "sketch")]
    public string[] Sketch { get; init; } = [];

    /// <summary>Information per word; see <c>Density</c>.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "density")]
    public float Density { get; init; }

    /// <summary>Search tier.</summary>
    [VectorStoreData(StorageName = "tier")]
    public RsuTier Tier { get; init; } = RsuTier.Full;

    /// <summary>Flags.</summary>
    [VectorStoreData(StorageName = "kinds")]
    public RsuKinds Kinds { get; init; }

    /// <summary>From when the statement holds, if not from <see cref="CreatedAt"/>.</summary>
    [VectorStoreData(StorageName = "valid_from")]
    public DateTimeOffset? ValidFrom { get; init; }

    /// <summary>Until when it held; null while it does.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "valid_to")]
    public DateTimeOffset? ValidTo { get; init; }

    /// <summary>The unit that corrected this one.</summary>
    [VectorStoreData(StorageName = "superseded_by")]
    public Guid? SupersededBy { get; init; }

    /// <summary>The first unit that says nearly the same.</summary>
    [VectorStoreData(StorageName = "variant_of")]
    public Guid? VariantOf { get; init; }

    /// <summary>When the unit may be removed; null for never.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "expires_at")]
    public DateTimeOffset? ExpiresAt { get; init; }

    /// <summary>Further places where the same text was seen.</summary>
    [VectorStoreData(StorageName = "sources")]
    public string[] Sources { get; init; } = [];

    /// <summary>How often the same text was stored.</summary>
    [VectorStoreData(StorageName = "seen")]
    public int Seen { get; init; } = 1;

    /// <summary>Length in tokens by <see cref="Tokenizer"/>.</summary>
    [VectorStoreData(StorageName = "tokens")]
    public int Tokens { get; init; }

    /// <summary>Fingerprint of the vocabulary that <see cref="Tokens"/> was counted with.</summary>
    [VectorStoreData(StorageName = "tokenizer")]
    public string Tokenizer { get; init; } = "";

    /// <summary>Name of a saved prefix state that ends with this unit, if any.</summary>
    [VectorStoreData(StorageName = "state")]
    public string? State { get; init; }

    /// <summary>Id and version of the embedder that made <see cref="Embedding"/>; empty without one.</summary>
    [VectorStoreData(StorageName = "embedder")]
    public string Embedder { get; init; } = "";

    /// <summary>The dense vector, of length 1; null in the lower tiers.</summary>
    [VectorStoreVector(256, DistanceFunction = DistanceFunction.CosineSimilarity, StorageName = "dense")]
    public ReadOnlyMemory<float>? Embedding { get; init; }

    /// <summary>The tenant that shares the unit with its reader; null for a unit of one's own.</summary>
    [VectorStoreData(IsIndexed = true, StorageName = "shared_by")]
    public string? SharedBy { get; init; }

    /// <summary>In a stored copy that others read: the id of the owner's unit.</summary>
    [VectorStoreData(StorageName = "origin")]
    public Guid? Origin { get; init; }

    /// <summary>What the word index reads: speaker, text and the date in words.</summary>
    public string SearchText() =>
        $"{Speaker} {Text} {CreatedAt.UtcDateTime.ToString("d MMMM yyyy", System.Globalization.CultureInfo.InvariantCulture)}";
}
