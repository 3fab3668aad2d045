namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>A sequence's part in a forward pass, as far as it is known beforehand.</summary>
/// <param name="Sequences">Sequences that get their next tokens from the pass, this one included.</param>
/// <param name="OtherRows">Rows of the other ones.</param>
/// <param name="Room">Rows that this one may have, at least 1.</param>
public readonly record struct PassShare(int Sequences, int OtherRows, int Room)
{
    /// <summary>A pass that serves one sequence.</summary>
    public static PassShare Alone => new(1, 0, Decoder.ChunkRows);
}
