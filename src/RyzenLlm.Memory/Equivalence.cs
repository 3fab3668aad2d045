using System.Numerics.Tensors;
using System.Text.RegularExpressions;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory;

/// <summary>How a new unit relates to a stored one.</summary>
internal enum Relation
{
    Different,
    Variant,
    Same,
}

/// <summary>
/// Decides whether two units say the same. Words and hashed vectors cannot judge paraphrase, so only near-exact text
/// counts as equal, and anything that could change the meaning (a number, a date, a negation, the speaker) keeps two
/// units apart.
/// </summary>
internal static partial class Equivalence
{
    public const int StemsToCompare = 5;
    private const double SameCosine = 0.95;
    private const double SameOverlap = 0.9;
    private const double VariantCosine = 0.85;
    private const double CorrectionShare = 0.5;
    private const int CorrectionStems = 2;

    private static readonly HashSet<string> Negations =
        ["no", "not", "never", "none", "nothing", "nobody", "neither", "nor", "without", "cannot", "cant", "dont", "doesnt", "didnt", "wont", "isnt", "arent", "wasnt", "hasnt", "havent"];

    public static Relation Compare(Rsu fresh, TermBag freshTerms, Rsu stored)
    {
        if (fresh.Speaker != stored.Speaker || !GuardsMatch(fresh.Text, stored.Text))
        {
            return Relation.Different;
        }

        if (fresh.Hash == stored.Hash)
        {
            return Relation.Same;
        }

        double overlap = freshTerms.Overlap(TermBag.Of(stored.Text));
        double cosine = fresh.Embedding is { } a && stored.Embedding is { } b && a.Length == b.Length
            ? TensorPrimitives.CosineSimilarity(a.Span, b.Span)
            : overlap;
        return cosine >= SameCosine && overlap >= SameOverlap ? Relation.Same
            : cosine >= VariantCosine ? Relation.Variant
            : Relation.Different;
    }

    /// <summary>Whether a text announces that it corrects something said before.</summary>
    public static bool IsCorrection(string text) => Correction().IsMatch(text);

    /// <summary>Whether a correction speaks of the same subject as a stored unit of the same speaker.</summary>
    public static bool Corrects(Rsu fresh, Rsu stored)
    {
        TermBag body = TermBag.Of(Correction().Replace(fresh.Text, "")), old = TermBag.Of(stored.Text);
        int shared = body.Shared(old);
        return fresh.Speaker == stored.Speaker && fresh.Scope == stored.Scope && fresh.CreatedAt >= stored.CreatedAt
            && shared >= CorrectionStems && shared >= CorrectionShare * Math.Min(body.Terms.Length, old.Terms.Length);
    }

    private static bool GuardsMatch(string a, string b) => Guards(a).SequenceEqual(Guards(b));

    private static IEnumerable<string> Guards(string text) =>
        Words.Of(text.Replace("n't", " not", StringComparison.OrdinalIgnoreCase)).Where(w => w.Any(char.IsDigit) || Negations.Contains(w)).Order();

    [GeneratedRegex(@"^\s*(?:correction\b|update\b|actually\b|sorry, i (?:meant|misspoke)\b|i (?:misspoke|was wrong)\b|scratch that\b|i meant\b)[:,.\s-]*", RegexOptions.IgnoreCase)]
    private static partial Regex Correction();
}
