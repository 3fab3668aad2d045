namespace RyzenLlm.Kernels.Tests;

/// <summary>Files of test/Fixtures.</summary>
internal static class Fixtures
{
    /// <summary>Path of a file or folder, relative to test/Fixtures.</summary>
    public static string File(string relative)
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (System.IO.File.Exists(Path.Combine(folder.FullName, "RyzenLlm.Mcp.sln")))
            {
                return Path.Combine(folder.FullName, "test", "Fixtures", relative);
            }
        }

        throw new DirectoryNotFoundException($"No RyzenLlm.Mcp.sln above {AppContext.BaseDirectory}.");
    }
}
