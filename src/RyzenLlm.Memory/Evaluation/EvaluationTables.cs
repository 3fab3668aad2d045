using System.Globalization;
using System.Text;

namespace RyzenLlm.Memory.Evaluation;

/// <summary>Writes scores as Markdown tables, in per cent.</summary>
public static class EvaluationTables
{
    private static readonly string[] Categories = ["", "multi-hop", "temporal", "open-domain", "single-hop", "adversarial"];

    /// <summary>Ranking quality overall and by kind of question.</summary>
    public static string Ranking(IReadOnlyList<QuestionScore> scores)
    {
        var groups = new List<(string, IEnumerable<QuestionScore>)> { ("all", scores) };
        groups.AddRange(scores.GroupBy(s => s.Category).OrderBy(g => g.Key)
            .Select(g => (g.Key > 0 && g.Key < Categories.Length ? Categories[g.Key] : $"kind {g.Key}", (IEnumerable<QuestionScore>)g)));
        return Table("questions", groups);
    }

    /// <summary>Ranking quality by conversation, beside that of a baseline.</summary>
    public static string Conversations(IReadOnlyList<QuestionScore> scores, IReadOnlyList<QuestionScore> baseline)
    {
        var text = new StringBuilder("| conversation | R@10 | baseline R@10 | nDCG@10 | baseline nDCG@10 |\n|---|---|---|---|---|\n");
        foreach (var conversation in scores.GroupBy(s => s.Conversation))
        {
            QuestionScore[] plain = [.. baseline.Where(b => b.Conversation == conversation.Key)];
            text.Append(CultureInfo.InvariantCulture, $"| {conversation.Key} | {Percent(conversation.Average(s => s.Recall[10]))} | {Percent(plain.Average(s => s.Recall[10]))} ");
            text.Append(CultureInfo.InvariantCulture, $"| {Percent(conversation.Average(s => s.Ndcg10))} | {Percent(plain.Average(s => s.Ndcg10))} |\n");
        }

        return text.ToString();
    }

    /// <summary>What packs of several sizes hold, beside the mean size of a conversation.</summary>
    public static string Budgets(IReadOnlyList<QuestionScore> scores, IReadOnlyList<DialogueTurn> turns)
    {
        double words = turns.GroupBy(t => t.Conversation).Average(c => c.Sum(t => $"{t.Speaker} {t.Text} {t.Caption}".Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length));
        var text = new StringBuilder("| words | compression | evidence recall | evidence precision | answer words |\n|---|---|---|---|---|\n");
        foreach (int budget in Scores.Budgets)
        {
            double answers = scores.Where(s => s.AnswerCoverage.Count > 0).Select(s => s.AnswerCoverage[budget]).DefaultIfEmpty().Average();
            text.Append(CultureInfo.InvariantCulture, $"| {budget} | {words / budget:F0}:1 | {Percent(scores.Average(s => s.PackedRecall[budget]))} ");
            text.Append(CultureInfo.InvariantCulture, $"| {Percent(scores.Average(s => s.PackedPrecision[budget]))} | {Percent(answers)} |\n");
        }

        return text.ToString();
    }

    /// <summary>Units by tier, and the share of the turns that questions need in each.</summary>
    public static string Tiers(IReadOnlyList<Rsu> units, IEnumerable<Question> questions)
    {
        HashSet<string> needed = [.. questions.SelectMany(q => q.Evidence.Select(e => $"{q.Conversation}/{e}"))];
        double words = Math.Max(1, units.Sum(Words)), evidence = Math.Max(1, units.Count(u => needed.Contains(u.Source)));
        var text = new StringBuilder("| tier | units | share of words | share of evidence turns |\n|---|---|---|---|\n");
        foreach (var tier in units.GroupBy(u => u.Tier).OrderBy(g => g.Key))
        {
            text.Append(CultureInfo.InvariantCulture, $"| {tier.Key.ToString().ToLowerInvariant()} | {tier.Count()} | {Percent(tier.Sum(Words) / words)} ");
            text.Append(CultureInfo.InvariantCulture, $"| {Percent(tier.Count(u => needed.Contains(u.Source)) / evidence)} |\n");
        }

        return text.ToString();

        static int Words(Rsu unit) => unit.Text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length;
    }

    /// <summary>Times and sizes by number of units.</summary>
    public static string Latency(IEnumerable<LatencyPoint> points)
    {
        var text = new StringBuilder("| units | store one turn p50 / p95 ms | its CPU ms | recall p50 / p95 ms | its CPU ms | open and index ms | file bytes per unit | index bytes per unit |\n|---|---|---|---|---|---|---|---|\n");
        foreach (LatencyPoint p in points)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {p.Units} | {p.StoreMedian:F2} / {p.Store95:F2} | {p.StoreProcessor:F2} | {p.RecallMedian:F2} / {p.Recall95:F2} ");
            text.Append(CultureInfo.InvariantCulture, $"| {p.RecallProcessor:F2} | {p.Open:F0} | {p.FileBytes} | {p.IndexBytes} |\n");
        }

        return text.ToString();
    }

    private static string Table(string name, IEnumerable<(string Name, IEnumerable<QuestionScore> Scores)> groups)
    {
        var text = new StringBuilder($"| {name} | n | {string.Join(" | ", Scores.Ranks.Select(k => $"R@{k}"))} | P@10 | nDCG@10 | MRR | foreign@10 |\n|---|---|---|---|---|---|---|---|---|---|---|\n");
        foreach (var (group, members) in groups)
        {
            QuestionScore[] all = [.. members];
            text.Append(CultureInfo.InvariantCulture, $"| {group} | {all.Length} | {string.Join(" | ", Scores.Ranks.Select(k => Percent(all.Average(s => s.Recall[k]))))} ");
            text.Append(CultureInfo.InvariantCulture, $"| {Percent(all.Average(s => s.Precision10))} | {Percent(all.Average(s => s.Ndcg10))} | {Percent(all.Average(s => s.ReciprocalRank))} | {Percent(all.Average(s => s.Foreign10))} |\n");
        }

        return text.ToString();
    }

    private static string Percent(double share) => (100 * share).ToString("F1", CultureInfo.InvariantCulture);
}
