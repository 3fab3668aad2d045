namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>Which drafts may guess ahead. The text is the same in every mode.</summary>
public enum SpeculationMode
{
    /// <summary>All that are available, as far as they pay.</summary>
    Auto,

    /// <summary>None: one token per step.</summary>
    Off,

    /// <summary>Repetitions of the text so far.</summary>
    Lookup,

    /// <summary>Successors that the model named earlier.</summary>
    Recycle,

    /// <summary>The draft model.</summary>
    Draft,
}

/// <summary>What speculation did for one generation.</summary>
public sealed record SpeculationReport
{
    /// <summary>Drafts that took part.</summary>
    public IReadOnlyList<string> Drafts { get; init; } = [];

    /// <summary>Guesses that were verified.</summary>
    public int Drafted { get; init; }

    /// <summary>Guesses that the model confirmed.</summary>
    public int Accepted { get; init; }

    /// <summary>Steps that verified guesses.</summary>
    public int VerifySteps { get; init; }

    /// <summary>Steps that generated tokens, those without guesses included.</summary>
    public int Steps { get; init; }

    /// <summary>Tokens per step that verified guesses: the model's own and those accepted; 0 without such steps.</summary>
    public double MeanAcceptedLength => VerifySteps > 0 ? 1 + ((double)Accepted / VerifySteps) : 0;

    /// <summary>Tokens per step of all steps; 0 without steps.</summary>
    public double TokensPerStep { get; init; }

    /// <summary>How many times longer plain steps, as measured in between, would have taken; null before one was measured.</summary>
    public double? SpeedUp { get; init; }
}
