using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Telemetry;
using RyzenLlm.Engine.Tokenizers;
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

    /// <summary>Activations of products with Q8_0 or Q4_0 weights; exact for logits that are compared with a reference.</summary>
    public Precision Precision { get; init; } = Precision.Exact;

    /// <summary>How the largest logits are found where not all are wanted; the logits are the same.</summary>
    public HeadProduct Head { get; init; } = HeadProduct.Auto;

    /// <summary>Where ternary weights are read from; the results are the same.</summary>
    public TernaryLayout Ternary { get; init; } = TernaryLayout.Auto;

    /// <summary>
    /// Latest tokens that attention sees in sequences longer than that and the sinks, so that transformers go on beyond their context in constant memory
    /// (Xiao et al. 2023, StreamingLLM); at most what the trained length leaves beside the sinks. 0: all tokens, until the context is full.
    /// </summary>
    public int Window { get; init; }

    /// <summary>First tokens of a sequence that stay in sight beside the window: softmax puts there what it has no use for.</summary>
    public int Sinks { get; init; } = 4;
}

/// <summary>Layouts of ternary weights.</summary>
public enum TernaryLayout
{
    /// <summary>A copy at 1.78 bits, multiplied by table lookup, where the processor has AVX-512 (see <see cref="LookupMatrix"/>); otherwise in place.</summary>
    Auto,

    /// <summary>Where they lie in the file, 2 bits each: nothing to copy at load, pages shared with other processes.</summary>
    InPlace,
}

/// <summary>How an output head is multiplied where only the largest logits are wanted.</summary>
public enum HeadProduct
{
    /// <summary>In two stages if the head is larger than the caches and of a format for which that saves bytes.</summary>
    Auto,

    /// <summary>All logits in full.</summary>
    Full,

    /// <summary>In two stages whatever the size (see <see cref="TwoStageHead"/>), if the format allows.</summary>
    TwoStage,

    /// <summary>The largest by an estimate (see <see cref="CandidateHead"/>), if the shape allows: some of the largest may be missed.</summary>
    Candidates,

    /// <summary>As <see cref="Candidates"/> for heads that take longer to read than candidates to find; all logits of smaller ones.</summary>
    Draft,
}

/// <summary>Opens model files and builds the network that their architecture names.</summary>
public static class ModelLoader
{
    internal const string SafetensorsExtension = ".safetensors";

    private static readonly Dictionary<string, Func<GgufFile, ModelParts, LanguageModel>> Architectures = new()
    {
        ["bitnet-b1.58"] = (file, parts) => new BitNet(file, parts),
        ["bitnet-25"] = (file, parts) => new BitNet(file, parts),
        ["bitnet"] = (file, parts) => new BitNet(file, parts),
        ["gemma3"] = (file, parts) => new Transformer(file, parts),
        ["llama"] = (file, parts) => new Transformer(file, parts),
        ["mamba"] = (file, parts) => new Mamba(file, parts),
        ["qwen3"] = (file, parts) => new Transformer(file, parts),
        ["rwkv6"] = (file, parts) => new Rwkv6(file, parts),
        ["rwkv7"] = (file, parts) => new Rwkv7(file, parts),
    };

    /// <summary>GGUF architecture names that can be run. Folders with safetensors are RWKV-4 or RWKV-5.</summary>
    public static IReadOnlyCollection<string> Supported => Architectures.Keys;

    /// <summary>
    /// Loads a GGUF file, or a folder with model.safetensors and config.json (RWKV-4, RWKV-5). Weights are mapped, not read:
    /// memory fills as they are used.
    /// </summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="ModelFormatException">The file is damaged, or its architecture, shapes or types are not supported.</exception>
    /// <exception cref="ArgumentException">The kernel path is not available or the number of threads is negative.</exception>
    public static LanguageModel Load(string path, LoadOptions? options = null)
    {
        options ??= new();
        ArgumentOutOfRangeException.ThrowIfNegative(options.Threads, nameof(options));
        ArgumentOutOfRangeException.ThrowIfNegative(options.Window, nameof(options));
        ArgumentOutOfRangeException.ThrowIfNegative(options.Sinks, nameof(options));
        var kernels = KernelSet.Select(options.Kernels);
        return Load(path, options, () => new(kernels, options.Threads == 0 ? Environment.ProcessorCount : options.Threads));
    }

    /// <summary>
    /// Loads a model that drafts for another one, whose threads it works on: between the passes of that one, on the thread that makes them, and no longer
    /// than that one exists. Its guesses need no exactness, so its activations are rounded and its logits are those of candidates.
    /// </summary>
    /// <param name="path">As for <see cref="Load(string, LoadOptions)"/>, which names the errors too.</param>
    /// <param name="target">The model drafted for.</param>
    /// <param name="options">How to run it; threads, kernels and precision are decided here, and the head where it is <see cref="HeadProduct.Auto"/>.</param>
    public static LanguageModel LoadDraft(string path, LanguageModel target, LoadOptions? options = null)
    {
        options ??= new();
        options = options with { Precision = Precision.Coarse, Head = options.Head == HeadProduct.Auto ? HeadProduct.Draft : options.Head };
        return Load(path, options, () => new(target.Ops.Kernels, target.Ops.Team));
    }

    /// <summary>Whether an architecture keeps a state of constant size; false for those not known here.</summary>
    internal static bool IsRecurrent(string architecture) =>
        architecture.StartsWith("rwkv", StringComparison.Ordinal) || architecture.StartsWith("mamba", StringComparison.Ordinal);

    /// <summary>The file that holds the weights: the path itself, or model.safetensors or model.gguf in that folder.</summary>
    internal static string WeightsOf(string path)
    {
        if (!Directory.Exists(path))
        {
            return path;
        }

        string[] names = ["model.safetensors", "model.gguf"];
        return names.Select(name => Path.Combine(path, name)).FirstOrDefault(File.Exists)
            ?? throw new ModelFormatException(path, null, null, $"a folder with {string.Join(" or ", names)}", "neither of them");
    }

    /// <summary>The config.json beside a safetensors file, or null.</summary>
    internal static ConfigFile? ConfigOf(SafetensorsFile file)
    {
        var path = Path.Combine(Path.GetDirectoryName(file.Path) ?? "", "config.json");
        return File.Exists(path) ? ConfigFile.Read(path) : null;
    }

    private static LanguageModel Load(string path, LoadOptions options, Func<Ops> ops)
    {
        var weights = WeightsOf(path);
        return Instruments.Loading(weights, () => weights.EndsWith(SafetensorsExtension, StringComparison.OrdinalIgnoreCase)
            ? LoadSafetensors(weights, options, ops)
            : LoadGguf(weights, options, ops));
    }

    private static LanguageModel LoadGguf(string path, LoadOptions options, Func<Ops> newOps) => Keep(GgufFile.Open(path), file =>
    {
        if (!Architectures.TryGetValue(file.Architecture, out var create))
        {
            throw new ModelFormatException(
                path, null, null, $"one of the architectures {string.Join(", ", Supported)}", ModelFormatException.Quote(file.Architecture));
        }

        var info = ModelMetadata.Of(file).Info with
        {
            // Here a missing size is an error, and these ask for it by name.
            ContextLength = file.Size(file.Architecture + ".context_length"),
            EmbeddingLength = file.Size(file.Architecture + ".embedding_length"),
            BlockCount = file.Size(file.Architecture + ".block_count"),
            VocabularySize = file.Dimension("token_embd.weight", 1),
        };
        info = WithWindow(file, info, options);
        var tokenizer = VocabularyOf(file, info);
        return Keep(OpsFor(newOps, options), ops => create(file, new(info, tokenizer, file, ops, options)));
    });

    private static LanguageModel LoadSafetensors(string path, LoadOptions options, Func<Ops> newOps) => Keep(SafetensorsFile.Open(path), file =>
    {
        var config = ConfigOf(file);
        var info = ModelMetadata.Of(file, config).Info;
        return Keep<Ops, LanguageModel>(OpsFor(newOps, options), ops =>
        {
            var parts = new ModelParts(info, Tokenizer: null, file, ops, options);
            return info.Architecture == "rwkv5"
                ? new Rwkv5(file, parts)
                : new Rwkv4(file, config ?? throw new ModelFormatException(path, null, null, "a config.json beside it", "none"), parts);
        });
    });

    private static ModelInfo WithWindow(GgufFile file, ModelInfo info, LoadOptions options)
    {
        if (info.IsRecurrent || options.Window == 0)
        {
            return info;
        }

        var most = RotaryEmbedding.UnstretchedLength(file, info.ContextLength) - options.Sinks;
        return most > 0
            ? info with { Window = Math.Min(options.Window, most), Sinks = options.Sinks }
            : throw new ArgumentException($"{options.Sinks} sinks leave no window within the {most + options.Sinks} tokens that {info.Name} was trained on: lower Engine:Sinks.");
    }

    private static ITokenizer? VocabularyOf(GgufFile file, ModelInfo info)
    {
        if (!file.Metadata.ContainsKey("tokenizer.ggml.model"))
        {
            return null;
        }

        var tokenizer = TokenizerLoader.From(file);
        return tokenizer.VocabularySize <= info.VocabularySize
            ? tokenizer
            : throw new ModelFormatException(
                file.Path, "token_embd.weight", null, $"a row for each of the {tokenizer.VocabularySize} tokens of the vocabulary", $"{info.VocabularySize} rows");
    }

    private static Ops OpsFor(Func<Ops> newOps, LoadOptions options)
    {
        var ops = newOps();
        ops.Precision = options.Precision;
        return ops;
    }

    // What the model takes over is disposed of here if there is no model in the end.
    private static TResult Keep<T, TResult>(T part, Func<T, TResult> use)
        where T : IDisposable
    {
        try
        {
            return use(part);
        }
        catch
        {
            part.Dispose();
            throw;
        }
    }
}
