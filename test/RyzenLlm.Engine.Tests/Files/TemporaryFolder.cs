namespace RyzenLlm.Engine.Tests.Files;

/// <summary>A folder of its own for one test, removed afterwards.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("ryzenllm-test-");
    private int _written;

    public string Path(string name) => System.IO.Path.Combine(_folder.FullName, name);

    /// <summary>Writes a file under a name that no other call gave.</summary>
    public string Write(byte[] bytes, string extension = "")
    {
        var path = Path($"{_written++}{extension}");
        File.WriteAllBytes(path, bytes);
        return path;
    }

    public void Dispose() => _folder.Delete(recursive: true);
}
