using System.Runtime.InteropServices;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Ranking;

/// <summary>What the ranker must know of one unit. Times are in microseconds since 1970.</summary>
internal sealed record IndexedUnit
{
    public required long Row { get; init; }
    public required Guid Id { get; init; }
    public required string Scope { get; init; }
    public required string Session { get; init; }
    public required long Ordinal { get; init; }
    public required string Speaker { get; init; }
    public required long CreatedAt { get; init; }
    public long ExpiresAt { get; init; } = long.MaxValue;
    public bool Superseded { get; init; }
    public bool Question { get; init; }
    public RsuTier Tier { get; init; } = RsuTier.Full;
    public string? SharedBy { get; init; }
}

/// <summary>
/// The postings, links and quantised vectors of one tenant's units, in memory. Units have numbers ("docs") in order of
/// arrival. An index whose units were deleted is thrown away and built again, so that nothing forgotten stays behind in
/// a statistic. Reading from several threads is safe while nobody writes.
/// </summary>
internal sealed class TenantIndex
{
    private static readonly HashSet<string> Roles = ["", "user", "assistant", "system", "tool", "human", "ai"];

    private readonly Dictionary<uint, Postings> _postings = [];
    private readonly Dictionary<(string? SharedBy, string Scope, string Session), SessionUnits> _sessions = [];
    private readonly Dictionary<long, int> _docs = [];
    private readonly Dictionary<string, Speaker> _speakers = [];
    private readonly List<SessionUnits> _sessionList = [];
    private readonly List<IndexedUnit> _units = [];
    private readonly List<TermBag> _terms = [];
    private readonly List<int> _lengths = [];
    private readonly List<int> _sessionOf = [];
    private readonly List<int> _previous = [];
    private readonly List<int> _next = [];
    private readonly List<bool> _questions = [];
    private readonly List<bool> _contextTier = [];
    private long _totalLength;

    public int Count => _units.Count;

    public int SessionCount => _sessionList.Count;

    public float AverageLength => Math.Max(1, (float)_totalLength / Math.Max(1, Count));

    public float AverageSessionLength => Math.Max(1, (float)_totalLength / Math.Max(1, SessionCount));

    public VectorBlock Vectors { get; } = new();

    public IndexedUnit this[int doc] => _units[doc];

    public ReadOnlySpan<int> Lengths => CollectionsMarshal.AsSpan(_lengths);

    public ReadOnlySpan<int> SessionOf => CollectionsMarshal.AsSpan(_sessionOf);

    public ReadOnlySpan<int> Previous => CollectionsMarshal.AsSpan(_previous);

    public ReadOnlySpan<int> Next => CollectionsMarshal.AsSpan(_next);

    public ReadOnlySpan<bool> ContextTier => CollectionsMarshal.AsSpan(_contextTier);

    public ReadOnlySpan<bool> Questions => CollectionsMarshal.AsSpan(_questions);

    public Postings? Find(uint term) => _postings.GetValueOrDefault(term);

    public TermBag Terms(int doc) => _terms[doc];

    public int SessionLength(int session) => _sessionList[session].Length;

    /// <summary>The units of every speaker, roles such as "user" apart, whose name shares a word with the query.</summary>
    public IEnumerable<IReadOnlyList<int>> SaidByNamed(TermBag query) =>
        _speakers.Values.Where(s => s.Name.Terms.Any(t => Array.BinarySearch(query.Terms, t) >= 0)).Select(s => s.Docs);

    /// <summary>Adds a unit, or replaces the marks of a known one; text, session and vector of a row never change.</summary>
    public void Put(IndexedUnit unit, TermBag terms, ReadOnlySpan<sbyte> vector, float scale)
    {
        if (_docs.TryGetValue(unit.Row, out int known))
        {
            _units[known] = unit;
            return;
        }

        int doc = _units.Count;
        _docs[unit.Row] = doc;
        _units.Add(unit);
        _terms.Add(terms);
        _lengths.Add(terms.Length);
        _questions.Add(unit.Question);
        _contextTier.Add(unit.Tier == RsuTier.Context);
        _totalLength += terms.Length;
        for (int i = 0; i < terms.Terms.Length; i++)
        {
            ref Postings? postings = ref CollectionsMarshal.GetValueRefOrAddDefault(_postings, terms.Terms[i], out _);
            (postings ??= new Postings()).Add(doc, terms.Counts[i]);
        }

        Vectors.Add(vector, scale);
        if (!Roles.Contains(unit.Speaker.ToLowerInvariant()))
        {
            ref Speaker? speaker = ref CollectionsMarshal.GetValueRefOrAddDefault(_speakers, unit.Speaker, out _);
            (speaker ??= new Speaker(TermBag.Of(unit.Speaker))).Docs.Add(doc);
        }

        Link(doc, unit);
    }

    private void Link(int doc, IndexedUnit unit)
    {
        ref SessionUnits? session = ref CollectionsMarshal.GetValueRefOrAddDefault(_sessions, (unit.SharedBy, unit.Scope, unit.Session), out bool known);
        if (!known)
        {
            session = new SessionUnits(_sessionList.Count);
            _sessionList.Add(session);
        }

        _sessionOf.Add(session!.Number);
        _previous.Add(-1);
        _next.Add(-1);
        session.Length += _lengths[doc];
        List<int> docs = session.Docs;
        int at = docs.Count;
        while (at > 0 && _units[docs[at - 1]].Ordinal > unit.Ordinal)
        {
            at--;
        }

        docs.Insert(at, doc);
        if (at > 0)
        {
            _previous[doc] = docs[at - 1];
            _next[docs[at - 1]] = doc;
        }

        if (at + 1 < docs.Count)
        {
            _next[doc] = docs[at + 1];
            _previous[docs[at + 1]] = doc;
        }
    }

    private sealed class SessionUnits(int number)
    {
        public int Number { get; } = number;
        public List<int> Docs { get; } = [];
        public int Length { get; set; }
    }

    private sealed record Speaker(TermBag Name)
    {
        public List<int> Docs { get; } = [];
    }
}

/// <summary>Where one term occurs: docs in rising order with the occurrences in each.</summary>
internal sealed class Postings
{
    private readonly List<int> _docs = [];
    private readonly List<byte> _counts = [];

    public int Count => _docs.Count;

    public ReadOnlySpan<int> Docs => CollectionsMarshal.AsSpan(_docs);

    public ReadOnlySpan<byte> Counts => CollectionsMarshal.AsSpan(_counts);

    public void Add(int doc, byte count)
    {
        _docs.Add(doc);
        _counts.Add(count);
    }
}
