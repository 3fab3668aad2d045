using RyzenLlm.Engine.Files;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Models;

/// <summary>Sizes and forms of a <see cref="Transformer"/>, by their names in GGUF metadata.</summary>
/// <param name="EmbeddingLength">Width n.</param>
/// <param name="BlockCount">Blocks.</param>
/// <param name="FeedForwardLength">Width of the feed-forward part.</param>
/// <param name="HeadCount">Query heads.</param>
/// <param name="HeadCountKv">Key/value heads.</param>
/// <param name="HeadSize">Elements of a head; not n / heads in every model.</param>
/// <param name="RmsEpsilon">Of all norms.</param>
/// <param name="AttentionScale">What dot products are multiplied by.</param>
/// <param name="EmbeddingScale">What embeddings are multiplied by.</param>
/// <param name="Window">Positions that local blocks see; 0 where all blocks see all.</param>
/// <param name="LocalFreqBase">Base of the rotation in local blocks.</param>
/// <param name="NormsHeads">Whether query and key heads are normed.</param>
/// <param name="NormsOutputs">Whether what attention and feed-forward add is normed.</param>
/// <param name="Gelu">GELU in place of SiLU.</param>
/// <param name="InterleavedRope">Whether the rotation turns neighbouring elements.</param>
internal sealed record TransformerConfig(
    int EmbeddingLength,
    int BlockCount,
    int FeedForwardLength,
    int HeadCount,
    int HeadCountKv,
    int HeadSize,
    float RmsEpsilon,
    float AttentionScale,
    float EmbeddingScale,
    int Window,
    float LocalFreqBase,
    bool NormsHeads,
    bool NormsOutputs,
    bool Gelu,
    bool InterleavedRope)
{
    // Every sixth block of Gemma 3 sees all positions.
    private const int GlobalEvery = 6;

    // The one size of Gemma 3 (27B) that scales by n / heads in place of the head size is known by its blocks.
    private const int Gemma27Blocks = 62;

    private const int MostHeadSize = 1024;

    public int QueryLength => HeadCount * HeadSize;

    public int HeadsPerKvHead => HeadCount / HeadCountKv;

    /// <summary>Longest input of a product.</summary>
    public int Widest => Math.Max(EmbeddingLength, Math.Max(QueryLength, FeedForwardLength));

    /// <summary>Whether a block sees the window only.</summary>
    public bool IsLocal(int block) => Window > 0 && (block + 1) % GlobalEvery != 0;

    public static TransformerConfig Read(GgufFile file, ModelInfo info)
    {
        var a = file.Architecture;
        var gemma = a == "gemma3";
        var heads = file.Size($"{a}.attention.head_count");
        if (!file.Metadata.ContainsKey($"{a}.attention.key_length"))
        {
            file.RequireMultiple("embedding_length", info.EmbeddingLength, heads);
        }

        var headSize = file.Size($"{a}.attention.key_length", info.EmbeddingLength / heads);
        var config = new TransformerConfig(
            info.EmbeddingLength,
            info.BlockCount,
            file.Size($"{a}.feed_forward_length"),
            heads,
            file.Size($"{a}.attention.head_count_kv", heads),
            headSize,
            file.Epsilon($"{a}.attention.layer_norm_rms_epsilon"),
            1 / MathF.Sqrt(gemma && info.BlockCount == Gemma27Blocks ? (float)info.EmbeddingLength / heads : headSize),
            gemma ? MathF.Sqrt(info.EmbeddingLength) : 1,
            gemma && file.TryGetInt32($"{a}.attention.sliding_window", out var window) && window > 0 ? Math.Min(window, info.Window > 0 ? info.Window : window) : 0,
            file.Positive($"{a}.rope.freq_base_swa", 10000),
            NormsHeads: a != "llama",
            NormsOutputs: gemma,
            Gelu: gemma,
            InterleavedRope: a == "llama");
        file.RequireMultiple("attention.head_count", heads, config.HeadCountKv);
        file.RequireMultiple("attention.key_length", headSize, 2);
        if (headSize > MostHeadSize)
        {
            throw new ModelFormatException(file.Path, null, null, $"a head size of at most {MostHeadSize}", $"{headSize}");
        }

        Require(file, $"{a}.attention.value_length", headSize);
        Require(file, $"{a}.rope.dimension_count", headSize);
        foreach (var tensor in file.Tensors.Values)
        {
            if (tensor.Name == "rope_freqs.weight" || (tensor.Name.StartsWith("blk.", StringComparison.Ordinal) && tensor.Name.EndsWith(".bias", StringComparison.Ordinal)))
            {
                throw new ModelFormatException(file.Path, tensor.Name, null, $"a {a} model without biases and without factors of the rotation", "this tensor");
            }

            if (KernelSet.IsTernary(tensor.Type) && tensor.Dimensions[0] % 128 != 0)
            {
                throw new ModelFormatException(file.Path, tensor.Name, null, "ternary rows of a multiple of 128", tensor.Shape);
            }
        }

        return config;
    }

    private static void Require(GgufFile file, string key, int size)
    {
        if (file.Size(key, size) is var found && found != size)
        {
            throw new ModelFormatException(file.Path, null, null, $"{key} of the head size {size}", $"{found}");
        }
    }
}

/// <summary>Weights of a block.</summary>
internal sealed unsafe class TransformerBlock
{
    public TransformerBlock(GgufFile file, WeightVectors vectors, string prefix, TransformerConfig config, LookupCopies copies)
    {
        var (n, qn, kv, ff) = (config.EmbeddingLength, config.QueryLength, config.HeadCountKv * config.HeadSize, config.FeedForwardLength);
        AttnNorm = vectors.Load(prefix + "attn_norm.weight", n);
        FfnNorm = vectors.Load(prefix + "ffn_norm.weight", n);
        if (config.NormsHeads)
        {
            QNorm = vectors.Load(prefix + "attn_q_norm.weight", config.HeadSize);
            KNorm = vectors.Load(prefix + "attn_k_norm.weight", config.HeadSize);
        }

        if (config.NormsOutputs)
        {
            PostAttentionNorm = vectors.Load(prefix + "post_attention_norm.weight", n);
            PostFeedForwardNorm = vectors.Load(prefix + "post_ffw_norm.weight", n);
        }

        Q = Read("attn_q", qn, n);
        K = Read("attn_k", kv, n);
        V = Read("attn_v", kv, n);
        AttnOutput = Read("attn_output", n, qn);
        Gate = Read("ffn_gate", ff, n);
        Up = Read("ffn_up", ff, n);
        Down = Read("ffn_down", n, ff);

        Projection Read(string name, int rows, int columns)
        {
            var (weight, lookup) = copies.Of(file.Matrix($"{prefix}{name}.weight", rows, columns));
            var norm = $"{prefix}{name}_norm_in.weight";
            return new(weight, lookup, file.Tensors.ContainsKey(norm) ? vectors.Load(norm, columns) : null);
        }
    }

    public float* AttnNorm { get; }
    public float* QNorm { get; }
    public float* KNorm { get; }
    public float* PostAttentionNorm { get; }
    public float* FfnNorm { get; }
    public float* PostFeedForwardNorm { get; }
    public Projection Q { get; }
    public Projection K { get; }
    public Projection V { get; }
    public Projection AttnOutput { get; }
    public Projection Gate { get; }
    public Projection Up { get; }
    public Projection Down { get; }

    /// <summary>A product, its copy for lookup or null, and the norm of its input or null.</summary>
    internal readonly struct Projection(WeightMatrix weight, LookupMatrix? lookup, float* inputNorm)
    {
        public WeightMatrix Weight { get; } = weight;

        public LookupMatrix? Lookup { get; } = lookup;

        public float* InputNorm { get; } = inputNorm;
    }
}
