using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Files;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Models;

/// <summary>What a model file says about itself, read without touching its weights.</summary>
/// <param name="Info">Architecture and sizes; 0 where the file does not tell, as in files that hold a vocabulary only.</param>
/// <param name="IsSupported">Whether <see cref="ModelLoader"/> runs the architecture.</param>
/// <param name="FileBytes">Size of the file.</param>
/// <param name="TokenizerKind">Value of <c>tokenizer.ggml.model</c> (gpt2, llama, rwkv), or null for files without vocabulary.</param>
/// <param name="Tensors">All tensors in the order of the file.</param>
/// <param name="Values">All metadata as text, in the order of the file; arrays by kind and count.</param>
public sealed record ModelMetadata(
    ModelInfo Info,
    bool IsSupported,
    long FileBytes,
    string? TokenizerKind,
    IReadOnlyList<TensorInfo> Tensors,
    IReadOnlyList<KeyValuePair<string, string>> Values)
{
    // What converters write for networks without a limit of their own.
    private const int Unlimited = 1 << 20;

    /// <summary>Number of values held in each tensor type, the most used type first.</summary>
    public IReadOnlyList<KeyValuePair<QuantType, long>> ValuesByType =>
        [.. Tensors.GroupBy(t => t.Type).Select(g => KeyValuePair.Create(g.Key, g.Sum(t => t.Elements))).OrderByDescending(p => p.Value)];

    /// <summary>Reads the header of a GGUF file, or of a folder with model.safetensors.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="ModelFormatException">The file is damaged or of another kind.</exception>
    public static ModelMetadata Read(string path)
    {
        if (ModelLoader.WeightsOf(path) is var weights && weights.EndsWith(ModelLoader.SafetensorsExtension, StringComparison.OrdinalIgnoreCase))
        {
            using var safetensors = SafetensorsFile.Open(weights);
            return Of(safetensors, ModelLoader.ConfigOf(safetensors));
        }

        using var gguf = GgufFile.Open(weights);
        return Of(gguf);
    }

    /// <summary>Identifies the weights: 16 hexadecimal digits that differ between any two models, whatever the files are called.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="ModelFormatException">The file is damaged or of another kind.</exception>
    public static string FingerprintOf(string path)
    {
        var weights = ModelLoader.WeightsOf(path);
        using TensorFile file = weights.EndsWith(ModelLoader.SafetensorsExtension, StringComparison.OrdinalIgnoreCase) ? SafetensorsFile.Open(weights) : GgufFile.Open(weights);
        return Convert.ToHexStringLower(ModelFingerprint.Of(file).AsSpan(0, 8));
    }

    internal static ModelMetadata Of(GgufFile file)
    {
        var a = file.Architecture;
        var info = new ModelInfo(
            file.TryGetString("general.name", out var name) ? name : Path.GetFileNameWithoutExtension(file.Path),
            file.Path,
            a,
            file.Tensors.ContainsKey("token_embd.weight") ? file.Dimension("token_embd.weight", 1) : 0,
            file.Size($"{a}.context_length", 0),
            file.Size($"{a}.embedding_length", 0),
            file.Size($"{a}.block_count", 0),
            file.Tensors.Values.Sum(t => t.Elements),
            ModelLoader.IsRecurrent(a),
            file.TryGetString("tokenizer.chat_template", out var template) ? template : null,
            PoolingOf(file),
            file.TryGetBool("tokenizer.ggml.add_eos_token", out var closes) && closes && file.TryGetInt32("tokenizer.ggml.eos_token_id", out var eos) ? eos : null);
        return new(
            info,
            ModelLoader.Supported.Contains(a),
            file.Length,
            file.TryGetString("tokenizer.ggml.model", out var tokenizer) ? tokenizer : null,
            [.. file.Tensors.Values],
            [.. file.Metadata.Select(pair => KeyValuePair.Create(pair.Key, pair.Value.ToString()))]);
    }

    // Values of GGUF's pooling_type: 1 mean, 3 last. The others (first token, ranking) make no vectors here and count as none.
    private static Pooling? PoolingOf(GgufFile file) =>
        !file.TryGetInt32($"{file.Architecture}.pooling_type", out var type) ? null
        : type switch
        {
            1 => Pooling.Mean,
            3 => Pooling.Last,
            _ => null,
        };

    internal static ModelMetadata Of(SafetensorsFile file, ConfigFile? config)
    {
        // RWKV-4 as Hugging Face names it, RWKV-5 as its authors do.
        var (architecture, embedding, block) =
            file.Tensors.ContainsKey("rwkv.embeddings.weight") ? ("rwkv4", "rwkv.embeddings.weight", "rwkv.blocks.")
            : file.Tensors.ContainsKey("blocks.0.att.time_faaaa") ? ("rwkv5", "emb.weight", "blocks.")
            : throw new ModelFormatException(
                file.Path, null, null, "tensors of RWKV-4 (rwkv.embeddings.weight) or RWKV-5 (blocks.0.att.time_faaaa)", $"{file.Tensors.Count} tensors without them");
        var blocks = 0;
        while (file.Tensors.ContainsKey($"{block}{blocks}.ln1.weight"))
        {
            blocks++;
        }

        var info = new ModelInfo(
            Path.GetFileName(Path.GetDirectoryName(Path.GetFullPath(file.Path))) ?? file.Path,
            file.Path,
            architecture,
            file.Dimension(embedding, 1),
            config?.Size("context_length", Unlimited) ?? Unlimited,
            config?.Size("hidden_size", file.Dimension(embedding, 0)) ?? file.Dimension(embedding, 0),
            config?.Size("num_hidden_layers", blocks) ?? blocks,
            file.Tensors.Values.Sum(t => t.Elements),
            IsRecurrent: true);
        return new(info, IsSupported: true, file.Length, TokenizerKind: null, [.. file.Tensors.Values], [.. file.Metadata]);
    }
}
