namespace RyzenLlm.Fuzz;

/// <summary>The source tree, for small models as seeds.</summary>
internal static class Repository
{
    /// <summary>Folder of the solution: a parent of the current folder or of the program.</summary>
    public static string Root { get; } = Find(Environment.CurrentDirectory) ?? Find(AppContext.BaseDirectory)
        ?? throw new DirectoryNotFoundException("Run this inside the source tree: small models of test/Fixtures are needed.");

    private static string? Find(string start)
    {
        var folder = new DirectoryInfo(start);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "RyzenLlm.Mcp.sln")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName;
    }
}
