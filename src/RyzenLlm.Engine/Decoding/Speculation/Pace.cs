namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>The decisions of speculation, as pure functions of estimated chances and measured seconds.</summary>
/// <remarks>
/// A step yields a token per sequence and one more for every accepted guess. Its length is chosen so that tokens per second are highest, those
/// of the other sequences in the step included, which may mean guessing nothing.
/// </remarks>
public static class Pace
{
    /// <summary>How many guesses are worth verifying.</summary>
    /// <param name="probabilities">Chance of each guess to be accepted, descending, so that a prefix is closed under parents.</param>
    /// <param name="passSeconds">The forward pass with 0, 1, 2, ... guesses; one value more than there are guesses.</param>
    /// <param name="draftSeconds">What drafting took already.</param>
    /// <param name="sequences">Sequences that get a token from the pass, this one included.</param>
    /// <returns>A length between 0 and that of <paramref name="probabilities"/>, the shortest of equals.</returns>
    public static int Guesses(ReadOnlySpan<double> probabilities, ReadOnlySpan<double> passSeconds, double draftSeconds, int sequences = 1)
    {
        var (best, tokens) = (0, (double)sequences);
        var rate = tokens / (passSeconds[0] + draftSeconds);
        for (var i = 0; i < probabilities.Length; i++)
        {
            tokens += probabilities[i];
            if (tokens > rate * (passSeconds[i + 1] + draftSeconds))
            {
                (best, rate) = (i + 1, tokens / (passSeconds[i + 1] + draftSeconds));
            }
        }

        return best;
    }

    /// <summary>Whether a token expected to be accepted with this chance is worth drafting and verifying.</summary>
    /// <param name="probability">Chance that it is accepted, that of its predecessors included.</param>
    /// <param name="draftSeconds">What drafting it takes.</param>
    /// <param name="rowSeconds">What verifying it adds to the pass.</param>
    /// <param name="tokenSeconds">What a token takes otherwise.</param>
    public static bool Pays(double probability, double draftSeconds, double rowSeconds, double tokenSeconds) =>
        probability * tokenSeconds > draftSeconds + rowSeconds;
}
