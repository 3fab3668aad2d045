using System.ComponentModel.DataAnnotations;
using Microsoft.Extensions.AI;
using RyzenLlm.Memory.Ranking;

namespace RyzenLlm.Memory;

/// <summary>What is done with a secret in text to be stored.</summary>
public enum SecretPolicy
{
    /// <summary>Its place is taken by <c>[redacted:kind]</c>.</summary>
    Redact,

    /// <summary>The whole request is refused; nothing is stored.</summary>
    Refuse,

    /// <summary>It is kept as it is and the unit is flagged.</summary>
    Keep,
}

/// <summary>Settings under <c>Memory:</c>.</summary>
public sealed record MemoryOptions
{
    /// <summary><c>Memory:Store</c>: <c>sqlite:PATH</c> or <c>qdrant:URL</c>; <c>sqlite:</c> alone means the file in the user's data folder.</summary>
    public string Store { get; init; } = "sqlite:";

    /// <summary>
    /// <c>Memory:Embedder</c>, for programs that make it from the settings: <c>builtin</c>, <c>model:NAME</c> for the pooled hidden states of a language model, or
    /// <c>none</c> for words alone. A store keeps its own until it was re-embedded.
    /// </summary>
    [RegularExpression("(?i)builtin|none|model:.+", ErrorMessage = "builtin, none or model:NAME")]
    public string Embedder { get; init; } = "builtin";

    /// <summary><c>Memory:Qdrant</c>: how to reach a Qdrant server.</summary>
    public QdrantOptions Qdrant { get; init; } = new();

    /// <summary><c>Memory:Tenant</c>: whose memory local use (stdio, command line) writes and reads.</summary>
    public string Tenant { get; init; } = "default";

    /// <summary><c>Memory:Budget</c>: tokens of a recalled pack when the call does not say; at most <see cref="MaximumBudget"/>.</summary>
    [Range(16, 1_000_000)]
    public int Budget { get; init; } = 512;

    /// <summary><c>Memory:MaximumBudget</c>: the largest pack that a call may ask for, in tokens.</summary>
    [Range(16, 1_000_000)]
    public int MaximumBudget { get; init; } = 4000;

    /// <summary><c>Memory:UnitTokens</c>: longer text is cut into units of at most this many tokens, at sentence ends.</summary>
    [Range(8, 100_000)]
    public int UnitTokens { get; init; } = 120;

    /// <summary><c>Memory:MaximumText</c>: characters of one item to store; a longer one is refused.</summary>
    [Range(1, int.MaxValue)]
    public int MaximumText { get; init; } = 4_000_000;

    /// <summary><c>Memory:Secrets</c>: what happens to keys, tokens, passwords and card numbers.</summary>
    public SecretPolicy Secrets { get; init; } = SecretPolicy.Redact;

    /// <summary><c>Memory:TimeToLiveDays</c>: units expire after this many days; 0 keeps them.</summary>
    [Range(0, 36_500)]
    public int TimeToLiveDays { get; init; }

    /// <summary><c>Memory:SecondHop</c>: weight of a second search with the names found by the first; 0 searches once.</summary>
    [Range(0.0, 10.0)]
    public double SecondHop { get; init; } = 0.2;

    /// <summary><c>Memory:Ranking</c>: weights of the ranker of the embedded store.</summary>
    public RankingOptions Ranking { get; init; } = new();
}

/// <summary>Settings under <c>Memory:Qdrant:</c>.</summary>
public sealed record QdrantOptions
{
    /// <summary><c>Memory:Qdrant:Url</c>, such as <c>http://localhost:6333</c>.</summary>
    public string Url { get; init; } = "http://localhost:6333";

    /// <summary><c>Memory:Qdrant:ApiKey</c>; empty for a server without keys.</summary>
    public string ApiKey { get; init; } = "";

    /// <summary><c>Memory:Qdrant:Collection</c>.</summary>
    public string Collection { get; init; } = "rsu";

    /// <summary><c>Memory:Qdrant:AllowSharedIdf</c>: accept servers older than 1.19, where words are weighed by all tenants' units.</summary>
    public bool AllowSharedIdf { get; init; }

    /// <summary><c>Memory:Qdrant:TimeoutSeconds</c> of one request on the server, 1 to 60.</summary>
    [Range(1, 60)]
    public int TimeoutSeconds { get; init; } = 10;

    /// <summary><c>Memory:Qdrant:PatienceSeconds</c>: a call waits so long for the server in all, then stores to the outbox or recalls from it.</summary>
    [Range(0.1, 600)]
    public double PatienceSeconds { get; init; } = 3;

    /// <summary><c>Memory:Qdrant:OutboxPath</c>: file for units that the server cannot take at the moment; empty for one in the user's data folder.</summary>
    public string OutboxPath { get; init; } = "";

    /// <summary><c>Memory:Qdrant:OutboxUnits</c>: units that may wait there; then storing is refused. 0 for no outbox.</summary>
    [Range(0, 1_000_000)]
    public int OutboxUnits { get; init; } = 10_000;
}

/// <summary>What the memory needs from a model, each with a stand-in that needs none.</summary>
public sealed record MemoryModels
{
    /// <summary>Id of no embedder.</summary>
    public const string NoEmbedder = "none";

    /// <summary>Makes the dense vectors. Null for none: recall then works by words alone.</summary>
    public IEmbeddingGenerator<string, Embedding<float>>? Embedder { get; init; } = new Embedders.HashEmbedder(256);

    /// <summary>
    /// Another embedder by its id and version, so that vectors made with it serve until new ones are complete; null where it is not there any more, and words alone
    /// serve. The built-in one is always there.
    /// </summary>
    public Func<string, IEmbeddingGenerator<string, Embedding<float>>?>? FormerEmbedder { get; init; }

    /// <summary>Length of a text in the target model's tokens. The stand-in counts four characters as one.</summary>
    public Func<string, int> CountTokens { get; init; } = text => (text.Length + 3) / 4;

    /// <summary>Fingerprint of the vocabulary behind <see cref="CountTokens"/>.</summary>
    public string Tokenizer { get; init; } = "";

    /// <summary>Surprisal of a text, where a model has read it.</summary>
    public Surprisal? Surprisal { get; init; }

    /// <summary>Deletes saved prefix states of a tenant by name and says how many there were.</summary>
    public Func<string, IReadOnlyCollection<string>, CancellationToken, Task<int>>? ForgetStates { get; init; }

    /// <summary>The clock.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>Id and version of <see cref="Embedder"/>, <c>none</c> without one.</summary>
    public string EmbedderId => Embedder is null
        ? NoEmbedder
        : (Embedder.GetService(typeof(EmbeddingGeneratorMetadata)) as EmbeddingGeneratorMetadata)?.DefaultModelId
          ?? throw new InvalidOperationException("The embedder does not name its model (EmbeddingGeneratorMetadata.DefaultModelId); vectors of unknown origin cannot be compared.");

    /// <summary>The embedder of a store by its id; the present one for a store that does not tell.</summary>
    internal IEmbeddingGenerator<string, Embedding<float>>? EmbedderOf(string? id) =>
        id is null || id == EmbedderId ? Embedder
        : id == NoEmbedder ? null
        : Embedders.HashEmbedder.OfId(id) ?? FormerEmbedder?.Invoke(id);

    /// <summary>Numbers in each vector; 0 without an embedder.</summary>
    public int Dimensions => Embedder is null
        ? 0
        : (Embedder.GetService(typeof(EmbeddingGeneratorMetadata)) as EmbeddingGeneratorMetadata)?.DefaultModelDimensions
          ?? throw new InvalidOperationException("The embedder does not state the length of its vectors (EmbeddingGeneratorMetadata.DefaultModelDimensions).");
}
