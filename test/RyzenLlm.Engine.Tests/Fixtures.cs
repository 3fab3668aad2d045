namespace RyzenLlm.Engine.Tests;

/// <summary>Files of test/Fixtures, and of the folder of larger test data beside the repository.</summary>
internal static class Fixtures
{
    private static readonly string Root = FindRoot();

    /// <summary>Path of a file or folder, relative to test/Fixtures.</summary>
    public static string File(string relative) => Path.Combine(Root, "test", "Fixtures", relative);

    /// <summary>
    /// Path in ../shared, which holds vocabularies and weights made by others. Skips the test where it is absent, or fails it
    /// where RYZENLLM_REQUIRE_SHARED is 1.
    /// </summary>
    public static string Shared(string relative)
    {
        var path = Path.Combine(Root, "..", "shared", relative);
        if (!Path.Exists(path))
        {
            var reason = $"There is no {Path.Combine("..", "shared", relative)} beside the repository.";
            if (Environment.GetEnvironmentVariable("RYZENLLM_REQUIRE_SHARED") == "1")
            {
                Assert.Fail(reason);
            }

            Assert.Ignore(reason);
        }

        return path;
    }

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (System.IO.File.Exists(Path.Combine(folder.FullName, "RyzenLlm.Mcp.sln")))
            {
                return folder.FullName;
            }
        }

        throw new DirectoryNotFoundException($"No RyzenLlm.Mcp.sln above {AppContext.BaseDirectory}.");
    }
}
