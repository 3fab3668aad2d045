namespace RyzenLlm.Kernels.Formats;

/// <summary>The little arithmetic that the encoders share.</summary>
internal static class Rounding
{
    /// <summary>Largest absolute value, 0 for an empty span.</summary>
    public static float MaxMagnitude(ReadOnlySpan<float> values)
    {
        var max = 0f;
        foreach (var value in values)
        {
            max = MathF.Max(max, MathF.Abs(value));
        }

        return max;
    }

    /// <summary>Nearest integer, halves away from zero, then clamped to [<paramref name="low"/>, <paramref name="high"/>].</summary>
    public static int ToInt(float value, int low, int high) =>
        (int)Math.Clamp(MathF.Round(value, MidpointRounding.AwayFromZero), low, high);
}
