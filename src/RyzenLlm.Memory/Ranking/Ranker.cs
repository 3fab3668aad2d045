using System.Buffers;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Ranking;

/// <summary>One unit of an answer list. The score is in standard deviations above the tenant's mean for this query.</summary>
internal readonly record struct Ranked(int Doc, float Score);

/// <summary>
/// Ranks every unit of one tenant: BM25 over stems (Robertson and Zaragoza 2009), lent to neighbours in the same
/// session, plus the session's own BM25 and a bonus for a named speaker; then the dense similarity, lent in the same
/// way, joined by z-scores.
/// </summary>
internal sealed class Ranker(RankingOptions options)
{
    /// <summary>A unit without any word of the query or its neighbourhood must be this many deviations closer than the mean by vector.</summary>
    private const float DenseAloneFloor = 3f;

    private readonly RankingOptions _options = options;

    /// <summary>The best <paramref name="top"/> docs that <paramref name="allowed"/> lets through, best first.</summary>
    public Ranked[] Rank(TenantIndex index, string text, ReadOnlySpan<float> vector, Func<int, bool> allowed, int top)
    {
        int n = index.Count;
        if (n == 0)
        {
            return [];
        }

        float[] sparse = ArrayPool<float>.Shared.Rent(n);
        float[] dense = ArrayPool<float>.Shared.Rent(n);
        try
        {
            Span<float> scores = sparse.AsSpan(0, n);
            TermBag query = TermBag.Of(text);
            Sparse(index, query, scores);
            if (_options.Dense > 0 && vector.Length > 0 && vector.Length == index.Vectors.Dimensions)
            {
                Dense(index, vector, scores, dense.AsSpan(0, n));
            }
            else
            {
                RemoveUnmatched(scores);
            }

            return Top(Standardise(scores), allowed, top);
        }
        finally
        {
            ArrayPool<float>.Shared.Return(sparse);
            ArrayPool<float>.Shared.Return(dense);
        }
    }

    /// <summary>The docs whose int8 vectors are closest to <paramref name="vector"/>, by words unseen.</summary>
    public static Ranked[] Nearest(TenantIndex index, ReadOnlySpan<float> vector, Func<int, bool> allowed, int top)
    {
        if (index.Count == 0 || vector.Length != index.Vectors.Dimensions)
        {
            return [];
        }

        float[] scores = new float[index.Count];
        index.Vectors.Dot(vector, scores);
        return Top(scores, doc => index.Vectors.Has(doc) && allowed(doc), top);
    }

    private void Sparse(TenantIndex index, TermBag query, Span<float> scores)
    {
        scores.Clear();
        if (query.Length == 0)
        {
            return;
        }

        var weights = new Dictionary<uint, float>();
        for (int i = 0; i < query.Terms.Length; i++)
        {
            weights[query.Terms[i]] = query.Counts[i];
        }

        Score(index, weights, scores);
        AddSpeaker(index, query, scores);
        if (_options.Feedback > 0)
        {
            Dictionary<uint, float> expanded = Expand(index, weights, query.Length, scores);
            scores.Clear();
            Score(index, expanded, scores);
            AddSpeaker(index, query, scores);
        }
    }

    private void Score(TenantIndex index, Dictionary<uint, float> weights, Span<float> scores)
    {
        float[] rented = ArrayPool<float>.Shared.Rent(index.Count);
        Span<float> own = rented.AsSpan(0, index.Count);
        own.Clear();
        float[] sessions = new float[index.SessionCount];
        float[] counts = new float[index.SessionCount];
        foreach (var (term, weight) in weights)
        {
            if (index.Find(term) is { } postings)
            {
                AddTerm(index, postings, weight, own, counts);
                AddTermToSessions(index, weight, counts, sessions);
            }
        }

        Lend(index, own, scores, _options.Answer, _options.Question);
        ReadOnlySpan<int> sessionOf = index.SessionOf;
        for (int doc = 0; doc < scores.Length; doc++)
        {
            scores[doc] += _options.Session * sessions[sessionOf[doc]];
        }

        ArrayPool<float>.Shared.Return(rented);
    }

    private void AddTerm(TenantIndex index, Postings postings, float weight, Span<float> own, float[] sessionCounts)
    {
        Array.Clear(sessionCounts);
        float idf = weight * Idf(index.Count, postings.Count);
        float flat = _options.K1 * (1 - _options.B);
        float perWord = _options.K1 * _options.B / index.AverageLength;
        ReadOnlySpan<int> docs = postings.Docs, lengths = index.Lengths, sessionOf = index.SessionOf;
        ReadOnlySpan<byte> counts = postings.Counts;
        for (int i = 0; i < docs.Length; i++)
        {
            int doc = docs[i];
            own[doc] += idf * counts[i] * (_options.K1 + 1) / (counts[i] + flat + perWord * lengths[doc]);
            sessionCounts[sessionOf[doc]] += counts[i];
        }
    }

    private void AddTermToSessions(TenantIndex index, float weight, float[] counts, float[] sessions)
    {
        int holding = 0;
        foreach (float count in counts)
        {
            holding += count > 0 ? 1 : 0;
        }

        float idf = weight * Idf(counts.Length, holding);
        for (int s = 0; s < counts.Length; s++)
        {
            if (counts[s] > 0)
            {
                float norm = _options.K1 * (1 - _options.B + _options.B * index.SessionLength(s) / index.AverageSessionLength);
                sessions[s] += idf * counts[s] * (_options.K1 + 1) / (counts[s] + norm);
            }
        }
    }

    /// <summary>Each doc gets its own score and shares of its neighbours' within two steps of the session.</summary>
    private void Lend(TenantIndex index, ReadOnlySpan<float> own, Span<float> scores, float answer, float question)
    {
        ReadOnlySpan<int> previous = index.Previous, next = index.Next;
        ReadOnlySpan<bool> questions = index.Questions, contextTier = index.ContextTier;
        for (int doc = 0; doc < scores.Length; doc++)
        {
            float score = own[doc] * (questions[doc] ? 1 - question : 1);
            score *= contextTier[doc] ? _options.ContextTier : 1;

            int before = previous[doc], after = next[doc];
            if (before >= 0)
            {
                score += own[before] * (questions[before] ? _options.Near1 + answer : _options.Near1);
                score += previous[before] >= 0 ? own[previous[before]] * _options.Near2 : 0;
            }

            if (after >= 0)
            {
                score += own[after] * _options.Near1;
                score += next[after] >= 0 ? own[next[after]] * _options.Near2 : 0;
            }

            scores[doc] = score;
        }
    }

    private void AddSpeaker(TenantIndex index, TermBag query, Span<float> scores)
    {
        float bonus = _options.Speaker * Deviation(scores);
        if (bonus > 0)
        {
            foreach (var docs in index.SaidByNamed(query))
            {
                foreach (int doc in docs)
                {
                    scores[doc] += bonus;
                }
            }
        }
    }

    /// <summary>Adds the terms that are frequent in the best units and rare elsewhere (RM3).</summary>
    private Dictionary<uint, float> Expand(TenantIndex index, Dictionary<uint, float> weights, int queryLength, ReadOnlySpan<float> scores)
    {
        var model = new Dictionary<uint, float>();
        foreach (var (doc, score) in Top(scores, _ => true, _options.FeedbackUnits))
        {
            TermBag bag = index.Terms(doc);
            for (int i = 0; i < bag.Terms.Length; i++)
            {
                ref float mass = ref CollectionsMarshal.GetValueRefOrAddDefault(model, bag.Terms[i], out _);
                mass += score * bag.Counts[i] / bag.Length * Idf(index.Count, index.Find(bag.Terms[i])!.Count);
            }
        }

        var added = model.OrderByDescending(p => p.Value).ThenBy(p => p.Key).Take(_options.FeedbackTerms).ToArray();
        float total = Math.Max(float.Epsilon, added.Sum(p => p.Value));
        var expanded = weights.ToDictionary(p => p.Key, p => (1 - _options.Feedback) * p.Value);
        foreach (var (term, mass) in added)
        {
            ref float weight = ref CollectionsMarshal.GetValueRefOrAddDefault(expanded, term, out _);
            weight += _options.Feedback * queryLength * mass / total;
        }

        return expanded;
    }

    private void Dense(TenantIndex index, ReadOnlySpan<float> vector, Span<float> scores, Span<float> dense)
    {
        float[] rented = ArrayPool<float>.Shared.Rent(scores.Length);
        Span<float> own = rented.AsSpan(0, scores.Length);
        index.Vectors.Dot(vector, own);
        Lend(index, own, dense, 0, 0);
        ArrayPool<float>.Shared.Return(rented);
        float sparseDeviation = Deviation(scores);
        float denseDeviation = Deviation(dense);
        if (denseDeviation == 0)
        {
            RemoveUnmatched(scores);
            return;
        }

        float weight = sparseDeviation == 0 ? 1 : _options.Dense * sparseDeviation / denseDeviation;
        float floor = TensorPrimitives.Average(dense) + DenseAloneFloor * denseDeviation;
        for (int doc = 0; doc < scores.Length; doc++)
        {
            scores[doc] = scores[doc] == 0 && dense[doc] < floor ? float.NegativeInfinity : scores[doc] + weight * dense[doc];
        }
    }

    /// <summary>Nothing rather than filler: what shares no word with the query, nor a neighbour or session that does, is no answer.</summary>
    private static void RemoveUnmatched(Span<float> scores)
    {
        for (int doc = 0; doc < scores.Length; doc++)
        {
            scores[doc] = scores[doc] == 0 ? float.NegativeInfinity : scores[doc];
        }
    }

    private static Span<float> Standardise(Span<float> scores)
    {
        double sum = 0, squares = 0;
        int count = 0;
        foreach (float score in scores)
        {
            if (float.IsFinite(score))
            {
                sum += score;
                squares += (double)score * score;
                count++;
            }
        }

        if (count == 0)
        {
            return scores;
        }

        double mean = sum / count;
        double deviation = Math.Sqrt(Math.Max(0, squares / count - mean * mean));
        for (int doc = 0; doc < scores.Length; doc++)
        {
            scores[doc] = deviation < 1e-9 ? scores[doc] : (float)((scores[doc] - mean) / deviation);
        }

        return scores;
    }

    /// <summary>The highest finite scores; equal ones go to the newer unit.</summary>
    private static Ranked[] Top(ReadOnlySpan<float> scores, Func<int, bool> allowed, int top)
    {
        var queue = new PriorityQueue<int, (float Score, int Doc)>(top + 1);
        for (int doc = 0; doc < scores.Length; doc++)
        {
            if (!float.IsFinite(scores[doc]) || (queue.Count == top && scores[doc] < scores[queue.Peek()]) || !allowed(doc))
            {
                continue;
            }

            if (queue.Count < top)
            {
                queue.Enqueue(doc, (scores[doc], doc));
            }
            else
            {
                queue.EnqueueDequeue(doc, (scores[doc], doc));
            }
        }

        var ranked = new Ranked[queue.Count];
        for (int i = ranked.Length - 1; i >= 0; i--)
        {
            int doc = queue.Dequeue();
            ranked[i] = new Ranked(doc, scores[doc]);
        }

        return ranked;
    }

    private static float Deviation(ReadOnlySpan<float> values) =>
        values.Length == 0 ? 0 : MathF.Sqrt(Math.Max(0, TensorPrimitives.SumOfSquares(values) / values.Length - MathF.Pow(TensorPrimitives.Average(values), 2)));

    private static float Idf(int units, int holding) => MathF.Log(1 + (units - holding + 0.5f) / (holding + 0.5f));
}
