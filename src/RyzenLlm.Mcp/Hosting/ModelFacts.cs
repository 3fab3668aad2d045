using RyzenLlm.Engine.Files;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>What a model file says about itself, read without its weights.</summary>
/// <param name="Architecture">GGUF architecture name.</param>
/// <param name="Parameters">Weights in all tensors.</param>
/// <param name="ContextLength">Tokens it was trained on at once, if the file says.</param>
/// <param name="EmbeddingLength">Width, if the file says.</param>
/// <param name="BlockCount">Blocks, if the file says.</param>
/// <param name="VocabularySize">Tokens in its vocabulary; 0 without one.</param>
internal sealed record ModelFacts(string Architecture, long Parameters, int? ContextLength, int? EmbeddingLength, int? BlockCount, long VocabularySize)
{
    /// <exception cref="ModelFormatException">The file is no readable model.</exception>
    public static ModelFacts Read(ModelEntry entry)
    {
        if (Directory.Exists(entry.Path))
        {
            return new("safetensors", 0, null, null, null, 0);
        }

        using var file = GgufFile.Open(entry.Path);
        return new(
            file.Architecture,
            file.Tensors.Values.Sum(t => t.Elements),
            Number("context_length"),
            Number("embedding_length"),
            Number("block_count"),
            file.TryGetStrings("tokenizer.ggml.tokens", out var tokens) ? tokens.Count : 0);

        int? Number(string key) => file.TryGetInt32($"{file.Architecture}.{key}", out var value) ? value : null;
    }

    /// <summary>The facts, or why there are none.</summary>
    public static (ModelFacts? Facts, string? Problem) TryRead(ModelEntry entry)
    {
        try
        {
            return (Read(entry), null);
        }
        catch (Exception e) when (Failures.Describe(e) is { } problem)
        {
            return (null, problem);
        }
    }
}
