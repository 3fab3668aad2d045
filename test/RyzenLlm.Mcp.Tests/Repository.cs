namespace RyzenLlm.Mcp.Tests;

/// <summary>Files of the repository that tests read.</summary>
internal static class Repository
{
    /// <summary>Folder of the solution.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Folder with small models, used as model folder by the tests.</summary>
    public static string Models { get; } = Path.Combine(Root, "test", "Fixtures", "golden", "models");

    /// <summary>A file with what a reference computed for one of them.</summary>
    public static string Expected(string file) => Path.Combine(Root, "test", "Fixtures", "golden", "expected", file);

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "RyzenLlm.Mcp.sln")))
        {
            folder = folder.Parent ?? throw new DirectoryNotFoundException("RyzenLlm.Mcp.sln is in no parent folder of the tests.");
        }

        return folder.FullName;
    }
}
