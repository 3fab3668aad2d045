using System.Globalization;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using RyzenLlm.Engine.Files;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting.Shared;

/// <summary>
/// Where bridges and the server that they share meet: a socket, locks, the number of a process and a log in a folder that only the user may enter. Their name stands for this build of the
/// program, its settings and what else decides what the server does, so a bridge never gets to a server that would answer otherwise than its own process would.
/// </summary>
/// <param name="Folder">The folder.</param>
/// <param name="Name">Name of all of them, without ending.</param>
internal sealed record SharedPlace(string Folder, string Name)
{
    // The shortest limit of the systems: 104 bytes with the terminating zero (macOS).
    private const int LongestSocketPath = 103;

    private const UnixFileMode Others = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.GroupExecute
        | UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute;

    /// <summary>The socket that the server listens on.</summary>
    public string Socket => Path.Combine(Folder, Name + ".sock");

    /// <summary>Held as long as the server lives, whatever ends it.</summary>
    public string Lock => Path.Combine(Folder, Name + ".lock");

    /// <summary>Held by the bridge that starts the server.</summary>
    public string StartLock => Path.Combine(Folder, Name + ".start");

    /// <summary>Says which process holds the lock.</summary>
    public string Process => Path.Combine(Folder, Name + ".pid");

    /// <summary>What the server writes to standard error.</summary>
    public string Log => Path.Combine(Folder, Name + ".log");

    /// <summary>The place for a program with these settings; its folder is there afterwards.</summary>
    /// <param name="settings">The settings.</param>
    /// <param name="build">Version of the program with its source revision.</param>
    /// <exception cref="SettingsException">Others may enter the folder, or its name is too long.</exception>
    public static SharedPlace Of(AppSettings settings, string build)
    {
        var place = new SharedPlace(FolderOf(settings.Server.Shared), NameOf(settings, build));
        PrivateFile.MakeFolder(place.Folder);
        if (!OperatingSystem.IsWindows() && (File.GetUnixFileMode(place.Folder) & Others) != 0)
        {
            throw new SettingsException($"Others may enter {place.Folder}, so nothing can be shared there: chmod 700 it, or name another folder in Server:Shared:Folder.");
        }

        return Encoding.UTF8.GetByteCount(place.Socket) <= LongestSocketPath ? place
            : throw new SettingsException($"The path of a socket cannot be as long as {place.Socket}: name a folder with a shorter path in Server:Shared:Folder.");
    }

    /// <summary>Takes the lock of the server, or gives null where another process has it.</summary>
    public FileStream? TryLock()
    {
        var held = TryLock(Lock);
        if (held is not null)
        {
            File.WriteAllText(Process, Environment.ProcessId.ToString(CultureInfo.InvariantCulture));
        }

        return held;
    }

    /// <summary>Takes a lock until the stream is disposed of or the process ends, or gives null where another process has it.</summary>
    public static FileStream? TryLock(string path)
    {
        try
        {
            return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException)
        {
            return null;
        }
    }

    /// <summary>Number of the process that holds the lock or was the last to do so.</summary>
    public string LastHolder()
    {
        try
        {
            return File.ReadAllText(Process);
        }
        catch (IOException)
        {
            return "unknown";
        }
    }

    /// <summary>Listens. Only the holder of the lock may: a socket that is there is left from a server that was killed.</summary>
    public Socket Listen()
    {
        File.Delete(Socket);
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(Socket));
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(Socket, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }

        listener.Listen();
        return listener;
    }

    private static string FolderOf(SharedSettings shared)
    {
        if (shared.Folder.Length > 0)
        {
            return Path.GetFullPath(shared.Folder);
        }

        var runtime = Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR");
        return OperatingSystem.IsWindows() ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData), "ryzenllm", "run")
            : Path.IsPathFullyQualified(runtime ?? "") ? Path.Combine(runtime!, "ryzenllm")
            : Path.Combine(Path.GetDirectoryName(ModelLibrary.CacheFolder)!, "run");
    }

    private static string NameOf(AppSettings settings, string build)
    {
        IEnumerable<string?> parts =
        [
            build, AppContext.BaseDirectory, Environment.MachineName, HasRelativePath(settings) ? Environment.CurrentDirectory : "",
            .. new[] { "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME" }.Select(Environment.GetEnvironmentVariable),
            .. SettingsReader.Values(settings).Select(v => $"{v.Key}={(v.Value is string[] list ? string.Join('\n', list) : Convert.ToString(v.Value, CultureInfo.InvariantCulture))}"),
        ];
        return "server-" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Join('\0', parts))), 0, 6);
    }

    // Such a path means another file in another folder, and clients start the program in folders of their own.
    private static bool HasRelativePath(AppSettings settings) => new[]
    {
        NamedPath(settings.Models.Default),
        NamedPath(settings.Memory.Embedder),
        settings.Models.ProfileFolder,
        settings.Models.FeedbackFolder,
        settings.States.Folder,
        settings.Memory.Store.StartsWith("sqlite:", StringComparison.OrdinalIgnoreCase) ? settings.Memory.Store["sqlite:".Length..] : "",
        settings.Memory.Qdrant.OutboxPath,
    }.Concat(settings.Models.Folders).Any(path => path.Length > 0 && !Path.IsPathFullyQualified(path));

    // A model by its path, not by its name.
    private static string NamedPath(string model) =>
        model.Replace("model:", "", StringComparison.OrdinalIgnoreCase) is var path && path.AsSpan().ContainsAny('/', '\\') ? path : "";
}
