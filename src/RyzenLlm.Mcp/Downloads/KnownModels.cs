namespace RyzenLlm.Mcp.Downloads;

/// <summary>A published model that this engine is made for.</summary>
/// <param name="Name">Short name for <c>models pull</c>.</param>
/// <param name="Repository">Repository on the model hub, owner/name.</param>
/// <param name="FilePattern">File in it; * stands for anything. Must match exactly one file (letter case does not matter).</param>
/// <param name="ApproximateBytes">Size, for the list; the hub states the exact one.</param>
/// <param name="Licence">Licence as its publisher states it.</param>
/// <param name="Summary">One line on what it is good for.</param>
public sealed record KnownModel(string Name, string Repository, string FilePattern, long ApproximateBytes, string Licence, string Summary);

/// <summary>The built-in list. Exact size and SHA-256 are asked of the hub at download time, so a republished file does not break a release.</summary>
public static class KnownModels
{
    private const long Megabyte = 1_000_000;

    /// <summary>All entries, by architecture and size.</summary>
    public static IReadOnlyList<KnownModel> All { get; } =
    [
        new("bitnet-2b-4t", "microsoft/bitnet-b1.58-2B-4T-gguf", "ggml-model-i2_s.gguf", 1_188 * Megabyte, "MIT", "BitNet b1.58 2B4T, chat: the best answers of this list"),
        new("bitnet-embedding-0.6b", "microsoft/bitnet-embedding-0.6b", "*0.6b*i2_s.gguf", 430 * Megabyte, "MIT", "BitNet embedding 0.6B (Qwen3): vectors for Memory:Embedder, 1024 numbers"),
        new("bitnet-embedding-270m", "microsoft/bitnet-embedding-270m", "*270m*i2_s.gguf", 370 * Megabyte, "MIT", "BitNet embedding 270M (Gemma 3): vectors for Memory:Embedder, 640 numbers"),
        new("falcon3-1b-1.58", "tiiuae/Falcon3-1B-Instruct-1.58bit-GGUF", "ggml-model-i2_s.gguf", 1_360 * Megabyte, "Falcon LLM licence", "Falcon3 1B at 1.58 bits, chat"),
        new("falcon3-3b-1.58", "tiiuae/Falcon3-3B-Instruct-1.58bit-GGUF", "ggml-model-i2_s.gguf", 2_220 * Megabyte, "Falcon LLM licence", "Falcon3 3B at 1.58 bits, chat"),
        new("falcon3-7b-1.58", "tiiuae/Falcon3-7B-Instruct-1.58bit-GGUF", "ggml-model-i2_s.gguf", 3_280 * Megabyte, "Falcon LLM licence", "Falcon3 7B at 1.58 bits, chat"),
        new("mamba-130m", "devingulliver/mamba-gguf", "*mamba-130m*q8_0*.gguf", 140 * Megabyte, "Apache-2.0", "Mamba 130M, completion: a fast draft"),
        new("mamba-370m", "devingulliver/mamba-gguf", "*mamba-370m*q8_0*.gguf", 400 * Megabyte, "Apache-2.0", "Mamba 370M, completion"),
        new("mamba-790m", "devingulliver/mamba-gguf", "*mamba-790m*q8_0*.gguf", 850 * Megabyte, "Apache-2.0", "Mamba 790M, completion"),
        new("mamba-1.4b", "devingulliver/mamba-gguf", "*mamba-1.4b*q8_0*.gguf", 1_470 * Megabyte, "Apache-2.0", "Mamba 1.4B, completion"),
        new("mamba-2.8b", "devingulliver/mamba-gguf", "*mamba-2.8b*q8_0*.gguf", 2_950 * Megabyte, "Apache-2.0", "Mamba 2.8B, completion"),
        new("rwkv7-0.1b", "Mungert/rwkv7-191M-world-GGUF", "*q8_0.gguf", 205 * Megabyte, "Apache-2.0", "RWKV-7 World 0.1B: long texts at constant memory"),
        new("rwkv7-0.4b", "Mungert/rwkv7-0.4B-world-GGUF", "*q8_0.gguf", 485 * Megabyte, "Apache-2.0", "RWKV-7 World 0.4B"),
        new("rwkv7-1.5b", "Mungert/rwkv7-1.5B-world-GGUF", "*q8_0.gguf", 1_630 * Megabyte, "Apache-2.0", "RWKV-7 World 1.5B"),
        new("rwkv7-2.9b", "Mungert/RWKV7-Goose-World3-2.9B-HF-GGUF", "*q8_0.gguf", 3_150 * Megabyte, "Apache-2.0", "RWKV-7 World 2.9B"),
    ];

    /// <summary>The entry of that name, or null.</summary>
    public static KnownModel? Find(string name) => All.FirstOrDefault(m => m.Name.Equals(name, StringComparison.OrdinalIgnoreCase));
}
