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

    /// <summary>A copy of mamba-f32 whose vocabulary names no end token, so that a generation ends only from outside.</summary>
    public static string EndlessModel => s_endless.Value;

    /// <summary>A memory file for tests that do not look into it, so that none touches the user's own.</summary>
    public static string ScratchMemory { get; } = Path.Combine(Directory.CreateTempSubdirectory("ryzenllm-memory-").FullName, "memory.db");

    /// <summary>A fresh folder, so that no test touches what belongs to the user or to another test.</summary>
    public static string Scratch(string name) => Directory.CreateTempSubdirectory($"ryzenllm-{name}-").FullName;

    private static readonly Lazy<string> s_endless = new(() =>
    {
        var bytes = File.ReadAllBytes(Path.Combine(Models, "mamba-f32.gguf"));
        var at = bytes.AsSpan().IndexOf("tokenizer.ggml.eos_token_id"u8);
        "xxx"u8.CopyTo(bytes.AsSpan(at + "tokenizer.ggml.".Length));
        var path = Path.Combine(Directory.CreateTempSubdirectory("ryzenllm-endless-").FullName, "endless.gguf");
        File.WriteAllBytes(path, bytes);
        return path;
    });

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
