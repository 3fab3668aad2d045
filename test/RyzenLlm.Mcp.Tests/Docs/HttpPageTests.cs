using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Docs;

/// <summary>Holds docs/http.md to the program: the keys it names exist, and it names every scope.</summary>
public sealed partial class HttpPageTests
{
    private static readonly string Page = File.ReadAllText(Path.Combine(Repository.Root, "docs", "http.md"));

    [Test]
    public void TheKeysThatItNamesExist()
    {
        var named = Key().Matches(Page).Select(m => m.Value).Distinct().ToList();
        Assert.That(named, Is.Not.Empty);
        Assert.That(named, Is.SubsetOf(SettingsReader.Keys().Select(k => k.Key)));
    }

    [Test]
    public void ItNamesEveryScope() => Assert.That(Scopes.All.Where(scope => !Page.Contains($"| `{scope}` |", StringComparison.Ordinal)), Is.Empty);

    [System.Text.RegularExpressions.GeneratedRegex("(?:Server|Memory):[A-Z][A-Za-z]+(?::[A-Z][A-Za-z]+)*")]
    private static partial System.Text.RegularExpressions.Regex Key();
}
