namespace RyzenLlm.Engine.Sampling;

/// <summary>How the next token is chosen. Every field has a neutral value that turns its part off.</summary>
/// <remarks>
/// Order of application: logit bias, penalties, top-k, typical-p, top-p, min-p, temperature, draw. The filters judge the model's own
/// probabilities, so a high temperature flattens the choice among sensible tokens instead of letting senseless ones in.
/// </remarks>
public sealed record SamplingOptions
{
    /// <summary>Divides the logits before the draw; 0 takes the most probable token, ties going to the lowest id. 0 to 10.</summary>
    public float Temperature { get; init; } = 0.8f;

    /// <summary>Keeps the k most probable tokens; 0 keeps all.</summary>
    public int TopK { get; init; } = 40;

    /// <summary>Keeps the fewest most probable tokens whose mass reaches p (Holtzman et al. 2020); 1 keeps all.</summary>
    public float TopP { get; init; } = 0.95f;

    /// <summary>Drops tokens less probable than this share of the most probable one (Nguyen et al. 2024); 0 keeps all.</summary>
    public float MinP { get; init; } = 0.05f;

    /// <summary>Keeps the mass p of tokens whose surprise lies nearest to the entropy (Meister et al. 2023); 1 keeps all.</summary>
    public float TypicalP { get; init; } = 1;

    /// <summary>Divides positive and multiplies negative logits of tokens seen in the window (Keskar et al. 2019); 1 is neutral.</summary>
    public float RepetitionPenalty { get; init; } = 1;

    /// <summary>Subtracted once for every occurrence in the window; -2 to 2, 0 is neutral.</summary>
    public float FrequencyPenalty { get; init; }

    /// <summary>Subtracted once if the token occurs in the window; -2 to 2, 0 is neutral.</summary>
    public float PresencePenalty { get; init; }

    /// <summary>Latest tokens, prompt included, that the penalties look at; 0 means all of them.</summary>
    public int PenaltyWindow { get; init; } = 64;

    /// <summary>Added to the logits of single tokens; negative infinity forbids a token.</summary>
    public IReadOnlyDictionary<int, float> LogitBias { get; init; } = new Dictionary<int, float>();

    /// <summary>Names the noise: the same seed, prompt and options give the same text.</summary>
    public ulong Seed { get; init; }

    /// <summary>Always the most probable token.</summary>
    public static SamplingOptions Greedy { get; } = new() { Temperature = 0 };

    /// <summary>Checks every field against its range.</summary>
    /// <exception cref="ArgumentException">A field is out of range; the message names it, its value and the range.</exception>
    public void Validate()
    {
        Check(Temperature is >= 0 and <= 10, "temperature", Temperature, "between 0 (always the most probable token) and 10");
        Check(TopK >= 0, "top_k", TopK, "0 (off) or more");
        Check(TopP is > 0 and <= 1, "top_p", TopP, "above 0 and at most 1 (off)");
        Check(MinP is >= 0 and < 1, "min_p", MinP, "at least 0 (off) and below 1");
        Check(TypicalP is > 0 and <= 1, "typical_p", TypicalP, "above 0 and at most 1 (off)");
        Check(RepetitionPenalty is > 0 and <= 10, "repetition_penalty", RepetitionPenalty, "above 0 and at most 10; 1 is off");
        Check(FrequencyPenalty is >= -2 and <= 2, "frequency_penalty", FrequencyPenalty, "between -2 and 2; 0 is off");
        Check(PresencePenalty is >= -2 and <= 2, "presence_penalty", PresencePenalty, "between -2 and 2; 0 is off");
        Check(PenaltyWindow >= 0, "penalty_window", PenaltyWindow, "0 (the whole text) or more tokens");
        foreach (var (token, bias) in LogitBias)
        {
            Check(!float.IsNaN(bias) && !float.IsPositiveInfinity(bias), $"logit_bias[{token}]", bias, "a number, or -Infinity to forbid the token");
        }
    }

    private static void Check(bool holds, string name, IFormattable value, string range)
    {
        if (!holds)
        {
            throw new ArgumentException($"{name} is {value.ToString(null, null)} but must be {range}.");
        }
    }
}
