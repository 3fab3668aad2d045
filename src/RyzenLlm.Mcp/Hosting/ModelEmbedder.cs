using Microsoft.Extensions.AI;
using RyzenLlm.Engine.Chat;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Memory;
using RyzenLlm.Memory.Embedders;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// A model of the library as the embedder of the memory. The model is loaded by the first text and kept like any other. The id names the model, how its states are
/// pooled, and its weights, so that vectors of another file of the same name are never taken for its own.
/// </summary>
internal sealed class ModelEmbedder : IEmbeddingGenerator<string, Embedding<float>>
{
    /// <summary>Begins the value of Memory:Embedder, and ids.</summary>
    public const string Prefix = "model:";

    private readonly LoadedModels _models;
    private readonly ModelEntry _entry;
    private readonly EmbeddingGeneratorMetadata _metadata;

    /// <summary>Reads the model's header; its weights only when a text is embedded.</summary>
    /// <exception cref="ArgumentException">The model has no vocabulary.</exception>
    public ModelEmbedder(LoadedModels models, ModelEntry entry)
    {
        (_models, _entry) = (models, entry);
        var metadata = ModelMetadata.Read(entry.Path);
        if (metadata.TokenizerKind is null)
        {
            throw new ArgumentException($"{entry.Name} has no vocabulary, so it cannot embed text: choose another model for Memory:Embedder.");
        }

        var pooling = (metadata.Info.Pooling ?? Pooling.Mean).ToString().ToLowerInvariant();
        _metadata = new(ProductInfo.Name, null, $"{Prefix}{entry.Name}/{pooling}@{ModelMetadata.FingerprintOf(entry.Path)}", metadata.Info.EmbeddingLength);
    }

    /// <summary>The embedder that Memory:Embedder names, for a memory; null for none.</summary>
    /// <param name="options">The setting.</param>
    /// <param name="library">Where models are found.</param>
    /// <param name="models">Where they are loaded.</param>
    /// <exception cref="ModelNotFoundException">There is no such model.</exception>
    public static MemoryModels ModelsFor(MemoryOptions options, ModelLibrary library, LoadedModels models) => new()
    {
        Embedder = options.Embedder.StartsWith(Prefix, StringComparison.OrdinalIgnoreCase)
            ? new ModelEmbedder(models, library.Resolve(options.Embedder[Prefix.Length..]))
            : options.Embedder.Equals(MemoryModels.NoEmbedder, StringComparison.OrdinalIgnoreCase) ? null : new HashEmbedder(256),
        FormerEmbedder = id => OfId(id, library, models),
    };

    /// <inheritdoc/>
    public async Task<GeneratedEmbeddings<Embedding<float>>> GenerateAsync(
        IEnumerable<string> values, EmbeddingGenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        using var lease = await _models.AcquireAsync(_entry, cancellationToken).ConfigureAwait(false);
        using var generator = new EngineEmbeddingGenerator(lease.Scheduler);
        return await generator.GenerateAsync(values, options, cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null) =>
        serviceKey is not null ? null
        : serviceType == typeof(EmbeddingGeneratorMetadata) ? _metadata
        : serviceType.IsInstanceOfType(this) ? this : null;

    /// <summary>Nothing: models are unloaded by their owner.</summary>
    public void Dispose()
    {
    }

    // A model that a memory was embedded with before, if it is still here with the same weights.
    private static ModelEmbedder? OfId(string id, ModelLibrary library, LoadedModels models)
    {
        var entry = library.List().FirstOrDefault(m => id.StartsWith($"{Prefix}{m.Name}/", StringComparison.Ordinal));
        var embedder = entry is null ? null : new ModelEmbedder(models, entry);
        return embedder?._metadata.DefaultModelId == id ? embedder : null;
    }
}
