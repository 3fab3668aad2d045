using System.Text.RegularExpressions;

namespace RyzenLlm.Mcp.Tests.Docs;

/// <summary>Holds the file map of docs/architecture.md to the tree, both ways.</summary>
public sealed partial class ArchitectureMapTests
{
    private static readonly string Root = FindRoot();

    [Test]
    public void Every_source_folder_is_on_the_map()
    {
        var folders = new[] { "src", "test" }
            .SelectMany(top => Directory.EnumerateFiles(Path.Combine(Root, top), "*.cs", SearchOption.AllDirectories))
            .Select(file => Path.GetRelativePath(Root, Path.GetDirectoryName(file)!).Replace('\\', '/'))
            .Where(folder => !folder.Split('/').Any(part => part is "bin" or "obj"))
            .Select(folder => folder.StartsWith("test/", StringComparison.Ordinal) ? string.Join('/', folder.Split('/').Take(2)) : folder)
            .Distinct();
        Assert.That(folders, Is.SubsetOf(Mapped()));
    }

    [Test]
    public void Everything_on_the_map_exists() =>
        Assert.That(Mapped().Where(path => !Directory.Exists(Path.Combine(Root, path))), Is.Empty);

    private static HashSet<string> Mapped()
    {
        var page = File.ReadAllText(Path.Combine(Root, "docs", "architecture.md"));
        var map = page[page.IndexOf("\n## Map\n", StringComparison.Ordinal)..];
        return [.. MapLine().Matches(map).Select(m => m.Groups[1].Value)];
    }

    // Rows of the map look like: | `src/RyzenLlm.Engine/Files` | what lives there |
    [GeneratedRegex(@"^\| `([^`]+)` \|", RegexOptions.Multiline)]
    private static partial Regex MapLine();

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(TestContext.CurrentContext.TestDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "RyzenLlm.Mcp.sln")))
        {
            folder = folder.Parent ?? throw new DirectoryNotFoundException("RyzenLlm.Mcp.sln is in no parent folder of the tests.");
        }

        return folder.FullName;
    }
}
