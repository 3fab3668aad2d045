using System.Text.Json;
using System.Text.Json.Serialization;

namespace RyzenLlm.Memory;

/// <summary>What became of a shared unit.</summary>
/// <param name="Time">When.</param>
/// <param name="Event"><c>share</c>, <c>unshare</c> or <c>read</c>.</param>
/// <param name="Tenant">Who did it.</param>
/// <param name="Owner">Whose unit it is.</param>
/// <param name="Unit">Its id with the owner.</param>
/// <param name="With">With whom it is, or no longer is, shared: <c>all</c> or a tenant; null for a reading.</param>
public sealed record AuditLine(DateTimeOffset Time, string Event, string Tenant, string Owner, Guid Unit, string? With);

/// <summary>
/// A file to which lines of JSON are appended and forced to disk; nothing here reads, changes or deletes them. It holds no text of units.
/// Several processes may share it: each has the file alone while it appends.
/// </summary>
/// <param name="path">The file; made with its folder, for its owner alone, by the first line.</param>
public sealed class AuditLog(string path)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);
    private readonly Lock _lock = new();

    /// <summary>The file.</summary>
    public string Path { get; } = System.IO.Path.GetFullPath(path);

    /// <summary>Appends the lines; when this returns they are on disk.</summary>
    /// <exception cref="IOException">They could not be written, all or in part.</exception>
    public void Append(IReadOnlyCollection<AuditLine> lines)
    {
        if (lines.Count == 0)
        {
            return;
        }

        using var text = new MemoryStream();
        foreach (AuditLine line in lines)
        {
            JsonSerializer.Serialize(text, line, AuditJson.Default.AuditLine);
            text.WriteByte((byte)'\n');
        }

        lock (_lock)
        {
            try
            {
                using FileStream file = Open();
                if (file.Length > 0)
                {
                    // A line that a full disk or a power cut left unfinished does not take the next one with it.
                    file.Seek(-1, SeekOrigin.End);
                    if (file.ReadByte() != '\n')
                    {
                        file.WriteByte((byte)'\n');
                    }
                }

                text.WriteTo(file);
                file.Flush(flushToDisk: true);
            }
            catch (UnauthorizedAccessException e)
            {
                throw new IOException(e.Message, e);
            }
        }
    }

    private FileStream Open()
    {
        var options = new FileStreamOptions { Mode = FileMode.OpenOrCreate, Access = FileAccess.ReadWrite, Share = FileShare.None };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(Path)!);
        for (DateTime began = DateTime.UtcNow; ;)
        {
            try
            {
                return new FileStream(Path, options);
            }
            catch (IOException e) when (e.GetType() == typeof(IOException) && File.Exists(Path) && DateTime.UtcNow - began < Patience)
            {
                Thread.Sleep(Random.Shared.Next(1, 10)); // another process appends
            }
        }
    }
}

/// <summary>Lines as they are written: names of tenants as they are, absent fields left out.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(AuditLine))]
internal sealed partial class AuditJson : JsonSerializerContext;
