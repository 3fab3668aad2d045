using System.Runtime.InteropServices;
using System.Text.Json;
using RyzenLlm.Engine.Models;
using RyzenLlm.Kernels;

namespace RyzenLlm.Engine.Tests.Models;

/// <summary>A small model with the logits that a float64 reference computed for a prompt.</summary>
internal sealed class Golden
{
    /// <summary>Models generated for this project, kept in test/Fixtures.</summary>
    public static readonly string[] Own =
    [
        "bitnet-b158-i2_s", "bitnet-b158-tq1_0", "bitnet-b158-tq2_0", "bitnet-old-i2_s", "bitnet-old-tq2_0",
        "mamba-f32", "mamba-f16", "mamba-bf16", "mamba-q8_0", "mamba-untied-q4_0", "mamba-kquant-mixed",
        "rwkv4-random", "rwkv6-f32", "rwkv6-q8_0", "rwkv7-f32", "rwkv7-f16", "rwkv7-q8_0",
        "qwen3-f32", "qwen3-i2_s", "gemma3-f32", "gemma3-i2_s", "llama-f16", "llama-i2_s",
    ];

    /// <summary>Trained by others, beside the repository where present.</summary>
    public static readonly string[] Trained = ["rwkv4-tiny-660k-trained", "rwkv5-tiny-730k-trained", "rwkv7-tiny-834k-trained"];

    /// <summary>The models that ship, with what the program that trained them computes from the same files.</summary>
    public static readonly string[] Shipped = ["tales-bitnet", "tales-mamba", "tales-rwkv7"];

    /// <summary>One model of each architecture.</summary>
    public static readonly string[] Architectures =
    [
        "bitnet-b158-tq2_0", "bitnet-old-i2_s", "mamba-f32", "rwkv4-random", "rwkv5-tiny-730k-trained", "rwkv6-q8_0", "rwkv7-f32",
        "qwen3-i2_s", "gemma3-f32", "llama-f16",
    ];

    /// <summary>The same, and those of them that can be seen through a window with windows that end within a few tokens: name, window.</summary>
    public static readonly object[][] WithWindows =
    [
        .. Architectures.Select(name => new object[] { name, 0 }),
        .. Architectures.Where(IsTransformer).Select(name => new object[] { name, 5 }),
    ];

    private Golden(string name, string modelPath, string expectations, JsonElement expected)
    {
        Name = name;
        ModelPath = modelPath;
        Expected = expected;
        PromptIds = Ints("prompt_ids");
        GreedyIds = Ints("greedy_ids");
        Chunks = expected.TryGetProperty("chunks", out _) ? Ints("chunks") : [1, PromptIds.Length / 2, PromptIds.Length - 1 - (PromptIds.Length / 2)];
        Logits = MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(Path.Combine(expectations, expected.GetProperty("logits_file").GetString()!))).ToArray();
        VocabularySize = expected.GetProperty("n_vocab").GetInt32();
        Tolerance = expected.GetProperty("suggested_max_abs_tolerance").GetDouble();
    }

    public string Name { get; }

    public string ModelPath { get; }

    public JsonElement Expected { get; }

    public int[] PromptIds { get; }

    public int[] GreedyIds { get; }

    public int[] Chunks { get; }

    public int VocabularySize { get; }

    public double Tolerance { get; }

    /// <summary>[prompt position][vocabulary].</summary>
    public float[] Logits { get; }

    /// <summary>Whether it keeps keys and values.</summary>
    public static bool IsTransformer(string name) => !name.StartsWith("rwkv", StringComparison.Ordinal) && !name.StartsWith("mamba", StringComparison.Ordinal);

    /// <summary>Reads the expectations, or skips the test where a trained model is absent.</summary>
    public static Golden Open(string name)
    {
        if (Shipped.Contains(name))
        {
            return Read(Fixtures.File("../../models/" + name + "/model.gguf"), Fixtures.File("tales"));
        }

        var folder = Trained.Contains(name) ? SharedFiles.Path("golden") : Fixtures.File("golden");
        var gguf = Path.Combine(folder, "models", name + ".gguf");
        return Read(File.Exists(gguf) ? gguf : Path.Combine(folder, "models", name), Path.Combine(folder, "expected"));

        Golden Read(string model, string expectations) =>
            new(name, model, expectations, JsonDocument.Parse(File.ReadAllText(Path.Combine(expectations, name + ".json"))).RootElement);
    }

    /// <summary>Loads the model, by default with an exact cache.</summary>
    public LanguageModel Load(string kernels = "auto", int threads = 1, KvType kvType = KvType.F32, int window = 0, int sinks = 2) =>
        ModelLoader.Load(ModelPath, new LoadOptions { Kernels = kernels, Threads = threads, KvType = kvType, Window = window, Sinks = sinks });

    /// <summary>Largest difference allowed at a position: where an int8 rounding may flip, the loose bound of the expectations holds.</summary>
    public double ToleranceAt(int position) =>
        Expected.TryGetProperty("strict_positions", out var strict) && position >= strict.GetInt32()
            ? Expected.GetProperty("loose_max_abs_tolerance").GetDouble()
            : Tolerance;

    /// <summary>
    /// Smallest cosine allowed at a position. Beyond the strict positions it follows from the reference itself, computed with float noise: an int8
    /// rounding that flips moves the logits, whoever computes them.
    /// </summary>
    public double CosineAt(int position) =>
        Expected.TryGetProperty("strict_positions", out var strict) && position >= strict.GetInt32()
            ? Math.Min(0.99999, 1 - (2 * (1 - Expected.GetProperty("ensemble_of_float_noise").GetProperty("min_cosine").GetDouble())))
            : 0.99999;

    /// <summary>Greedy tokens that every computation of the reference agrees on.</summary>
    public int[] CertainGreedyIds =>
        Expected.TryGetProperty("ensemble_of_float_noise", out var ensemble) && ensemble.TryGetProperty("greedy_prefix_common_to_all", out var common)
            ? GreedyIds[..common.GetInt32()]
            : GreedyIds;

    public ReadOnlySpan<float> LogitsAt(int position) => Logits.AsSpan(position * VocabularySize, VocabularySize);

    private int[] Ints(string key) => [.. Expected.GetProperty(key).EnumerateArray().Select(e => e.GetInt32())];
}
