using System.Numerics;

namespace RyzenLlm.Engine.Sampling;

/// <summary>The greedy choice.</summary>
internal static class Largest
{
    /// <summary>Index of the largest value, the first of equals.</summary>
    /// <exception cref="InvalidOperationException">All values are NaN or negative infinity.</exception>
    public static int IndexIn(ReadOnlySpan<float> scores) => TryIndexIn(scores, out var index)
        ? index
        : throw new InvalidOperationException("No token can be chosen: every logit is NaN or negative infinity.");

    /// <summary>As <see cref="IndexIn"/>, or false where that would throw.</summary>
    public static bool TryIndexIn(ReadOnlySpan<float> scores, out int index)
    {
        var highest = Highest(scores);
        for (index = 0; index < scores.Length && highest > float.NegativeInfinity;)
        {
            if (scores.Length - index >= Vector<float>.Count && !Vector.EqualsAny(new Vector<float>(scores[index..]), new Vector<float>(highest)))
            {
                index += Vector<float>.Count;
            }
            else if (scores[index] == highest)
            {
                return true;
            }
            else
            {
                index++;
            }
        }

        return false;
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
