namespace RyzenLlm.Engine.Decoding;

/// <summary>How the hidden states of a text's tokens become one vector.</summary>
public enum Pooling
{
    /// <summary>Their mean. A BOS counts only where the model file names this pooling: models that were not trained to embed have the same large vector there for every text.</summary>
    Mean,

    /// <summary>That of the last token, which has seen all others: for models that were trained so.</summary>
    Last,
}

/// <summary>Texts to embed.</summary>
public sealed record EmbeddingRequest
{
    /// <summary>The texts. Names of control tokens in them are plain text.</summary>
    public required IReadOnlyList<string> Texts { get; init; }

    /// <summary>How the vectors are made; null takes what the model file names, or else the mean.</summary>
    public Pooling? Pooling { get; init; }
}

/// <summary>Embedded texts.</summary>
/// <param name="Vectors">
/// One vector of <see cref="Models.ModelInfo.EmbeddingLength"/> numbers for each text, in their order: of length 1, or all zeros for a text without tokens.
/// </param>
/// <param name="Tokens">Tokens that were read, BOS and closing tokens included.</param>
public sealed record EmbeddingResult(IReadOnlyList<float[]> Vectors, int Tokens);
