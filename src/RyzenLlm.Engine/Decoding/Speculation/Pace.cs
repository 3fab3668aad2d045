namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>The decisions of speculation, as pure functions of estimated chances and measured seconds.</summary>
/// <remarks>
/// A step yields 1 token and one more for every accepted guess. Its length is chosen so that tokens per second are highest, which
/// includes drafting nothing.
/// </remarks>
public static class Pace
{
    /// <summary>How many guesses are worth verifying.</summary>
    /// <param name="probabilities">Chance of each guess to be accepted, descending, so that a prefix is closed under parents.</param>
    /// <param name="passSeconds">The forward pass without guesses.</param>
    /// <param name="rowSeconds">What each guess adds to it.</param>
    /// <param name="draftSeconds">What drafting took already.</param>
    /// <returns>A length between 0 and that of <paramref name="probabilities"/>.</returns>
    public static int Guesses(ReadOnlySpan<double> probabilities, double passSeconds, double rowSeconds, double draftSeconds)
    {
        var (tokens, seconds) = (1.0, passSeconds + draftSeconds);
        var count = 0;

        // As the chances descend, the ratio rises while a guess alone beats it and falls from then on.
        while (count < probabilities.Length && probabilities[count] * seconds > rowSeconds * tokens)
        {
            tokens += probabilities[count++];
            seconds += rowSeconds;
        }

        return count;
    }

    /// <summary>Whether a token expected to be accepted with this chance is worth drafting and verifying.</summary>
    /// <param name="probability">Chance that it is accepted, that of its predecessors included.</param>
    /// <param name="draftSeconds">What drafting it takes.</param>
    /// <param name="rowSeconds">What verifying it adds to the pass.</param>
    /// <param name="tokenSeconds">What a token takes otherwise.</param>
    public static bool Pays(double probability, double draftSeconds, double rowSeconds, double tokenSeconds) =>
        probability * tokenSeconds > draftSeconds + rowSeconds;
}
