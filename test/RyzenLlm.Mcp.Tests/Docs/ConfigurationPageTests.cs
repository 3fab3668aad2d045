using System.Globalization;
using System.Text.RegularExpressions;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Docs;

/// <summary>Holds docs/configuration.md to the settings tree: every key, its default, what is allowed.</summary>
public sealed partial class ConfigurationPageTests
{
    private static readonly string Page = File.ReadAllText(Path.Combine(Repository.Root, "docs", "configuration.md"));

    [Test]
    public void EveryKeyHasItsRowAndEveryRowItsKey()
    {
        var rows = Row().Matches(Page).Select(m => $"| {m.Groups[1].Value} | {m.Groups[2].Value} | {m.Groups[3].Value} |");
        var known = SettingsReader.Keys().Select(k => $"| `{k.Key}` | {Shown(k.Default)} | {SettingsReader.Allowed(k.Key)} |");
        Assert.That(rows, Is.EqualTo(known));
    }

    [Test]
    public void EveryRowSaysWhatItIsFor() => Assert.That(Row().Matches(Page).Where(m => m.Groups[4].Value.Trim().Length < 15).Select(m => m.Value), Is.Empty);

    private static string Shown(object? value) => value switch
    {
        "" => "empty",
        string[] { Length: 0 } => "none",
        bool flag => flag ? "`true`" : "`false`",
        _ => $"`{Convert.ToString(value, CultureInfo.InvariantCulture)}`",
    };

    // Rows look like: | `Engine:Threads` | `0` | a whole number from 0, at most 1024 | Threads of a model. |
    [GeneratedRegex(@"^\| (`\w+(?::\w+)+`) \| ([^|]*) \| ([^|]*) \| ([^|]*)\|$", RegexOptions.Multiline)]
    private static partial Regex Row();
}
