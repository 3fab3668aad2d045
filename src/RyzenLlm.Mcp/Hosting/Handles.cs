using System.Buffers.Text;
using System.Security.Cryptography;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// What the server keeps for a later call of the same tenant, under names that nobody can guess. A name is forgotten some time after its last
/// use, and the oldest ones when a tenant has too many. Thread-safe.
/// </summary>
/// <param name="clock">Time for the expiry.</param>
/// <param name="lifetime">How long after its last use a name is kept.</param>
/// <param name="perTenant">Names a tenant may have.</param>
/// <param name="forgotten">Told of every value whose name is forgotten before it was removed; or null.</param>
internal sealed class Handles<T>(TimeProvider clock, TimeSpan lifetime, int perTenant, Action<T>? forgotten = null)
    where T : class
{
    private const int RandomBytes = 18; // 144 bits, 24 characters

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Entry> _entries = [];

    /// <summary>How long after its last use a name is kept.</summary>
    public TimeSpan Lifetime => lifetime;

    /// <summary>Names known at the moment.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _entries.Count;
            }
        }
    }

    /// <summary>Keeps a value and gives its name.</summary>
    public string Add(Caller owner, T value)
    {
        Span<byte> random = stackalloc byte[RandomBytes];
        RandomNumberGenerator.Fill(random);
        var name = Base64Url.EncodeToString(random);
        List<T> dropped;
        lock (_lock)
        {
            dropped = [.. Remove(_entries.Where(e => Expired(e.Value)))];
            var own = _entries.Where(e => e.Value.Owner == owner.Tenant).OrderBy(e => e.Value.LastUse).ToList();
            dropped.AddRange(Remove(own.Take(own.Count - perTenant + 1)));
            _entries.Add(name, new(owner.Tenant, value) { LastUse = clock.GetTimestamp() });
        }

        dropped.ForEach(value => forgotten?.Invoke(value));
        return name;
    }

    /// <summary>The value of a name, or null if this tenant has no such name, any more or ever.</summary>
    public T? Find(Caller owner, string name)
    {
        lock (_lock)
        {
            if (!_entries.TryGetValue(name, out var entry) || entry.Owner != owner.Tenant || Expired(entry))
            {
                return null;
            }

            entry.LastUse = clock.GetTimestamp();
            return entry.Value;
        }
    }

    private bool Expired(Entry entry) => clock.GetElapsedTime(entry.LastUse) > lifetime;

    private IEnumerable<T> Remove(IEnumerable<KeyValuePair<string, Entry>> entries) => entries.ToList().Select(entry =>
    {
        _entries.Remove(entry.Key);
        return entry.Value.Value;
    });

    private sealed class Entry(string owner, T value)
    {
        public string Owner { get; } = owner;

        public T Value { get; } = value;

        public long LastUse { get; set; }
    }
}
