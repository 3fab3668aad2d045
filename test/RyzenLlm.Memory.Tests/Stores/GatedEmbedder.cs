using Microsoft.Extensions.AI;
using RyzenLlm.Memory.Embedders;

namespace RyzenLlm.Memory.Tests.Stores;

/// <summary>The built-in embedder, let through call by call, optionally under another name.</summary>
internal sealed class GatedEmbedder(int dimensions, string? id = null) : IEmbeddingGenerator<string, Embedding<float>>
{
    private readonly SemaphoreSlim _permits = new(0);
    private readonly SemaphoreSlim _asked = new(0);

    public HashEmbedder Inner { get; } = new(dimensions);

    /// <summary>Texts embedded in calls of several.</summary>
    public int Embedded { get; private set; }

    public void Let(int calls) => _permits.Release(calls);

    public async Task Asked(int times)
    {
        for (; times > 0; times--)
        {
            await _asked.WaitAsync();
        }
    }

    public async Task<GeneratedEmbeddings<Embedding<float>>> GenerateAsync(
        IEnumerable<string> values, EmbeddingGenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        string[] texts = [.. values];
        _asked.Release();
        await _permits.WaitAsync(cancellationToken);
        Embedded += texts.Length;
        return await Inner.GenerateAsync(texts, options, cancellationToken);
    }

    public object? GetService(Type serviceType, object? serviceKey = null) => id is not null && serviceType == typeof(EmbeddingGeneratorMetadata)
        ? new EmbeddingGeneratorMetadata("test", null, id, dimensions)
        : Inner.GetService(serviceType, serviceKey);

    public void Dispose()
    {
    }
}
