using System.Text.Json;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Evaluation;

/// <summary>What one ranking is worth, each number from 0 to 1.</summary>
public sealed record QuestionScore
{
    /// <summary>Kind of question.</summary>
    public required int Category { get; init; }

    /// <summary>The conversation asked.</summary>
    public required string Conversation { get; init; }

    /// <summary>Share of the evidence among the first k turns, by k.</summary>
    public required IReadOnlyDictionary<int, double> Recall { get; init; }

    /// <summary>Share of evidence in the first ten turns.</summary>
    public required double Precision10 { get; init; }

    /// <summary>Normalised discounted cumulative gain of the first ten, binary gain.</summary>
    public required double Ndcg10 { get; init; }

    /// <summary>One over the rank of the first evidence; 0 without any.</summary>
    public required double ReciprocalRank { get; init; }

    /// <summary>Share of the first ten turns that belong to another conversation: the leak rate.</summary>
    public required double Foreign10 { get; init; }

    /// <summary>Share of the evidence in a pack of whole turns, by its size in words.</summary>
    public required IReadOnlyDictionary<int, double> PackedRecall { get; init; }

    /// <summary>Share of a pack's words that belong to evidence, by its size in words.</summary>
    public required IReadOnlyDictionary<int, double> PackedPrecision { get; init; }

    /// <summary>Share of the answer's words that a pack holds, by its size in words; empty for kinds whose answers are not in the text.</summary>
    public required IReadOnlyDictionary<int, double> AnswerCoverage { get; init; }
}

/// <summary>Scores rankings of dialogue turns against the turns that hold the answers.</summary>
public static class Scores
{
    /// <summary>Ranks at which recall is taken.</summary>
    public static IReadOnlyList<int> Ranks { get; } = [1, 5, 10, 25, 50];

    /// <summary>Sizes of packs, in words.</summary>
    public static IReadOnlyList<int> Budgets { get; } = [128, 256, 512, 1024, 2048];

    private const double FullEnough = 0.95;

    /// <summary>Scores every question that has evidence; one missing from the run scores 0.</summary>
    public static IReadOnlyList<QuestionScore> Of(IEnumerable<Question> questions, IEnumerable<DialogueTurn> turns, IEnumerable<RunLine> run)
    {
        var texts = turns.ToDictionary(t => $"{t.Conversation}/{t.Id}", t => $"{t.Speaker} {t.Text}{(t.Caption.Length > 0 ? $" [shares {t.Caption}]" : "")}");
        var ranked = run.ToDictionary(r => r.Id, r => r.Retrieved);
        return [.. questions.Where(q => q.Evidence.Count > 0).Select(q => Of(q, [.. (ranked.GetValueOrDefault(q.Id) ?? []).Distinct()], texts))];
    }

    private static QuestionScore Of(Question question, IReadOnlyList<string> ranked, Dictionary<string, string> texts)
    {
        HashSet<string> evidence = [.. question.Evidence.Select(e => $"{question.Conversation}/{e}")];
        double Found(int k) => (double)ranked.Take(k).Count(evidence.Contains) / evidence.Count;
        string[] top = [.. ranked.Take(10)];
        double gain = top.Select((turn, i) => evidence.Contains(turn) ? 1 / Math.Log2(i + 2) : 0).Sum();
        double ideal = Enumerable.Range(0, Math.Min(10, evidence.Count)).Sum(i => 1 / Math.Log2(i + 2));
        int first = ranked.Select((turn, i) => evidence.Contains(turn) ? i + 1 : 0).FirstOrDefault(rank => rank > 0);
        var packs = Budgets.ToDictionary(b => b, b => Pack(ranked, texts, b));
        HashSet<string> wanted = question.Category is 1 or 3 or 4 ? ContentStems(AnswerText(question.Answer)) : [];
        return new QuestionScore
        {
            Category = question.Category,
            Conversation = question.Conversation,
            Recall = Ranks.ToDictionary(k => k, Found),
            Precision10 = top.Count(evidence.Contains) / 10.0,
            Ndcg10 = gain / ideal,
            ReciprocalRank = first == 0 ? 0 : 1.0 / first,
            Foreign10 = (double)top.Count(t => !t.StartsWith(question.Conversation + "/", StringComparison.Ordinal)) / Math.Max(1, top.Length),
            PackedRecall = packs.ToDictionary(p => p.Key, p => (double)p.Value.Count(evidence.Contains) / evidence.Count),
            PackedPrecision = packs.ToDictionary(p => p.Key, p => Share(p.Value.Where(evidence.Contains).Sum(t => WordCount(texts.GetValueOrDefault(t, ""))), p.Value.Sum(t => WordCount(texts.GetValueOrDefault(t, ""))))),
            AnswerCoverage = wanted.Count == 0
                ? new Dictionary<int, double>()
                : packs.ToDictionary(p => p.Key, p => Share(wanted.Count(p.Value.SelectMany(t => ContentStems(texts.GetValueOrDefault(t, ""))).ToHashSet().Contains), wanted.Count)),
        };
    }

    /// <summary>Whole turns in order of rank until the words are used up; one too long is passed over.</summary>
    private static List<string> Pack(IReadOnlyList<string> ranked, Dictionary<string, string> texts, int budget)
    {
        var pack = new List<string>();
        int used = 0;
        foreach (string turn in ranked)
        {
            int words = texts.TryGetValue(turn, out string? text) ? WordCount(text) : 0;
            if (used + words <= budget)
            {
                used += words;
                pack.Add(turn);
            }
            else if (used >= FullEnough * budget)
            {
                break;
            }
        }

        return pack;
    }

    private static string AnswerText(JsonElement answer) => answer.ValueKind == JsonValueKind.String ? answer.GetString()! : answer.ToString();

    private static HashSet<string> ContentStems(string text) => [.. Words.Of(text).Where(w => !Words.IsStop(w)).Select(PorterStemmer.Stem)];

    private static int WordCount(string text) => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length;

    private static double Share(int part, int whole) => whole == 0 ? 0 : (double)part / whole;
}
