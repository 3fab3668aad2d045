using System.Globalization;

namespace RyzenLlm.Fuzz;

/// <summary>What to run.</summary>
/// <param name="Targets">Targets, one after another.</param>
/// <param name="Seconds">Time for each.</param>
/// <param name="Seed">Seed of the random changes.</param>
/// <param name="Keep">Inputs to keep in the repository for each target, those that reach most; 0 leaves what is there.</param>
/// <param name="Count">JSON file that sums executions over all runs, or null.</param>
/// <param name="Fixtures">Folder of the kept inputs, one folder for each target.</param>
internal sealed record CampaignOptions(IReadOnlyList<string> Targets, double Seconds, int Seed, int Keep, string? Count, string Fixtures)
{
    /// <summary>Reads the command line.</summary>
    /// <exception cref="ArgumentException">There is no such target or option.</exception>
    public static CampaignOptions Parse(string[] arguments)
    {
        string[] known = [.. FuzzTarget.All.Select(Named)];
        var targets = arguments[0] == "all" ? known : arguments[0].Split(',');
        if (targets.FirstOrDefault(t => !known.Contains(t)) is { } unknown)
        {
            throw new ArgumentException($"There is no target {unknown}; targets are: all, {string.Join(", ", known)}.");
        }

        string Option(string name, string otherwise) => Array.IndexOf(arguments, name) is var at and > 0 && at + 1 < arguments.Length ? arguments[at + 1] : otherwise;
        var count = Option("--count", "");
        return new(
            targets,
            double.Parse(Option("--seconds", "60"), CultureInfo.InvariantCulture),
            int.Parse(Option("--seed", "1"), CultureInfo.InvariantCulture),
            int.Parse(Option("--keep", "0"), CultureInfo.InvariantCulture),
            count.Length > 0 ? Path.GetFullPath(count) : null,
            Path.GetFullPath(Option("--fixtures", Path.Combine("test", "Fixtures", "fuzz"))));

        static string Named(Func<FuzzTarget> make)
        {
            using var target = make();
            return target.Name;
        }
    }
}
