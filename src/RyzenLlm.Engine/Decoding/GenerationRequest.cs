using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Decoding;

/// <summary>What to generate.</summary>
public sealed record GenerationRequest
{
    /// <summary>The conversation to answer, or the one text to continue; at least one turn.</summary>
    public required IReadOnlyList<ChatTurn> Turns { get; init; }

    /// <summary>How the turns become a prompt; null takes the model's own way.</summary>
    public ChatTemplate? Template { get; init; }

    /// <summary>How tokens are chosen.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Tokens to generate at most, at least 1.</summary>
    public int MaxTokens { get; init; } = 256;

    /// <summary>Texts that end the generation and are left out of it, beside those of the template.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>What the text must be, or null. Replaces stop texts: it alone says where the text ends.</summary>
    public OutputConstraint? Constraint { get; init; }

    /// <summary>Which drafts may guess ahead; the text is the same.</summary>
    public SpeculationMode Speculation { get; init; } = SpeculationMode.Auto;

    /// <summary>
    /// A model of the same vocabulary that drafts, or null. Loaded for this purpose alone: it is used on the thread of the model it drafts for,
    /// and must outlive the request.
    /// </summary>
    public LanguageModel? DraftModel { get; init; }

    /// <summary>
    /// Where an earlier call of the same request stopped at its deadline, or null. The generation goes on there as if it had never stopped:
    /// the texts of both calls, joined, are the text of one call.
    /// </summary>
    public GenerationStop? From { get; init; }

    /// <summary>Time after which what there is comes back, waiting included.</summary>
    public TimeSpan Deadline { get; init; } = Timeout.InfiniteTimeSpan;

    /// <summary>What may be kept of its state for later requests of the tenant, and taken from earlier ones; the text is the same.</summary>
    public StateReuse Reuse { get; init; } = StateReuse.Memory;

    /// <summary>
    /// Prompt and answer of the conversation so far in the tokens that they were computed in, as <see cref="GenerationResult.Tokens"/> told; empty if this begins one.
    /// What of them spells the beginning of the prompt is used as it is, so that the state after it can be.
    /// </summary>
    public int[] Said { get; init; } = [];

    /// <summary>Whose request it is: places and prompt reading are shared out evenly between tenants, however much each asks for.</summary>
    public string Tenant { get; init; } = "";

    /// <summary>Whether somebody waits for the answer.</summary>
    public RequestPriority Priority { get; init; }
}

/// <summary>Where states are kept for later requests.</summary>
public enum StateReuse
{
    /// <summary>Nowhere, and none is used.</summary>
    Off,

    /// <summary>In memory.</summary>
    Memory,

    /// <summary>In memory and, at the end of the answer, on disk.</summary>
    Disk,
}

/// <summary>Which requests are taken up first.</summary>
public enum RequestPriority
{
    /// <summary>Before all in the background.</summary>
    Interactive,

    /// <summary>When nothing interactive waits and some places remain free for it; its prompt is read with what time others leave.</summary>
    Background,
}

/// <summary>Where a generation stopped: everything that its continuation depends on beside the request.</summary>
/// <param name="Tokens">Prompt and generated tokens, word for word.</param>
/// <param name="PromptTokens">How many of them are the prompt.</param>
public sealed record GenerationStop(int[] Tokens, int PromptTokens);

/// <summary>A step of a generation.</summary>
/// <param name="Text">Whole characters that became certain with this token; may be empty. Valid during the call only.</param>
/// <param name="Token">The token, or -1 for text that was held back until the end.</param>
public readonly ref struct GeneratedPiece(ReadOnlySpan<char> text, int token)
{
    /// <summary>Whole characters that became certain with this token; may be empty. Valid during the call only.</summary>
    public ReadOnlySpan<char> Text { get; } = text;

    /// <summary>The token, or -1 for text that was held back until the end.</summary>
    public int Token { get; } = token;
}

/// <summary>
/// Receives the steps of a generation, in order and one at a time, on the thread pool; the answer follows the last. It may take its time: the model
/// goes on meanwhile. If it throws, the request fails with that exception.
/// </summary>
public delegate void GenerationSink(GeneratedPiece piece);

/// <summary>What was generated.</summary>
public sealed record GenerationResult
{
    /// <summary>
    /// The text, without the stop string. After a deadline it ends with the last characters that are certain: what may be half a character or
    /// the beginning of a stop string comes with the continuation.
    /// </summary>
    public required string Text { get; init; }

    /// <summary>Why it ended.</summary>
    public required FinishReason FinishReason { get; init; }

    /// <summary>Tokens of the prompt, template included; 0 if the request ended before it was read.</summary>
    public int PromptTokens { get; init; }

    /// <summary>How many of them were in a kept state and not computed.</summary>
    public int ReusedTokens { get; init; }

    /// <summary>Prompt and generated tokens as they were computed; empty if the request ended before it was read.</summary>
    public int[] Tokens { get; init; } = [];

    /// <summary>Tokens generated, an end token and those of earlier calls not counted.</summary>
    public int GeneratedTokens { get; init; }

    /// <summary>For <see cref="GenerationRequest.From"/>; null unless the deadline ended it after its prompt was known.</summary>
    public GenerationStop? Stop { get; init; }

    /// <summary>From the request until it was taken up.</summary>
    public TimeSpan QueueTime { get; init; }

    /// <summary>From the request until the first token, waiting included; null without a token.</summary>
    public TimeSpan? TimeToFirstToken { get; init; }

    /// <summary>Time for reading the prompt, up to the first token.</summary>
    public TimeSpan PromptTime { get; init; }

    /// <summary>Time from the first token to the last.</summary>
    public TimeSpan DecodeTime { get; init; }

    /// <summary>Prompt tokens read per second, those in a kept state not counted; 0 if there is nothing to tell.</summary>
    public double PromptTokensPerSecond => Rate(PromptTokens - ReusedTokens, PromptTime);

    /// <summary>Tokens generated per second after the first; 0 for fewer than two tokens.</summary>
    public double DecodeTokensPerSecond => Rate(GeneratedTokens - 1, DecodeTime);

    /// <summary>What speculation did; null where it was off.</summary>
    public SpeculationReport? Speculation { get; init; }

    private static double Rate(int tokens, TimeSpan time) => tokens > 0 && time > TimeSpan.Zero ? tokens / time.TotalSeconds : 0;
}
