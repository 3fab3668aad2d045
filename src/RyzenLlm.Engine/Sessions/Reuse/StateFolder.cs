using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using RyzenLlm.Engine.Files;

namespace RyzenLlm.Engine.Sessions.Reuse;

/// <summary>
/// States on disk: TENANT/MODEL/POSITION-NAME.state, where all three names are keyed hashes, so that nobody without the folder's key can ask whether a text was
/// seen. A file is written under another name, forced to disk and then renamed; what is read must carry its own name, belong to the model and pass its checksum,
/// else it is removed. Several processes may share a folder. The files used longest ago go first.
/// </summary>
public sealed class StateFolder : IDisposable
{
    private const string Extension = ".state";
    private const string KeyFile = "key";
    private const int KeyBytes = 32;
    private const int NameBytes = 16;
    private static readonly TimeSpan AbandonedAfter = TimeSpan.FromHours(1);
    private readonly string _path;
    private readonly long _limit;
    private readonly ILogger _log;
    private readonly Lazy<byte[]> _key;
    private readonly Lock _writing = new();
    private readonly BlockingCollection<StateFile> _queue = [];
    private Thread? _writer;

    /// <summary>A folder; made with the first state that is saved.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="limit">Bytes that the files take at most.</param>
    /// <param name="log">Told about files that are no good.</param>
    public StateFolder(string path, long limit, ILogger? log = null)
    {
        (_path, _limit, _log) = (Path.GetFullPath(path), limit, log ?? NullLogger.Instance);
        _key = new(ReadKey);
    }

    /// <summary>Files that are there.</summary>
    public int Count => Files(_path).Count;

    /// <summary>Deletes all states of a tenant, whatever model they belong to, and says how many there were.</summary>
    public int Forget(string tenant)
    {
        lock (_writing) // after the file in work; those that wait were withdrawn
        {
            if (!Directory.Exists(_path))
            {
                return 0;
            }

            var shelf = Path.Combine(_path, Name("tenant", Encoding.UTF8.GetBytes(tenant)));
            var count = Files(shelf).Count;
            if (Directory.Exists(shelf))
            {
                Directory.Delete(shelf, recursive: true);
            }

            return count;
        }
    }

    /// <summary>Writes what waits, then ends.</summary>
    public void Dispose()
    {
        _queue.CompleteAdding();
        _writer?.Join();
    }

    /// <summary>Where the states of one tenant and model are.</summary>
    internal string Shelf(string tenant, ReadOnlySpan<byte> model) =>
        Path.Combine(_path, Name("tenant", Encoding.UTF8.GetBytes(tenant)), Name("model", model));

    /// <summary>What the states after the first tokens of a sequence are filed under: for each position 32 bytes that depend on folder, tenant, model and tokens.</summary>
    internal byte[][] Identities(string tenant, ReadOnlySpan<byte> model, ReadOnlySpan<int> tokens, IReadOnlyList<int> positions)
    {
        using var hash = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, _key.Value);
        Span<byte> length = stackalloc byte[sizeof(int)];
        foreach (var part in (byte[][])[model.ToArray(), Encoding.UTF8.GetBytes(tenant)])
        {
            BinaryPrimitives.WriteInt32LittleEndian(length, part.Length);
            hash.AppendData(length);
            hash.AppendData(part);
        }

        var identities = new byte[positions.Count][];
        var at = 0;
        for (var i = 0; i < positions.Count; i++)
        {
            hash.AppendData(MemoryMarshal.AsBytes(tokens[at..positions[i]]));
            identities[i] = hash.GetCurrentHash();
            at = positions[i];
        }

        return identities;
    }

    /// <summary>Name of a file.</summary>
    internal static string FileName(int position, byte[] identity) => $"{position}-{Convert.ToHexStringLower(identity, 0, NameBytes)}{Extension}";

    /// <summary>Position that a file name tells, or -1 if it is none of ours.</summary>
    internal static int PositionOf(string name)
    {
        var dash = name.IndexOf('-', StringComparison.Ordinal);
        return dash > 0 && name.Length == dash + 1 + (2 * NameBytes) + Extension.Length && name.EndsWith(Extension, StringComparison.Ordinal)
            && int.TryParse(name.AsSpan(0, dash), out var position) && position > 0 ? position : -1;
    }

    /// <summary>Names of the states in a shelf; what else lies there is removed.</summary>
    internal HashSet<string> List(string shelf)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (var file in Directory.Exists(shelf) ? Directory.EnumerateFiles(shelf) : [])
        {
            var name = Path.GetFileName(file);
            if (PositionOf(name) > 0)
            {
                names.Add(name);
            }
            else if (!name.EndsWith(PrivateFile.PartExtension, StringComparison.Ordinal))
            {
                Discard(file, "it is no saved state");
            }
        }

        return names;
    }

    /// <summary>Reads a file and notes that it was of use; removes it if it is no good.</summary>
    /// <returns>Whether it was read.</returns>
    internal bool Read(string path, Action<Stream> read)
    {
        try
        {
            using (var file = new FileStream(path, new FileStreamOptions { Options = FileOptions.SequentialScan, BufferSize = 1 << 17 }))
            {
                read(file);
            }

            File.SetLastWriteTimeUtc(path, DateTime.UtcNow);
            return true;
        }
        catch (InvalidDataException e)
        {
            Discard(path, e.Message);
            return false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _log.LogWarning("The saved state {Path} could not be read: {Reason}", path, e.Message);
            return false;
        }
    }

    /// <summary>Says why states cannot be saved or found; requests go on without.</summary>
    internal void Warn(Exception e) => _log.LogWarning("States in {Path} cannot be used: {Reason}", _path, e.Message);

    /// <summary>Has a state written in the background.</summary>
    internal void Enqueue(StateFile file)
    {
        lock (_queue)
        {
            if (_writer is null)
            {
                _writer = new Thread(Serve) { IsBackground = true, Name = "states" };
                _writer.Start();
            }
        }

        _queue.Add(file);
    }

    private void Serve()
    {
        foreach (var file in _queue.GetConsumingEnumerable())
        {
            try
            {
                lock (_writing)
                {
                    if (!file.Withdrawn)
                    {
                        Write(file);
                    }
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Warn(e);
            }
            finally
            {
                file.Done();
            }
        }
    }

    private void Write(StateFile file)
    {
        var positions = file.Positions;
        var identities = Identities(file.Tenant.Name, file.Model, file.Tokens, positions);
        var shelf = Shelf(file.Tenant.Name, file.Model);
        PrivateFile.MakeFolder(Path.GetDirectoryName(shelf)!);
        PrivateFile.MakeFolder(shelf);
        for (var i = 0; i < positions.Count && !file.Withdrawn; i++)
        {
            var path = Path.Combine(shelf, FileName(positions[i], identities[i]));
            if (File.Exists(path))
            {
                File.SetLastWriteTimeUtc(path, DateTime.UtcNow);
                continue;
            }

            var identity = identities[i];
            PrivateFile.Write(path, stream => file.State.Session.SavePart(stream, identity, file.StartOf(positions[i]), positions[i]));
        }

        DropEarlier(shelf, file);
        KeepLimit();
    }

    // Beside whole parts, a conversation needs the ends of its last prompt and its last answer; earlier ones are of no more use to it.
    private void DropEarlier(string shelf, StateFile file)
    {
        var names = List(shelf);
        int[] positions = [.. names.Select(PositionOf).Where(p => p <= file.Tokens.Length && file.IsEnd(p)).Distinct().Order()];
        var path = positions.Zip(Identities(file.Tenant.Name, file.Model, file.Tokens, positions), FileName).Where(names.Contains).ToList();
        foreach (var name in path.SkipLast(2))
        {
            File.Delete(Path.Combine(shelf, name));
        }
    }

    private void KeepLimit()
    {
        var files = Files(_path);
        var total = files.Sum(f => f.Length);
        foreach (var file in files.OrderBy(f => f.LastWriteTimeUtc).TakeWhile(_ => total > _limit))
        {
            total -= file.Length;
            file.Delete();
        }

        foreach (var part in new DirectoryInfo(_path).EnumerateFiles("*" + PrivateFile.PartExtension, SearchOption.AllDirectories))
        {
            if (DateTime.UtcNow - part.LastWriteTimeUtc > AbandonedAfter)
            {
                part.Delete(); // of a process that ended while it wrote
            }
        }
    }

    private static List<FileInfo> Files(string path) =>
        Directory.Exists(path) ? [.. new DirectoryInfo(path).EnumerateFiles("*" + Extension, SearchOption.AllDirectories)] : [];

    private void Discard(string path, string reason)
    {
        _log.LogWarning("The file {Path} is of no use and is removed: {Reason}", path, reason);
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _log.LogWarning("The file {Path} could not be removed: {Reason}", path, e.Message);
        }
    }

    private string Name(string kind, ReadOnlySpan<byte> of) =>
        Convert.ToHexStringLower(HMACSHA256.HashData(_key.Value, (byte[])[.. Encoding.UTF8.GetBytes(kind), 0, .. of]), 0, NameBytes);

    // Whoever comes first makes the key; a second process that comes at the same moment finds the rename refused and takes the first one's.
    private byte[] ReadKey()
    {
        PrivateFile.MakeFolder(_path);
        var path = Path.Combine(_path, KeyFile);
        if (!File.Exists(path))
        {
            try
            {
                PrivateFile.Write(path, stream => stream.Write(RandomNumberGenerator.GetBytes(KeyBytes)), overwrite: false);
            }
            catch (IOException) when (File.Exists(path))
            {
                // the other one's
            }
        }

        var key = File.ReadAllBytes(path);
        return key.Length == KeyBytes ? key : throw new IOException($"The key {path} is damaged: delete the folder {_path}, its states cannot be found any more.");
    }
}
