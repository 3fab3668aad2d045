using System.Globalization;
using System.Text.RegularExpressions;
using RyzenLlm.Engine.Choosing;
using RyzenLlm.Mcp.Cli;

namespace RyzenLlm.Mcp.Tests.Docs;

/// <summary>The table of regrets is what the program computes from the profiles beside it, and says what it is there to say.</summary>
public sealed class ModelSelectionDocTests
{
    // Another machine may round an exponential otherwise, and one request may then go another way.
    private const double Tolerance = 0.002;

    [Test]
    public void TheTableOfRegretsIsTheOutcomeOfItsCommandAndAutoBeatsEveryFixedChoice()
    {
        var docs = Path.Combine(Repository.Root, "docs");
        var report = ChoiceSimulation.Run(ModelsSimulateVerb.Read(Path.Combine(docs, "model-profiles.json")), 10_000);
        var rows = File.ReadLines(Path.Combine(docs, "model-selection.md"))
            .Select(line => Regex.Match(line, @"^\| (auto|auto, no feedback|always \S+) \| ([\d.]+) \| ([\d.]+) \|"))
            .Where(m => m.Success)
            .Select(m => (Policy: m.Groups[1].Value, Worth: Number(m.Groups[2]), Regret: Number(m.Groups[3])))
            .ToList();
        Assert.That(rows.Select(r => r.Policy), Is.EqualTo(report.Policies.Select(p => p.Policy)));
        for (var i = 0; i < rows.Count; i++)
        {
            Assert.That(rows[i].Worth, Is.EqualTo(report.Policies[i].Worth).Within(Tolerance), rows[i].Policy);
            Assert.That(rows[i].Regret, Is.EqualTo(report.Policies[i].Regret).Within(Tolerance), rows[i].Policy);
        }

        Assert.That(rows[0].Policy, Is.EqualTo(ChoiceSimulation.Auto));
        Assert.That(rows.Skip(2).Min(r => r.Regret), Is.GreaterThan(2 * rows[0].Regret), "not by a hair");
        var chart = File.ReadAllText(Path.Combine(docs, "model-selection-regret.svg"));
        Assert.That(report.Policies.Select(p => p.Policy), Has.All.Matches<string>(p => chart.Contains(p!, StringComparison.Ordinal)));
    }

    private static double Number(Group group) => double.Parse(group.Value, CultureInfo.InvariantCulture);
}
