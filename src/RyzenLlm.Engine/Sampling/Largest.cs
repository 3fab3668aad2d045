using System.Numerics;

namespace RyzenLlm.Engine.Sampling;

/// <summary>The greedy choice.</summary>
internal static class Largest
{
    /// <summary>Index of the largest value, the first of equals.</summary>
    /// <exception cref="InvalidOperationException">All values are NaN or negative infinity.</exception>
    public static int IndexIn(ReadOnlySpan<float> scores)
    {
        var highest = Highest(scores);
        for (var i = 0; i < scores.Length && highest > float.NegativeInfinity;)
        {
            if (scores.Length - i >= Vector<float>.Count && !Vector.EqualsAny(new Vector<float>(scores[i..]), new Vector<float>(highest)))
            {
                i += Vector<float>.Count;
            }
            else if (scores[i] == highest)
            {
                return i;
            }
            else
            {
                i++;
            }
        }

        throw new InvalidOperationException("No token can be chosen: every logit is NaN or negative infinity.");
    }

    // Largest value; a comparison with NaN is false, so NaN never replaces a value.
    private static float Highest(ReadOnlySpan<float> scores)
    {
        var (even, odd) = (new Vector<float>(float.NegativeInfinity), new Vector<float>(float.NegativeInfinity));
        var i = 0;
        for (; i + (2 * Vector<float>.Count) <= scores.Length; i += 2 * Vector<float>.Count)
        {
            var (a, b) = (new Vector<float>(scores[i..]), new Vector<float>(scores[(i + Vector<float>.Count)..]));
            even = Vector.ConditionalSelect(Vector.GreaterThan(a, even), a, even);
            odd = Vector.ConditionalSelect(Vector.GreaterThan(b, odd), b, odd);
        }

        var highest = float.NegativeInfinity;
        for (var lane = 0; lane < Vector<float>.Count; lane++)
        {
            highest = even[lane] > highest ? even[lane] : highest;
            highest = odd[lane] > highest ? odd[lane] : highest;
        }

        for (; i < scores.Length; i++)
        {
            highest = scores[i] > highest ? scores[i] : highest;
        }

        return highest;
    }
}
