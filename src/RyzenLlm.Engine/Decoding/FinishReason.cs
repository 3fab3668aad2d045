namespace RyzenLlm.Engine.Decoding;

/// <summary>Why a generation ended.</summary>
public enum FinishReason
{
    /// <summary>A stop string appeared.</summary>
    Stop,

    /// <summary>The model ended its text or turn.</summary>
    Eos,

    /// <summary>The wanted number of tokens, or the context of the model, was reached.</summary>
    Length,

    /// <summary>The time given was used up.</summary>
    Deadline,

    /// <summary>The caller cancelled.</summary>
    Cancelled,
}
