using System.Text.Json.Nodes;
using RyzenLlm.Memory.Ranking;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Stores.Qdrant;

/// <summary>
/// Sparse vectors that carry at store time what the embedded ranker works out at query time: BM25 term weights of the
/// unit, shares of its neighbours' weights, and a feature for its speaker. The server adds the tenant's idf.
/// </summary>
internal sealed class QdrantSparse(RankingOptions options)
{
    /// <summary>Units on either side whose text enters a vector.</summary>
    public const int Reach = 2;

    /// <summary>Stems of a typical turn; constant, so that a stored vector does not depend on what else is stored.</summary>
    private const float AverageLength = 12;

    /// <summary>Weight of a speaker feature in a query; with two speakers its idf is about 0.7.</summary>
    private const float SpeakerWeight = 3;

    private static readonly HashSet<string> Roles = ["user", "assistant", "system", "tool", "human", "ai"];

    /// <summary>The vector of the unit at <paramref name="at"/> among the units of its session in order.</summary>
    public JsonObject Document(IReadOnlyList<Rsu> session, int at)
    {
        var weights = new SortedDictionary<uint, float>();
        Rsu unit = session[at];
        Add(weights, unit, (unit.Kinds.HasFlag(RsuKinds.Question) ? 1 - options.Question : 1) * (unit.Tier == RsuTier.Context ? options.ContextTier : 1));
        for (int step = 1; step <= Reach; step++)
        {
            float share = step == 1 ? options.Near1 : options.Near2;
            if (at >= step)
            {
                Rsu before = session[at - step];
                Add(weights, before, share + (step == 1 && before.Kinds.HasFlag(RsuKinds.Question) ? options.Answer : 0));
            }

            if (at + step < session.Count)
            {
                Add(weights, session[at + step], share);
            }
        }

        foreach (string word in Words.Of(unit.Speaker).Where(w => !Roles.Contains(w)))
        {
            weights[SpeakerTerm(word)] = 1;
        }

        return Json(weights);
    }

    /// <summary>The vector of a query; empty indices when it holds only stop words.</summary>
    public JsonObject Query(string text)
    {
        TermBag bag = TermBag.Of(text);
        var weights = new SortedDictionary<uint, float>();
        for (int i = 0; i < bag.Terms.Length; i++)
        {
            weights[bag.Terms[i]] = bag.Counts[i];
        }

        if (options.Speaker > 0)
        {
            foreach (string word in Words.Of(text).Where(w => !Words.IsStop(w)))
            {
                weights.TryAdd(SpeakerTerm(word), SpeakerWeight * options.Speaker);
            }
        }

        return Json(weights);
    }

    private void Add(SortedDictionary<uint, float> weights, Rsu unit, float share)
    {
        TermBag bag = TermBag.Of(unit.SearchText());
        float norm = options.K1 * (1 - options.B + options.B * bag.Length / AverageLength);
        for (int i = 0; share > 0 && i < bag.Terms.Length; i++)
        {
            weights[bag.Terms[i]] = weights.GetValueOrDefault(bag.Terms[i]) + share * bag.Counts[i] * (options.K1 + 1) / (bag.Counts[i] + norm);
        }
    }

    private static uint SpeakerTerm(string word) => TermBag.Term("speaker:" + word);

    private static JsonObject Json(SortedDictionary<uint, float> weights) => new()
    {
        ["indices"] = new JsonArray([.. weights.Keys.Select(k => JsonValue.Create(k))]),
        ["values"] = new JsonArray([.. weights.Values.Select(v => JsonValue.Create(MathF.Round(v, 4)))]),
    };
}
