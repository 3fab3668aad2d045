using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Speculation;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>What a caller says about how a text is guessed ahead and what it must be, read the same way by verb and tool.</summary>
internal static class Guidance
{
    /// <summary>Names of the speculation modes.</summary>
    public static string[] Modes { get; } = [.. Enum.GetNames<SpeculationMode>().Select(name => name.ToLowerInvariant())];

    /// <summary>The mode of a name out of <see cref="Modes"/>.</summary>
    public static SpeculationMode Mode(string name) => Enum.Parse<SpeculationMode>(name, ignoreCase: true);

    /// <summary>The constraint that a call names, or null.</summary>
    /// <exception cref="ArgumentException">More than one is given, or the one given is refused; the message says why.</exception>
    public static OutputConstraint? Constraint(string? jsonSchema, string? regex, IReadOnlyCollection<string> choices)
    {
        var (schema, expression) = (!string.IsNullOrWhiteSpace(jsonSchema), !string.IsNullOrEmpty(regex));
        if ((schema ? 1 : 0) + (expression ? 1 : 0) + (choices.Count > 0 ? 1 : 0) > 1)
        {
            throw new ArgumentException("A text can follow a JSON schema, a regular expression or a list of choices, not several of them: give one.");
        }

        return schema ? OutputConstraint.JsonSchema(jsonSchema!)
            : expression ? OutputConstraint.Regex(regex!)
            : choices.Count > 0 ? OutputConstraint.Choices(choices)
            : null;
    }

    /// <summary>
    /// The model that drafts for another: the one named, or the one that its card names (a line <c>draft: NAME</c> in the front matter of card.md
    /// beside the model), if there is such a model. Null where neither says, or where the mode has no use for one.
    /// </summary>
    /// <exception cref="ModelNotFoundException">The model named is not there; one that only the card names may be missing.</exception>
    public static ModelEntry? Draft(ModelLibrary library, ModelEntry target, string? named, SpeculationMode mode, Caller? caller = null)
    {
        if (mode is not (SpeculationMode.Auto or SpeculationMode.Draft))
        {
            return null;
        }

        if (!string.IsNullOrWhiteSpace(named))
        {
            return caller is null ? library.Resolve(named) : library.Resolve(named, caller);
        }

        return CardDraft(target) is { } name ? library.List().FirstOrDefault(m => m.Name.Equals(name, StringComparison.OrdinalIgnoreCase)) : null;
    }

    private static string? CardDraft(ModelEntry target)
    {
        const string key = "draft:";
        var card = Path.Combine(Path.GetDirectoryName(target.Path) ?? "", "card.md");
        if (!File.Exists(card))
        {
            return null;
        }

        var lines = File.ReadLines(card).GetEnumerator();
        if (!lines.MoveNext() || lines.Current.Trim() != "---")
        {
            return null;
        }

        while (lines.MoveNext() && lines.Current.Trim() != "---")
        {
            if (lines.Current.StartsWith(key, StringComparison.Ordinal))
            {
                return lines.Current[key.Length..].Trim();
            }
        }

        return null;
    }
}

/// <summary>What speculation did, as verbs and tools report it.</summary>
/// <param name="Drafts">Drafts that took part.</param>
/// <param name="Drafted">Tokens guessed and verified.</param>
/// <param name="Accepted">Guesses that the model confirmed.</param>
/// <param name="MeanAcceptedLength">Tokens per verifying step, the model's own included.</param>
/// <param name="TokensPerStep">Tokens per step of all steps.</param>
/// <param name="SpeedUp">How many times longer plain steps, as measured in between, would have taken; absent before one was measured.</param>
internal sealed record SpeculationFacts(IReadOnlyList<string> Drafts, int Drafted, int Accepted, double MeanAcceptedLength, double TokensPerStep, double? SpeedUp)
{
    /// <summary>The facts of a report, rounded; null for none.</summary>
    public static SpeculationFacts? Of(SpeculationReport? report) => report is null ? null : new(
        report.Drafts,
        report.Drafted,
        report.Accepted,
        Math.Round(report.MeanAcceptedLength, 3),
        Math.Round(report.TokensPerStep, 3),
        report.SpeedUp is { } factor ? Math.Round(factor, 3) : null);
}
