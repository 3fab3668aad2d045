using System.Security.Cryptography;

namespace RyzenLlm.Engine.Files;

/// <summary>Files that only the user may read and that are there as a whole or not at all.</summary>
public static class PrivateFile
{
    /// <summary>Ending of files that are being written. What a process leaves behind that ends meanwhile has it too.</summary>
    public const string PartExtension = ".part";

    /// <summary>Writes a file under another name, forces it to disk and renames it.</summary>
    /// <param name="path">The file.</param>
    /// <param name="write">Writes its contents.</param>
    /// <param name="overwrite">Whether it takes the place of a file that exists; else the call fails with an <see cref="IOException"/> then.</param>
    public static void Write(string path, Action<Stream> write, bool overwrite = true)
    {
        var part = $"{path}.{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(6))}{PartExtension}";
        try
        {
            WriteAndFlush(part, write);
            File.Move(part, path, overwrite);
        }
        catch
        {
            File.Delete(part);
            throw;
        }
    }

    /// <summary>Makes a folder that only the user may look into, if there is none.</summary>
    public static void MakeFolder(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(path);
        }
        else
        {
            Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    private static void WriteAndFlush(string path, Action<Stream> write)
    {
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, Share = FileShare.None, BufferSize = 1 << 17 };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        using var file = new FileStream(path, options);
        write(file);
        file.Flush(flushToDisk: true);
    }
}
