namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// Fits the scale of a short run of values for the encoders. Rounding with the obvious scale, largest value onto largest code,
/// is not the best choice: the search tries that scale and its neighbours, and solves each for the least weighted squared error.
/// </summary>
internal static class ScaleSearch
{
    /// <summary>
    /// Scale s for x = s * q with integer q in [<paramref name="lowest"/>, -<paramref name="lowest"/> - 1]. May be negative: the
    /// value of largest magnitude goes to the lowest code. Errors are weighted by x^2. 0 for a run of zeros.
    /// </summary>
    public static float Symmetric(ReadOnlySpan<float> values, int lowest)
    {
        var extreme = 0f;
        foreach (var x in values)
        {
            extreme = MathF.Abs(x) > MathF.Abs(extreme) ? x : extreme;
        }

        if (extreme == 0)
        {
            return 0;
        }

        var (best, bestGain) = (0.0, -1.0);
        for (var step = -9; step <= 9; step++)
        {
            var inverse = (lowest + 0.1 * step) / extreme;
            var (sumXq, sumQq) = (0.0, 0.0);
            foreach (var x in values)
            {
                double weight = x * (double)x;
                var q = Math.Clamp(Math.Round(x * inverse), lowest, -lowest - 1);
                sumXq += weight * x * q;
                sumQq += weight * q * q;
            }

            // The squared error is a constant less sumXq^2 / sumQq once the scale is the least-squares one.
            if (sumQq > 0 && sumXq * sumXq > bestGain * sumQq)
            {
                (best, bestGain) = (sumXq / sumQq, sumXq * sumXq / sumQq);
            }
        }

        return (float)best;
    }

    /// <summary>
    /// Scale s >= 0 and minimum m >= 0 for x = s * q - m with integer q in [0, <paramref name="levels"/>]. Errors are weighted by
    /// the magnitude of x plus that of the run.
    /// </summary>
    public static (float Scale, float Minimum) Affine(ReadOnlySpan<float> values, int levels)
    {
        var (low, high, squares) = (0.0, double.NegativeInfinity, 0.0);
        foreach (var x in values)
        {
            low = Math.Min(low, x);
            high = Math.Max(high, x);
            squares += x * (double)x;
        }

        if (high <= low)
        {
            return (0, (float)-low);
        }

        var magnitude = Math.Sqrt(squares / values.Length);
        var (scale, minimum) = ((high - low) / levels, -low);
        var leastError = double.PositiveInfinity;
        for (var step = -10; step <= 10; step++)
        {
            var inverse = (levels + 0.1 * step) / (high - low);
            var (s, m) = FitLine(values, low, inverse, levels, magnitude);
            var error = 0.0;
            foreach (var x in values)
            {
                var q = s > 0 ? Math.Clamp(Math.Round((x + m) / s), 0, levels) : 0;
                var miss = s * q - m - x;
                error += (magnitude + Math.Abs(x)) * miss * miss;
            }

            if (error < leastError)
            {
                (scale, minimum, leastError) = (s, m, error);
            }
        }

        return ((float)scale, (float)minimum);
    }

    /// <summary>Weighted least-squares line through (code, value), the codes being those of a trial scale; the minimum stays >= 0.</summary>
    private static (double Scale, double Minimum) FitLine(ReadOnlySpan<float> values, double low, double inverse, int levels, double magnitude)
    {
        var (sumW, sumX, sumQ, sumXq, sumQq) = (0.0, 0.0, 0.0, 0.0, 0.0);
        foreach (var x in values)
        {
            var weight = magnitude + Math.Abs(x);
            var q = Math.Clamp(Math.Round((x - low) * inverse), 0, levels);
            sumW += weight;
            sumX += weight * x;
            sumQ += weight * q;
            sumXq += weight * x * q;
            sumQq += weight * q * q;
        }

        var determinant = sumW * sumQq - sumQ * sumQ;
        if (determinant <= 0)
        {
            return (1 / inverse, -low);
        }

        var scale = (sumW * sumXq - sumX * sumQ) / determinant;
        var minimum = (sumQ * sumXq - sumQq * sumX) / determinant;
        return minimum >= 0 && scale > 0 ? (scale, minimum) : (Math.Max(0, sumXq / sumQq), 0);
    }
}
