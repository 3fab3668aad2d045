using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory;

/// <summary>
/// Bits of surprise of each token of a text under a language model that has just read it, or null when none did. The
/// numbers come from the model's own prefill, so they cost nothing.
/// </summary>
public delegate ValueTask<float[]?> Surprisal(string text, CancellationToken cancellationToken);

/// <summary>
/// How much a unit says for its length: d = (E + 2N)(1 - q/2) / (words + 8), with E the surprisal above 8 bits summed
/// over its tokens, or the idf mass of its stems when no model ran; N the idf mass of stems new to the session; q the
/// share of its sentences that are questions. It sorts units into tiers and deletes nothing.
/// </summary>
internal sealed class TenantStatistics
{
    private const float ExpectedBits = 8;
    private const int WordsBeforeTiers = 2000;
    private const int MaximumSessions = 512;
    private const int Buckets = 128;
    private const float BucketsPerUnit = 12;

    private readonly Dictionary<uint, int> _holding = [];
    private readonly Dictionary<string, HashSet<uint>> _sessions = [];
    private readonly Queue<string> _sessionOrder = new();
    private readonly long[] _wordsByDensity = new long[Buckets];
    private long _words;
    private int _units;

    /// <summary>Whether units already stored were counted.</summary>
    public bool Primed { get; set; }

    /// <summary>Density of a unit about to be stored, and its tier among those seen so far; then counts it.</summary>
    public (float Density, RsuTier Tier) Add(string session, string text, TermBag bag, ReadOnlySpan<float> surprisal)
    {
        float density = Measure(session, text, bag, surprisal, out int words);
        RsuTier tier = TierOf(density);
        Count(session, bag, density, words);
        return (density, tier);
    }

    /// <summary>Counts a unit that is stored already.</summary>
    public void Count(string session, TermBag bag, float density, int words)
    {
        HashSet<uint> seen = StemsOf(session);
        foreach (uint term in bag.Terms)
        {
            _holding[term] = _holding.GetValueOrDefault(term) + 1;
            seen.Add(term);
        }

        _units++;
        _words += words;
        _wordsByDensity[Bucket(density)] += words;
    }

    private float Measure(string session, string text, TermBag bag, ReadOnlySpan<float> surprisal, out int words)
    {
        HashSet<uint> seen = StemsOf(session);
        float all = 0, fresh = 0;
        foreach (uint term in bag.Terms)
        {
            int holding = _holding.GetValueOrDefault(term);
            float idf = MathF.Log(1 + (_units - holding + 0.5f) / (holding + 0.5f));
            all += idf;
            fresh += seen.Contains(term) ? 0 : idf;
        }

        float surprise = 0;
        foreach (float bits in surprisal)
        {
            surprise += Math.Max(0, bits - ExpectedBits);
        }

        words = text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length;
        string[] sentences = [.. Sentences.Of(text)];
        float questions = sentences.Length == 0 ? 0 : (float)sentences.Count(s => s.EndsWith('?')) / sentences.Length;
        return ((surprisal.Length > 0 ? surprise : all) + 2 * fresh) * (1 - questions / 2) / (words + 8);
    }

    private RsuTier TierOf(float density)
    {
        if (_words < WordsBeforeTiers)
        {
            return RsuTier.Full;
        }

        long below = 0;
        int bucket = Bucket(density);
        for (int i = 0; i <= bucket; i++)
        {
            below += _wordsByDensity[i];
        }

        return below <= _words / 10 ? RsuTier.Context : below <= _words / 4 ? RsuTier.Sparse : RsuTier.Full;
    }

    private static int Bucket(float density) => Math.Clamp((int)(density * BucketsPerUnit), 0, Buckets - 1);

    private HashSet<uint> StemsOf(string session)
    {
        if (!_sessions.TryGetValue(session, out HashSet<uint>? stems))
        {
            stems = [];
            _sessions[session] = stems;
            _sessionOrder.Enqueue(session);
            if (_sessionOrder.Count > MaximumSessions)
            {
                _sessions.Remove(_sessionOrder.Dequeue());
            }
        }

        return stems;
    }
}
