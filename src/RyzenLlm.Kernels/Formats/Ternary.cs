namespace RyzenLlm.Kernels.Formats;

/// <summary>Ternary digits t in {0, 1, 2} for the values (t - 1) * scale.</summary>
internal static class Ternary
{
    /// <summary>
    /// Writes the digits of values that are already ternary up to rounding (-s, 0, +s) and returns s, the largest magnitude.
    /// Weights that are not ternary yet are made so by the model's own rule (BitNet b1.58: absolute mean) before encoding.
    /// </summary>
    public static float Digits(ReadOnlySpan<float> values, Span<byte> digits)
    {
        var scale = Rounding.MaxMagnitude(values);
        Digits(values, scale, digits);
        return scale;
    }

    /// <summary>Digits for a given scale; all values are zero where the scale is.</summary>
    public static void Digits(ReadOnlySpan<float> values, float scale, Span<byte> digits)
    {
        var inverse = scale > 0 ? 1f / scale : 0f;
        for (var i = 0; i < values.Length; i++)
        {
            digits[i] = (byte)(Rounding.ToInt(values[i] * inverse, -1, 1) + 1);
        }
    }
}
