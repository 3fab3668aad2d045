using RyzenLlm.Engine.Files;
using RyzenLlm.Kernels;

namespace RyzenLlm.Engine.Models;

/// <summary>How to run a model.</summary>
public sealed record LoadOptions
{
    /// <summary>Threads, the caller's included; 0 takes one per processor.</summary>
    public int Threads { get; init; }

    /// <summary>Kernel path: auto, portable, avx2 or avx512.</summary>
    public string Kernels { get; init; } = "auto";

    /// <summary>Element type of key/value caches; F32 for exact evaluation.</summary>
    public KvType KvType { get; init; } = KvType.F16;
}

/// <summary>Opens model files and builds the network that their architecture names.</summary>
public static class ModelLoader
{
    private static readonly Dictionary<string, Func<GgufFile, ModelParts, LanguageModel>> Architectures = new()
    {
        ["bitnet-b1.58"] = (file, parts) => new BitNet(file, parts),
        ["bitnet-25"] = (file, parts) => new BitNet(file, parts),
        ["bitnet"] = (file, parts) => new BitNet(file, parts),
        ["rwkv7"] = (file, parts) => new Rwkv7(file, parts),
        ["mamba"] = (file, parts) => new Mamba(file, parts),
    };

    /// <summary>GGUF architecture names that can be run, for messages.</summary>
    public static IReadOnlyCollection<string> Supported => Architectures.Keys;

    /// <summary>Loads a GGUF file. Weights are mapped, not read: memory fills as they are used.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="ModelFormatException">The file is damaged, or its architecture, shapes or types are not supported.</exception>
    /// <exception cref="ArgumentException">The kernel path is not available or the number of threads is negative.</exception>
    public static LanguageModel Load(string path, LoadOptions? options = null)
    {
        options ??= new();
        ArgumentOutOfRangeException.ThrowIfNegative(options.Threads, nameof(options));
        var kernels = KernelSet.Select(options.Kernels);
        using var file = GgufFile.Open(path);
        if (!Architectures.TryGetValue(file.Architecture, out var create))
        {
            throw new ModelFormatException(
                path, null, null, $"one of the architectures {string.Join(", ", Supported)}", ModelFormatException.Quote(file.Architecture));
        }

        var embedding = file.Tensors.TryGetValue("token_embd.weight", out var tensor) ? (int)tensor.Dimensions[^1] : 0;
        var info = new ModelInfo(path, path, file.Architecture, embedding, file.Size(file.Architecture + ".context_length"), file.Size(file.Architecture + ".embedding_length"), file.Size(file.Architecture + ".block_count"), 0, true);
        var ops = new Ops(kernels, options.Threads == 0 ? Environment.ProcessorCount : options.Threads);
        try
        {
            return create(file, new(info, null, ops, options.KvType));
        }
        catch
        {
            ops.Dispose();
            throw;
        }
    }
}
