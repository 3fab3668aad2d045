namespace RyzenLlm.Engine.Tests;

/// <summary>
/// Vocabularies and weights from public repositories, which are not part of this one: the folder "shared" beside the repository.
/// </summary>
internal static class SharedFiles
{
    /// <summary>
    /// Path of a file or folder, relative to the shared folder. Ignores the running test where it is absent, or fails it if
    /// RYZENLLM_REQUIRE_SHARED is 1.
    /// </summary>
    public static string Path(string relative)
    {
        var path = System.IO.Path.GetFullPath(System.IO.Path.Combine(Fixtures.File(""), "..", "..", "..", "shared", relative));
        if (!File.Exists(path) && !Directory.Exists(path))
        {
            var reason = $"{relative} is not in the folder 'shared' beside the repository.";
            if (Environment.GetEnvironmentVariable("RYZENLLM_REQUIRE_SHARED") == "1")
            {
                Assert.Fail(reason);
            }

            Assert.Ignore(reason);
        }

        return path;
    }
}
