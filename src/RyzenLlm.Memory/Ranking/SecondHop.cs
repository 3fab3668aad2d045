using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Ranking;

/// <summary>
/// For questions whose answer lies behind a name that the question does not say: the names in the best hits are added
/// to the query, it is asked again, and the two score lists are summed.
/// </summary>
internal static class SecondHop
{
    private const int UnitsRead = 3;

    /// <summary>Names in the best hits that the query lacks: capitalised words inside a sentence, speakers apart.</summary>
    public static IReadOnlyList<string> NewNames(string query, IReadOnlyList<VectorSearchResult<Rsu>> hits)
    {
        uint[] asked = TermBag.Of(query).Terms;
        var speakers = hits.SelectMany(h => Words.Of(h.Record.Speaker)).ToHashSet();
        var names = new List<string>();
        foreach (VectorSearchResult<Rsu> hit in hits.Take(UnitsRead))
        {
            string[] tokens = hit.Record.Text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            for (int i = 1; i < tokens.Length; i++)
            {
                if (!char.IsUpper(tokens[i].TrimStart('"', '\'', '(').FirstOrDefault()) || tokens[i - 1][^1] is '.' or '!' or '?')
                {
                    continue;
                }

                names.AddRange(Words.Of(tokens[i]).Where(w => w.Length > 1 && !Words.IsStop(w) && !speakers.Contains(w)
                    && Array.BinarySearch(asked, TermBag.Term(PorterStemmer.Stem(w))) < 0));
            }
        }

        return [.. names.Distinct()];
    }

    /// <summary>
    /// Sums the scores of two lists, the second with <paramref name="weight"/>. A unit missing from one list counts there
    /// as much as its last unit, which is the most that it can have.
    /// </summary>
    public static IReadOnlyList<VectorSearchResult<Rsu>> Join(
        IReadOnlyList<VectorSearchResult<Rsu>> first, IReadOnlyList<VectorSearchResult<Rsu>> second, double weight, int top)
    {
        if (first.Count == 0 || second.Count == 0)
        {
            return first;
        }

        double firstLast = first[^1].Score ?? 0, secondLast = second[^1].Score ?? 0;
        var sums = first.ToDictionary(h => h.Record.Id, h => (h.Record, Score: (h.Score ?? 0) + weight * secondLast));
        foreach (VectorSearchResult<Rsu> hit in second)
        {
            double above = weight * ((hit.Score ?? 0) - secondLast);
            sums[hit.Record.Id] = sums.TryGetValue(hit.Record.Id, out var sum)
                ? (sum.Record, sum.Score + above)
                : (hit.Record, firstLast + weight * secondLast + above);
        }

        return [.. sums.Values.OrderByDescending(s => s.Score).ThenBy(s => s.Record.Id).Take(top)
            .Select(s => new VectorSearchResult<Rsu>(s.Record, s.Score / (1 + weight)))];
    }
}
