using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Microsoft.Extensions.AI;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Embedders;

/// <summary>
/// The built-in embedder: signed feature hashing (Weinberger et al. 2009) of the character n-grams of every word, as
/// fastText does for subwords, into a unit vector. It needs no file and no training, takes some 20 microseconds for a
/// turn, and catches what stems miss: typing errors, compounds and inflection. It knows nothing of meaning.
/// </summary>
public sealed class HashEmbedder : IEmbeddingGenerator<string, Embedding<float>>
{
    private const int ShortestGram = 3;
    private const int LongestGram = 5;
    private readonly int _dimensions;
    private readonly EmbeddingGeneratorMetadata _metadata;

    /// <param name="dimensions">Length of the vectors: a power of two, 64 to 4096.</param>
    /// <exception cref="ArgumentOutOfRangeException">Another length.</exception>
    public HashEmbedder(int dimensions = 512)
    {
        if (dimensions is < 64 or > 4096 || !int.IsPow2(dimensions))
        {
            throw new ArgumentOutOfRangeException(nameof(dimensions), dimensions, "Give a power of two from 64 to 4096.");
        }

        _dimensions = dimensions;
        _metadata = new EmbeddingGeneratorMetadata("ryzenllm", null, $"hash-{dimensions}@1", dimensions);
    }

    /// <summary>The built-in embedder of that id and version, or null.</summary>
    internal static HashEmbedder? OfId(string id)
    {
        HashEmbedder[] all = [.. Enumerable.Range(6, 7).Select(power => new HashEmbedder(1 << power))];
        return Array.Find(all, e => e._metadata.DefaultModelId == id);
    }

    /// <summary>The vector of one text: length 1, or all zeros for a text without words.</summary>
    public float[] Embed(string text)
    {
        float[] vector = new float[_dimensions];
        float[] word = new float[_dimensions];
        Span<char> padded = stackalloc char[66];
        foreach (string raw in Words.Of(text))
        {
            if (Words.IsStop(raw) || raw.Length > 64)
            {
                continue;
            }

            padded[0] = '<';
            raw.CopyTo(padded[1..]);
            padded[raw.Length + 1] = '>';
            AddWord(padded[..(raw.Length + 2)], word, vector);
        }

        float length = TensorPrimitives.Norm(vector);
        if (length > 0)
        {
            TensorPrimitives.Divide(vector, length, vector);
        }

        return vector;
    }

    private void AddWord(ReadOnlySpan<char> padded, float[] word, float[] vector)
    {
        Array.Clear(word);
        for (int n = ShortestGram; n <= LongestGram; n++)
        {
            for (int i = 0; i + n <= padded.Length; i++)
            {
                AddFeature(padded.Slice(i, n), word);
            }
        }

        AddFeature(padded, word);
        float norm = TensorPrimitives.Norm(word);
        if (norm > 0)
        {
            TensorPrimitives.MultiplyAdd(word, 1 / norm, vector, vector);
        }
    }

    private void AddFeature(ReadOnlySpan<char> gram, float[] word)
    {
        uint hash = TermBag.Murmur3(MemoryMarshal.AsBytes(gram));
        word[hash & (uint)(_dimensions - 1)] += (hash & 0x80000000) == 0 ? 1 : -1;
    }

    /// <inheritdoc/>
    public Task<GeneratedEmbeddings<Embedding<float>>> GenerateAsync(
        IEnumerable<string> values, EmbeddingGenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(values);
        if (options?.Dimensions is { } asked && asked != _dimensions)
        {
            throw new ArgumentException($"This embedder makes vectors of {_dimensions} numbers, not {asked}.", nameof(options));
        }

        var made = new GeneratedEmbeddings<Embedding<float>>();
        foreach (string value in values)
        {
            cancellationToken.ThrowIfCancellationRequested();
            made.Add(new Embedding<float>(Embed(value)) { ModelId = _metadata.DefaultModelId });
        }

        return Task.FromResult(made);
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null) =>
        serviceKey is not null ? null
        : serviceType == typeof(EmbeddingGeneratorMetadata) ? _metadata
        : serviceType.IsInstanceOfType(this) ? this : null;

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}
