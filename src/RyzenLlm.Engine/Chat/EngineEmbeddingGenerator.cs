using Microsoft.Extensions.AI;
using RyzenLlm.Engine.Decoding;

namespace RyzenLlm.Engine.Chat;

/// <summary>
/// A loaded model as the embedding generator of Microsoft.Extensions.AI: pooled final hidden states, of length 1. Works with every architecture; good vectors come
/// from models that were trained to embed.
/// </summary>
/// <remarks>The same text gives the same bits, alone and in any batch. Texts beyond the context are read in windows of its length, nothing is cut off.</remarks>
public sealed class EngineEmbeddingGenerator : IEmbeddingGenerator<string, Embedding<float>>
{
    private readonly Scheduler _scheduler;
    private readonly Pooling? _pooling;
    private readonly EmbeddingGeneratorMetadata _metadata;

    /// <summary>A generator of a loaded model.</summary>
    /// <param name="scheduler">Serves the model; whoever made it disposes of it.</param>
    /// <param name="pooling">How vectors are made; null takes what the model file names, or else the mean.</param>
    public EngineEmbeddingGenerator(Scheduler scheduler, Pooling? pooling = null)
    {
        ArgumentNullException.ThrowIfNull(scheduler);
        (_scheduler, _pooling) = (scheduler, pooling);
        _metadata = new("ryzenllm", providerUri: null, scheduler.Model.Info.Name, scheduler.Model.Info.EmbeddingLength);
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">The options ask for another model or length, or the model has no vocabulary; the message says what to change.</exception>
    /// <exception cref="QueueFullException">Too many requests wait already.</exception>
    public async Task<GeneratedEmbeddings<Embedding<float>>> GenerateAsync(
        IEnumerable<string> values, EmbeddingGenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(values);
        var info = _scheduler.Model.Info;
        if (options?.Dimensions is { } dimensions && dimensions != info.EmbeddingLength)
        {
            throw new ArgumentException($"{info.Name} makes vectors of {info.EmbeddingLength} numbers, not {dimensions}.", nameof(options));
        }

        if (options?.ModelId is { } model && model != info.Name)
        {
            throw new ArgumentException($"This generator runs {info.Name}, not {model}.", nameof(options));
        }

        var result = await _scheduler.EmbedAsync(new() { Texts = [.. values], Pooling = _pooling }, cancellationToken).ConfigureAwait(false);
        return new(result.Vectors.Select(vector => new Embedding<float>(vector) { ModelId = info.Name }))
        {
            Usage = new() { InputTokenCount = result.Tokens, TotalTokenCount = result.Tokens },
        };
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        return serviceKey is not null ? null
            : serviceType == typeof(EmbeddingGeneratorMetadata) ? _metadata
            : serviceType.IsInstanceOfType(_scheduler) ? _scheduler
            : serviceType.IsInstanceOfType(this) ? this : null;
    }

    /// <summary>Nothing: the model belongs to its scheduler.</summary>
    public void Dispose()
    {
    }
}
