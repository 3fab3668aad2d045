namespace RyzenLlm.Engine.Profiles;

/// <summary>A measured point of a curve.</summary>
/// <param name="Tokens">Length of the prompt, or position of the decoded token.</param>
/// <param name="Seconds">Time of the whole prompt, or of that one token.</param>
public sealed record ProfilePoint(int Tokens, double Seconds);

/// <summary>What a model was measured to take and to give on one machine.</summary>
public sealed record ModelProfile
{
    /// <summary>Name to choose it by.</summary>
    public required string Model { get; init; }

    /// <summary>GGUF architecture name.</summary>
    public required string Architecture { get; init; }

    /// <summary>True where the state has constant size and the context no end.</summary>
    public bool IsRecurrent { get; init; }

    /// <summary>Tokens of prompt and answer together, where the model is not recurrent.</summary>
    public int ContextLength { get; init; }

    /// <summary>Fingerprint of the vocabulary; null for a file without one, which can write no text.</summary>
    public string? Vocabulary { get; init; }

    /// <summary>Bytes of text that a token stands for, in the sample text; 0 without vocabulary.</summary>
    public double BytesPerToken { get; init; }

    /// <summary>Surprise of the sample text; lower is better. Null without vocabulary.</summary>
    public double? BitsPerByte { get; init; }

    /// <summary>From opening the file to the first logits, less what the same step takes afterwards.</summary>
    public double LoadSeconds { get; init; }

    /// <summary>Times of prompts of growing length.</summary>
    public IReadOnlyList<ProfilePoint> Prompt { get; init; } = [];

    /// <summary>Times of single tokens at growing positions.</summary>
    public IReadOnlyList<ProfilePoint> Decode { get; init; } = [];

    /// <summary>What a token takes longer where the answer must be JSON.</summary>
    public double JsonTokenSeconds { get; init; }

    /// <summary>Growth of the process's resident memory, weights included; the size of the file where pages were resident before.</summary>
    public long MemoryBytes { get; init; }

    /// <summary>Size of a saved state at position 0.</summary>
    public double StateBytes { get; init; }

    /// <summary>Growth of the state per token; 0 for recurrent models.</summary>
    public double StateBytesPerToken { get; init; }

    /// <summary>When it was measured.</summary>
    public DateTimeOffset Measured { get; init; }

    /// <summary>Tokens of a text of so many bytes; 4 bytes a token where that was not measured.</summary>
    public int TokensOf(long bytes) => (int)Math.Min(int.MaxValue, Math.Ceiling(bytes / (BytesPerToken > 0 ? BytesPerToken : 4)));

    /// <summary>
    /// Time for a prompt: a n + b n^2, both not negative, fitted to the measured times with equal weight to relative errors. b is what
    /// attention adds; a recurrent model has none.
    /// </summary>
    public double PromptSeconds(double tokens)
    {
        // Relative errors: t_i is fitted by a n_i + b n_i^2, both sides divided by t_i.
        double xx = 0, xy = 0, yy = 0, x1 = 0, y1 = 0;
        foreach (var (n, t) in Prompt.Where(p => p.Seconds > 0).Select(p => ((double)p.Tokens, p.Seconds)))
        {
            var (x, y) = (n / t, n * n / t);
            (xx, xy, yy, x1, y1) = (xx + (x * x), xy + (x * y), yy + (y * y), x1 + x, y1 + y);
        }

        if (xx == 0)
        {
            return 0;
        }

        var determinant = (xx * yy) - (xy * xy);
        var (a, b) = determinant > 1e-9 * xx * yy ? (((x1 * yy) - (y1 * xy)) / determinant, ((y1 * xx) - (x1 * xy)) / determinant) : (x1 / xx, 0);
        (a, b) = b < 0 ? (x1 / xx, 0) : a < 0 ? (0, y1 / yy) : (a, b);
        return (a * tokens) + (b * tokens * tokens);
    }

    /// <summary>Time of one decoded token at a position: through the first and the last measured point, never falling.</summary>
    public double TokenSeconds(double position)
    {
        if (Decode.Count == 0)
        {
            return 0;
        }

        var (first, last) = (Decode[0], Decode[^1]);
        var slope = last.Tokens > first.Tokens ? Math.Max(0, (last.Seconds - first.Seconds) / (last.Tokens - first.Tokens)) : 0;
        return first.Seconds + (slope * Math.Max(0, position - first.Tokens));
    }

    /// <summary>Time for an answer after a prompt: prompt, then tokens at their positions.</summary>
    public double AnswerSeconds(int prompt, int answer, bool json) =>
        PromptSeconds(prompt) + (answer * (TokenSeconds(prompt + (answer / 2.0)) + (json ? JsonTokenSeconds : 0)));
}
