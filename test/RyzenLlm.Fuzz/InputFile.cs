namespace RyzenLlm.Fuzz;

/// <summary>A file in memory, where the system has such a folder, for readers that take a path.</summary>
internal sealed class InputFile : IDisposable
{
    private readonly string _folder = Directory.CreateDirectory(
        System.IO.Path.Combine(Directory.Exists("/dev/shm") ? "/dev/shm" : System.IO.Path.GetTempPath(), $"ryzenllm-fuzz-{Environment.ProcessId}-{Guid.NewGuid():N}")).FullName;

    /// <summary>Writes the parts one after another as a file of this name and returns its path.</summary>
    public string Write(string name, params ReadOnlySpan<byte[]> parts)
    {
        var path = System.IO.Path.Combine(_folder, name);
        using var stream = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, bufferSize: 0);
        foreach (var part in parts)
        {
            stream.Write(part);
        }

        return path;
    }

    /// <summary>What a writer that takes a path writes.</summary>
    public byte[] BytesOf(Action<string> write)
    {
        var path = System.IO.Path.Combine(_folder, "seed");
        write(path);
        return File.ReadAllBytes(path);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
