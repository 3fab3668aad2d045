using RyzenLlm.Engine.Files;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>Makes the tokenizer that a model file describes.</summary>
public static class TokenizerLoader
{
    private const string Prefix = "tokenizer.ggml.";

    /// <summary>The tokenizer under the <c>tokenizer.ggml.*</c> keys; the file may be closed afterwards.</summary>
    /// <exception cref="ModelFormatException">
    /// The file has no tokenizer, one of an unknown model or pre-tokeniser, or keys that contradict each other.
    /// </exception>
    public static ITokenizer From(GgufFile file) => From(new TokenizerVocabulary
    {
        Source = file.Path,
        Architecture = file.Architecture,
        Model = file.GetString(Prefix + "model"),
        Pre = file.TryGetString(Prefix + "pre", out var pre) ? pre : null,
        Tokens = Strings(file.GetStrings(Prefix + "tokens")),
        Types = file.TryGetInt32s(Prefix + "token_type", out var types) ? types : [],
        Merges = file.TryGetStrings(Prefix + "merges", out var merges) ? Strings(merges) : new ByteStrings(),
        Scores = file.TryGetFloat32s(Prefix + "scores", out var scores) ? scores : [],
        BosId = Id(file, "bos_token_id"),
        EosId = Id(file, "eos_token_id"),
        EotId = Id(file, "eot_token_id"),
        UnknownId = Id(file, "unknown_token_id"),
        AddBos = Flag(file, "add_bos_token"),
        AddSpacePrefix = Flag(file, "add_space_prefix"),
    });

    /// <summary>The tokenizer of a vocabulary.</summary>
    internal static ITokenizer From(TokenizerVocabulary vocabulary)
    {
        vocabulary.Check();
        return vocabulary.Model switch
        {
            "gpt2" => new BytePairTokenizer(vocabulary),
            "llama" => new SentencePieceTokenizer(vocabulary),
            "rwkv" => new RwkvTokenizer(vocabulary),
            var other => throw vocabulary.Error("tokenizer.ggml.model to be one of gpt2, llama, rwkv", $"'{other}'"),
        };
    }

    private static int? Id(GgufFile file, string key) => file.TryGetInt32(Prefix + key, out var id) ? id : null;

    private static bool? Flag(GgufFile file, string key) => file.TryGetBool(Prefix + key, out var flag) ? flag : null;

    private static ByteStrings Strings(GgufStringArray texts)
    {
        var strings = new ByteStrings(texts.Count);
        for (var i = 0; i < texts.Count; i++)
        {
            strings.Add(texts.Bytes(i));
        }

        return strings;
    }
}
