using RyzenLlm.Engine.Files;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>What a token is for; the values of <c>tokenizer.ggml.token_type</c> in GGUF.</summary>
internal enum TokenType
{
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// <summary>The <c>tokenizer.ggml.*</c> keys of a GGUF file as they stand there, checked for what every tokenizer relies on.</summary>
internal sealed record TokenizerVocabulary
{
    /// <summary>Most tokens that a vocabulary may have; the largest published ones have under 300,000.</summary>
    private const int MostTokens = 1 << 24;

    /// <summary>Path of the file, for messages.</summary>
    public string Source { get; init; } = "vocabulary";

    /// <summary><c>general.architecture</c>.</summary>
    public string Architecture { get; init; } = "";

    /// <summary><c>model</c>: gpt2, llama or rwkv.</summary>
    public required string Model { get; init; }

    /// <summary><c>pre</c>: the pre-tokeniser of a gpt2 model, or null.</summary>
    public string? Pre { get; init; }

    /// <summary><c>tokens</c>: as written in the file; the index is the id.</summary>
    public required ByteStrings Tokens { get; init; }

    /// <summary><c>token_type</c>: one per token, or empty if all are normal.</summary>
    public int[] Types { get; init; } = [];

    /// <summary><c>merges</c>: "left right", the first being applied first.</summary>
    public ByteStrings Merges { get; init; } = new();

    /// <summary><c>scores</c>: one per token, or empty.</summary>
    public float[] Scores { get; init; } = [];

    /// <summary><c>bos_token_id</c>.</summary>
    public int? BosId { get; init; }

    /// <summary><c>eos_token_id</c>.</summary>
    public int? EosId { get; init; }

    /// <summary><c>eot_token_id</c>.</summary>
    public int? EotId { get; init; }

    /// <summary><c>unknown_token_id</c>.</summary>
    public int? UnknownId { get; init; }

    /// <summary><c>add_bos_token</c>, or null for what is usual for the model.</summary>
    public bool? AddBos { get; init; }

    /// <summary><c>add_space_prefix</c>, or null for what is usual for the model.</summary>
    public bool? AddSpacePrefix { get; init; }

    /// <summary>Type of token <paramref name="id"/>.</summary>
    public TokenType Type(int id) => Types.Length == 0 ? TokenType.Normal : (TokenType)Types[id];

    /// <summary>An error about this vocabulary.</summary>
    public ModelFormatException Error(string expected, string found) => new(Source, null, null, expected, found);

    /// <summary>Throws unless counts and ids fit together.</summary>
    public void Check()
    {
        if (Tokens.Count is 0 or > MostTokens)
        {
            throw Error($"1 to {MostTokens} strings under tokenizer.ggml.tokens", $"{Tokens.Count}");
        }

        CheckCount("tokenizer.ggml.token_type", Types.Length);
        CheckCount("tokenizer.ggml.scores", Scores.Length);
        var wrong = Types.AsSpan().IndexOfAnyExceptInRange((int)TokenType.Normal, (int)TokenType.Byte);
        if (wrong >= 0)
        {
            throw Error($"a token type from 1 to 6 at tokenizer.ggml.token_type[{wrong}]", $"{Types[wrong]}");
        }

        CheckId("bos_token_id", BosId);
        CheckId("eos_token_id", EosId);
        CheckId("eot_token_id", EotId);
        CheckId("unknown_token_id", UnknownId);
    }

    private void CheckCount(string key, int count)
    {
        if (count != 0 && count != Tokens.Count)
        {
            throw Error($"{Tokens.Count} values under {key}, one per token", $"{count}");
        }
    }

    private void CheckId(string key, int? id)
    {
        if (id is { } value && (uint)value >= (uint)Tokens.Count)
        {
            throw Error($"an id below the vocabulary size {Tokens.Count} under tokenizer.ggml.{key}", $"{value}");
        }
    }
}
