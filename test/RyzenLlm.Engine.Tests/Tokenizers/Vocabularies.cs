using System.Collections.Concurrent;
using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Tests.Tokenizers;

/// <summary>Tokenizers that the tests use, each loaded once.</summary>
internal static class Vocabularies
{
    /// <summary>Small models of test/Fixtures, one per kind of tokenizer.</summary>
    public static readonly string[] Small = ["bitnet-b158-i2_s", "mamba-f32", "rwkv7-f32"];

    /// <summary>Published vocabularies, one per kind of tokenizer.</summary>
    public static readonly string[] Published = ["llama3-bpe", "gpt-neox", "llama-spm", "rwkv-world"];

    private static readonly ConcurrentDictionary<string, ITokenizer> Loaded = new();

    /// <summary>The tokenizer of a small model or a published vocabulary.</summary>
    public static ITokenizer Get(string name) => Loaded.GetOrAdd(PathOf(name), Load);

    /// <summary>Path of the file of a small model or a published vocabulary.</summary>
    public static string PathOf(string name) => Published.Contains(name)
        ? SharedFiles.Path($"golden/tokenizers/{name}.vocab.gguf")
        : Fixtures.File($"golden/models/{name}.gguf");

    /// <summary>A vocabulary of the 256 bytes, with further tokens and merges.</summary>
    public static TokenizerVocabulary Bytes(string[] tokens, string[] merges, int[]? types = null, string? pre = "gpt-2")
    {
        string[] all = [.. Enumerable.Range(0, 256).Select(value => Printable((byte)value)), .. tokens];
        return new TokenizerVocabulary
        {
            Model = "gpt2",
            Pre = pre,
            Tokens = ByteStrings.From(all),
            Types = [.. Enumerable.Repeat((int)TokenType.Normal, 256), .. types ?? [.. tokens.Select(_ => (int)TokenType.Normal)]],
            Merges = ByteStrings.From(merges),
        };
    }

    private static ITokenizer Load(string path)
    {
        using var file = GgufFile.Open(path);
        return TokenizerLoader.From(file);
    }

    private static string Printable(byte value)
    {
        var moved = Enumerable.Range(0, 256).Where(v => v is <= 32 or (>= 127 and <= 160) or 173).ToList();
        var index = moved.IndexOf(value);
        return ((char)(index < 0 ? value : 256 + index)).ToString();
    }
}
