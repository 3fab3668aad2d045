using System.Runtime.InteropServices;

namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>
/// Guesses that what followed an earlier occurrence of the latest tokens follows again (prompt lookup, Saxena 2023): edits, quotations and
/// code repeat long stretches of their prompt.
/// </summary>
/// <remarks>
/// Earlier places are found as in LZ77 coders: every position is chained to the previous one that ends in the same pair of tokens, and the
/// latest few of a chain are compared backwards. Costs no more than a few hundred comparisons and allocates only to grow.
/// </remarks>
public sealed class LookupDraft(HitRates rates) : Draft
{
    /// <summary>Shortest match that is followed.</summary>
    public const int ShortestMatch = 2;

    /// <summary>Longer matches are graded like this one.</summary>
    public const int LongestGrade = 10;

    // Places of a chain that are compared.
    private const int Probes = 48;

    // Continuations that are followed.
    private const int Branches = 3;

    private readonly Dictionary<long, int> _latest = [];
    private readonly List<int> _previous = []; // by position: the one before it that ends in the same pair, or -1

    /// <summary>Rates that grow with the length of the match.</summary>
    public static HitRates NewRates()
    {
        Span<double> priors = stackalloc double[LongestGrade - ShortestMatch + 1];
        for (var i = 0; i < priors.Length; i++)
        {
            priors[i] = 0.25 + (0.65 * i / (priors.Length - 1));
        }

        return new(priors);
    }

    /// <inheritdoc/>
    public override string Name => "lookup";

    /// <inheritdoc/>
    public override void Propose(ReadOnlySpan<int> tokens, DraftTree tree, in DraftBudget budget)
    {
        Index(tokens);
        if (tokens.Length <= ShortestMatch)
        {
            return;
        }

        Span<(int End, int Length)> matches = stackalloc (int, int)[Branches];
        var found = Match(tokens, matches);
        foreach (var (end, length) in matches[..found])
        {
            Follow(tokens, end, length, tree);
        }
    }

    // Positions up to the last but one: the last is what is looked for.
    private void Index(ReadOnlySpan<int> tokens)
    {
        if (_previous.Count == 0)
        {
            _previous.Add(-1);
        }

        for (var end = _previous.Count; end < tokens.Length - 1; end++)
        {
            ref var latest = ref CollectionsMarshal.GetValueRefOrAddDefault(_latest, Pair(tokens, end), out var known);
            _previous.Add(known ? latest : -1);
            latest = end;
        }
    }

    // The longest matches with different continuations, the later of equals first.
    private int Match(ReadOnlySpan<int> tokens, Span<(int End, int Length)> matches)
    {
        var found = 0;
        var last = tokens.Length - 1;
        if (!_latest.TryGetValue(Pair(tokens, last), out var end))
        {
            return 0;
        }

        for (var probe = 0; end >= 0 && probe < Probes; probe++, end = _previous[end])
        {
            var length = ShortestMatch;
            while (length < LongestGrade && length <= end && tokens[end - length] == tokens[last - length])
            {
                length++;
            }

            Insert(tokens, matches, ref found, end, length);
        }

        return found;
    }

    private static void Insert(ReadOnlySpan<int> tokens, Span<(int End, int Length)> matches, ref int found, int end, int length)
    {
        for (var i = 0; i < found; i++)
        {
            if (tokens[matches[i].End + 1] == tokens[end + 1])
            {
                if (matches[i].Length >= length)
                {
                    return;
                }

                matches[(i + 1)..found].CopyTo(matches[i..]); // the same continuation after a longer match: goes in anew
                found--;
                break;
            }
        }

        var at = found;
        while (at > 0 && matches[at - 1].Length < length)
        {
            at--;
        }

        if (at < matches.Length)
        {
            found = Math.Min(found + 1, matches.Length);
            matches[at..(found - 1)].CopyTo(matches[(at + 1)..]);
            matches[at] = (end, length);
        }
    }

    // What lies behind the end of the text is what is being guessed: a period goes on for ever.
    private void Follow(ReadOnlySpan<int> tokens, int end, int length, DraftTree tree)
    {
        var period = tokens.Length - 1 - end;
        var node = DraftTree.Root;
        for (var i = 0; i < tree.MaxDepth; i++)
        {
            var from = end + 1 + (i % period);
            node = tree.Add(node, tokens[from], rates, Math.Min(length + i, LongestGrade) - ShortestMatch);
            if (node == DraftTree.Refused)
            {
                return;
            }
        }
    }

    private static long Pair(ReadOnlySpan<int> tokens, int end) => ((long)tokens[end - 1] << 32) | (uint)tokens[end];
}
