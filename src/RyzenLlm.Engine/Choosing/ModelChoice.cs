using RyzenLlm.Engine.Profiles;

namespace RyzenLlm.Engine.Choosing;

/// <summary>What a model is wanted for.</summary>
public sealed record ChoiceRequest
{
    /// <summary>Length of the prompt in bytes of UTF-8; each vocabulary makes its own number of tokens of it.</summary>
    public long PromptBytes { get; init; }

    /// <summary>Tokens of the answer.</summary>
    public int AnswerTokens { get; init; } = 256;

    /// <summary>Tokens of context needed at least, beside what prompt and answer take.</summary>
    public int ContextTokens { get; init; }

    /// <summary>Time after which an answer is worth half of what it would be at once.</summary>
    public double LatencySeconds { get; init; } = 20;

    /// <summary>Bits per byte that the model may need at most; null for any.</summary>
    public double? MostBitsPerByte { get; init; }

    /// <summary>Memory that is left for model and state, in bytes; null for no limit.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>Whether the answer must be JSON.</summary>
    public bool Json { get; init; }

    /// <summary>Fingerprint of the vocabulary that it must have to draft for another model; null for any.</summary>
    public string? Vocabulary { get; init; }
}

/// <summary>A model that may be chosen.</summary>
/// <param name="Profile">What was measured.</param>
/// <param name="Loaded">Whether it is in memory already.</param>
/// <param name="Preference">What feedback says about it for this kind of task, in units of log odds; 0 for nothing.</param>
public sealed record Candidate(ModelProfile Profile, bool Loaded = false, double Preference = 0);

/// <summary>What is expected of a model for a request.</summary>
/// <param name="Model">Its name.</param>
/// <param name="Seconds">Time from the request to the last token, loading included where needed.</param>
/// <param name="PromptTokens">Tokens that its vocabulary makes of the prompt.</param>
/// <param name="BitsPerByte">Measured.</param>
/// <param name="Quality">0 to 1: probability of the next byte of the sample text (2^-bits), shifted by feedback.</param>
/// <param name="MemoryBytes">What it takes beside what is taken already.</param>
/// <param name="Worth">Quality times timeliness: what the choice maximises.</param>
public sealed record Expectation(string Model, double Seconds, int PromptTokens, double BitsPerByte, double Quality, long MemoryBytes, double Worth);

/// <summary>A model that cannot serve the request.</summary>
/// <param name="Model">Its name.</param>
/// <param name="Why">The numbers.</param>
public sealed record RuledOut(string Model, string Why);

/// <summary>A choice.</summary>
/// <param name="Chosen">The best; null if none can serve the request.</param>
/// <param name="Front">Models that no other beats in time, quality and memory at once, the best first.</param>
/// <param name="RuledOut">Models that cannot serve the request.</param>
/// <param name="Reason">One sentence with the numbers.</param>
public sealed record ModelChoice(Expectation? Chosen, IReadOnlyList<Expectation> Front, IReadOnlyList<RuledOut> RuledOut, string Reason);
