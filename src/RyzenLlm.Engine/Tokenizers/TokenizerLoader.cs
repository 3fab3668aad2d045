namespace RyzenLlm.Engine.Tokenizers;

/// <summary>Makes the tokenizer that a model file describes.</summary>
public static class TokenizerLoader
{
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
}
