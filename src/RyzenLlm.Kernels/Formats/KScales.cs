namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// The twelve bytes p of Q4_K and Q5_K that hold eight 6-bit scales and eight 6-bit minima.
/// For j in 0..3 the scale is p[j] &amp; 63 and the minimum p[4 + j] &amp; 63. For j in 4..7 the low four bits are the nibbles of
/// p[4 + j] (scale low, minimum high) and the upper two bits are the top bits of p[j - 4] (scale) and p[j] (minimum).
/// </summary>
internal static class KScales
{
    public const int Bytes = 12;

    /// <summary>Scale and minimum of sub-block <paramref name="j"/> (0..7), each 0..63.</summary>
    public static (int Scale, int Minimum) Unpack(ReadOnlySpan<byte> p, int j) =>
        j < 4
            ? (p[j] & 63, p[4 + j] & 63)
            : ((p[4 + j] & 15) | ((p[j - 4] >> 6) << 4), (p[4 + j] >> 4) | ((p[j] >> 6) << 4));
}
