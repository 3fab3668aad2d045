namespace RyzenLlm.Memory.Ranking;

/// <summary>
/// Weights of the ranker. The defaults were chosen on long conversations (see docs/memory-evaluation.md); setting one
/// to zero switches its part off.
/// </summary>
public sealed record RankingOptions
{
    /// <summary>Plain BM25 with the usual constants and nothing else, to compare with.</summary>
    public static RankingOptions Bm25 { get; } = new()
    {
        K1 = 1.2f,
        B = 0.75f,
        Near1 = 0,
        Near2 = 0,
        Answer = 0,
        Question = 0,
        Session = 0,
        Speaker = 0,
        Dense = 0,
        ContextTier = 1,
    };

    /// <summary>BM25 term saturation.</summary>
    public float K1 { get; init; } = 0.9f;

    /// <summary>BM25 length normalisation, 0 to 1.</summary>
    public float B { get; init; } = 0.2f;

    /// <summary>Share of its score that a unit lends to the units right before and after it in the session.</summary>
    public float Near1 { get; init; } = 0.3f;

    /// <summary>The same for units two steps away.</summary>
    public float Near2 { get; init; } = 0.25f;

    /// <summary>What a question lends, beyond <see cref="Near1"/>, to the unit after it, which most likely answers it.</summary>
    public float Answer { get; init; } = 0.5f;

    /// <summary>Share of its own score that a question loses: it asks for a fact and rarely holds it.</summary>
    public float Question { get; init; } = 0.3f;

    /// <summary>Weight of the BM25 score of the whole session.</summary>
    public float Session { get; init; } = 0.7f;

    /// <summary>Bonus for units of a speaker whom the query names, in standard deviations of the sparse score.</summary>
    public float Speaker { get; init; } = 1f;

    /// <summary>Weight of the terms added by relevance feedback (RM3, Lavrenko and Croft 2001) against the query's own, 0 to 1.</summary>
    public float Feedback { get; init; }

    /// <summary>Units taken as relevant by the feedback.</summary>
    public int FeedbackUnits { get; init; } = 5;

    /// <summary>Terms added by the feedback.</summary>
    public int FeedbackTerms { get; init; } = 20;

    /// <summary>
    /// Weight of the dense z-score against the sparse one. The built-in embedder earns 0.1; a trained one 0.2 to 0.3.
    /// </summary>
    public float Dense { get; init; } = 0.1f;

    /// <summary>Share of its own score that a unit of the lowest tier keeps.</summary>
    public float ContextTier { get; init; } = 0.5f;
}
