using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Tokenizers;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// Conversations by the name that their caller gave them: what was said, and the tokens it was said in, so that the next turn goes on where the last one ended. The
/// protocol has no connection to hang them on. One file each, read and written at every turn, so that servers of one user share them and they survive a restart.
/// </summary>
internal sealed class Conversations(AppSettings settings, TimeProvider clock, ILogger<Conversations>? log = null) : IDisposable
{
    private const string SystemRole = "system";
    private const string AssistantRole = "assistant";

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Line> _lines = [];
    private readonly string? _root = FolderOf(settings) is { } folder ? Path.Combine(folder, "conversations") : null;

    /// <summary>What is kept of a conversation.</summary>
    /// <param name="Tenant">Whose.</param>
    /// <param name="Name">Its name.</param>
    /// <param name="Turns">What was said, instruction first where there is one.</param>
    /// <param name="Vocabulary">Fingerprint of the tokens' vocabulary.</param>
    /// <param name="Said">Tokens of the last prompt and answer as they were computed.</param>
    internal sealed record Record(string Tenant, string Name, ChatTurn[] Turns, string Vocabulary, int[] Said);

    /// <summary>Folder of everything that is kept on disk; null where nothing is.</summary>
    public static string? FolderOf(AppSettings settings) =>
        MemorySize.Parse(settings.States.Disk, long.MaxValue) == 0 ? null
        : settings.States.Folder.Length > 0 ? Path.GetFullPath(settings.States.Folder)
        : Path.Combine(Path.GetDirectoryName(ModelLibrary.CacheFolder)!, "states");

    /// <summary>A conversation, new if there is none of this name, for one turn: the next one of the same conversation waits until this is disposed of.</summary>
    public async Task<Conversation> EnterAsync(Caller caller, string name, CancellationToken cancel)
    {
        var key = Key(caller.Tenant, name);
        Line? line;
        lock (_lock)
        {
            if (!_lines.TryGetValue(key, out line))
            {
                _lines.Add(key, line = new());
            }

            line.Users++;
        }

        try
        {
            await line.Turn.WaitAsync(cancel).ConfigureAwait(false);
        }
        catch
        {
            Leave(key, line);
            throw;
        }

        return new(this, key, line, Read(key, caller.Tenant, name) ?? new(caller.Tenant, name, [], "", []));
    }

    /// <summary>What was said in a conversation up to now, without waiting for the turn in work.</summary>
    public IReadOnlyList<ChatTurn> Glance(Caller caller, string name)
    {
        var key = Key(caller.Tenant, name);
        if (_root is not null)
        {
            return ReadFile(key, caller.Tenant, name)?.Turns ?? [];
        }

        lock (_lock)
        {
            return _lines.TryGetValue(key, out var line) && clock.GetUtcNow() - line.LastUse <= Lifetime ? line.Kept?.Turns ?? [] : [];
        }
    }

    /// <summary>Forgets a conversation of a tenant, or all of them, and says how many there were.</summary>
    public int Forget(string tenant, string? name = null)
    {
        var prefix = Key(tenant, null);
        lock (_lock)
        {
            var lines = _lines.Where(l => name is null ? l.Key.StartsWith(prefix, StringComparison.Ordinal) : l.Key == Key(tenant, name)).ToList();
            var count = lines.Count(l => _root is null && l.Value.Kept is not null);
            foreach (var (_, line) in lines)
            {
                line.Kept = null;
                line.Forgotten = true; // a turn in work is not kept
            }

            foreach (var file in name is null ? FilesOf(tenant) : FilesOf(tenant).Where(f => f.FullName == PathOf(Key(tenant, name))))
            {
                file.Delete();
                count++;
            }

            return count;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var line in _lines.Values)
        {
            line.Turn.Dispose();
        }
    }

    private static string Key(string tenant, string? name) => $"{Hash(tenant)}/{(name is null ? "" : Hash(name))}";

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)), 0, 16);

    private string PathOf(string key) => Path.Combine(_root!, key) + ".json";

    private IEnumerable<FileInfo> FilesOf(string tenant) =>
        _root is not null && new DirectoryInfo(Path.Combine(_root, Hash(tenant))) is { Exists: true } folder ? folder.EnumerateFiles("*.json") : [];

    private Record? Read(string key, string tenant, string name)
    {
        lock (_lock)
        {
            var line = _lines[key];
            line.Forgotten = false;
            if (_root is null)
            {
                return clock.GetUtcNow() - line.LastUse <= Lifetime ? line.Kept : null;
            }
        }

        return ReadFile(key, tenant, name);
    }

    private Record? ReadFile(string key, string tenant, string name)
    {
        var file = new FileInfo(PathOf(key));
        if (!file.Exists || clock.GetUtcNow() - file.LastWriteTimeUtc > Lifetime)
        {
            return null;
        }

        try
        {
            var record = JsonSerializer.Deserialize<Record>(File.ReadAllBytes(file.FullName));
            return record is { Turns: not null, Said: not null, Vocabulary: not null } && record.Tenant == tenant && record.Name == name
                ? record
                : throw new InvalidDataException("it is another conversation's");
        }
        catch (Exception e) when (e is JsonException or InvalidDataException or IOException or UnauthorizedAccessException)
        {
            log?.LogWarning("The conversation in {Path} is lost and begins anew: {Reason}", file.FullName, e.Message);
            return null;
        }
    }

    private TimeSpan Lifetime => TimeSpan.FromDays(settings.States.ExpireDays);

    private void Write(string key, Line line, Record record)
    {
        lock (_lock)
        {
            if (line.Forgotten)
            {
                return;
            }

            line.LastUse = clock.GetUtcNow();
            if (_root is null)
            {
                line.Kept = record;
            }
            else
            {
                PrivateFile.MakeFolder(_root);
                PrivateFile.MakeFolder(Path.GetDirectoryName(PathOf(key))!);
                PrivateFile.Write(PathOf(key), stream => JsonSerializer.Serialize(stream, record));
            }

            KeepLimits(record.Tenant);
        }
    }

    private void KeepLimits(string tenant)
    {
        var now = clock.GetUtcNow();
        foreach (var file in FilesOf(tenant).OrderByDescending(f => f.LastWriteTimeUtc).Index())
        {
            if (file.Index >= settings.States.Conversations || now - file.Item.LastWriteTimeUtc > Lifetime)
            {
                file.Item.Delete();
            }
        }

        var prefix = Key(tenant, null);
        var kept = _lines.Where(l => l.Key.StartsWith(prefix, StringComparison.Ordinal) && l.Value.Kept is not null).OrderByDescending(l => l.Value.LastUse).ToList();
        foreach (var (index, (key, line)) in kept.Index())
        {
            if (index >= settings.States.Conversations || now - line.LastUse > Lifetime)
            {
                line.Kept = null;
                if (line.Users == 0)
                {
                    _lines.Remove(key);
                }
            }
        }
    }

    private void Leave(string key, Line line)
    {
        lock (_lock)
        {
            if (--line.Users == 0 && line.Kept is null)
            {
                _lines.Remove(key);
            }
        }
    }

    /// <summary>One turn of a conversation.</summary>
    internal sealed class Conversation : IDisposable
    {
        private readonly Conversations _owner;
        private readonly string _key;
        private readonly Line _line;
        private Record _record;

        public Conversation(Conversations owner, string key, Line line, Record record) => (_owner, _key, _line, _record) = (owner, key, line, record);

        /// <summary>What was said before.</summary>
        public IReadOnlyList<ChatTurn> Turns => _record.Turns;

        /// <summary>A request, which has its new turn and perhaps an instruction, with what was said before. A new instruction takes the place of the old one.</summary>
        public GenerationRequest Ask(GenerationRequest asked)
        {
            var instruction = asked.Turns.Where(t => t.Role == SystemRole).DefaultIfEmpty(Turns.FirstOrDefault(t => t.Role == SystemRole)).First();
            return asked with
            {
                Turns =
                [
                    .. instruction.Content is null ? [] : new[] { instruction },
                    .. Turns.Where(t => t.Role != SystemRole),
                    .. asked.Turns.Where(t => t.Role != SystemRole),
                ],
            };
        }

        /// <summary>The tokens of all that, if a vocabulary is that of the model that said it; else none.</summary>
        public int[] SaidIn(ITokenizer? vocabulary) => vocabulary?.Fingerprint == _record.Vocabulary ? _record.Said : [];

        /// <summary>Keeps the new turn and its answer, whole or as far as it came; nothing if there is none or the caller has gone.</summary>
        /// <param name="asked">All turns up to the new one.</param>
        /// <param name="before">What earlier calls wrote of this answer.</param>
        /// <param name="result">What the last one wrote.</param>
        /// <param name="vocabulary">Of the model that answered.</param>
        public void Keep(IReadOnlyList<ChatTurn> asked, string before, GenerationResult result, ITokenizer vocabulary)
        {
            var answer = before + result.Text;
            if (answer.Length > 0 && result.FinishReason != FinishReason.Cancelled)
            {
                Keep([.. asked, new(AssistantRole, answer)], vocabulary, result.Tokens);
            }
        }

        /// <summary>Keeps what is said now, unless the conversation was forgotten meanwhile.</summary>
        /// <param name="turns">All turns, with the last answer.</param>
        /// <param name="vocabulary">Of the model that answered.</param>
        /// <param name="said">Tokens of prompt and answer.</param>
        public void Keep(IReadOnlyList<ChatTurn> turns, ITokenizer vocabulary, IReadOnlyList<int> said)
        {
            _record = _record with { Turns = [.. turns], Vocabulary = vocabulary.Fingerprint, Said = [.. said] };
            _owner.Write(_key, _line, _record);
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            _line.Turn.Release();
            _owner.Leave(_key, _line);
        }
    }

    /// <summary>Those who want to speak in a conversation, one after another.</summary>
    internal sealed class Line
    {
        public SemaphoreSlim Turn { get; } = new(1, 1);

        public int Users { get; set; }

        public bool Forgotten { get; set; }

        public DateTimeOffset LastUse { get; set; }

        public Record? Kept { get; set; }
    }
}
