using System.CommandLine;
using System.Globalization;
using RyzenLlm.Memory;
using RyzenLlm.Memory.Evaluation;
using RyzenLlm.Memory.Ranking;

namespace RyzenLlm.Mcp.Cli;

/// <summary>
/// <c>memory eval</c>: how well questions about dialogues are answered, beside plain BM25. The dialogues go into a memory file of their own
/// that is deleted afterwards; each conversation is a tenant.
/// </summary>
internal static class MemoryEvalVerb
{
    private const int Top = 50;

    /// <summary>With <c>--json</c>: means over all questions, from 0 to 1; packs by their size in words.</summary>
    internal sealed record EvaluationReport(
        int Turns, int Questions, double RecallAt5, double RecallAt10, double NdcgAt10, double ReciprocalRank, double ForeignAt10,
        double BaselineRecallAt10, Dictionary<string, double> PackedRecall, Dictionary<string, double> PackedPrecision, Dictionary<string, double> AnswerCoverage);

    public static Command Create()
    {
        var verb = new Command("eval", "Measures recall, precision and compression on dialogue and question files, beside plain BM25.");
        var dialogues = new Option<string[]>("--dialogues") { Description = "Files of turns (conv, session, dia_id, speaker, text).", HelpName = "FILE", Required = true, AllowMultipleArgumentsPerToken = true };
        var questions = new Option<string[]>("--questions") { Description = "Files of questions (qid, conv, question, evidence).", HelpName = "FILE", Required = true, AllowMultipleArgumentsPerToken = true };
        var output = new Option<string>("--out") { Description = "Folder for tables.md, recall-by-budget.svg and run.jsonl.", HelpName = "FOLDER" };
        var common = new CommonOptions(verb).WithJson("Print one JSON object.");
        verb.Add(dialogues);
        verb.Add(questions);
        verb.Add(output);
        verb.SetAction(async (parsed, cancel) =>
        {
            var options = common.Settings(parsed).Memory;
            DialogueTurn[] turns = [.. parsed.GetRequiredValue(dialogues).SelectMany(DialogueTurn.Read)];
            Question[] asked = [.. parsed.GetRequiredValue(questions).SelectMany(Question.Read)];
            var run = await RankAsync(options, turns, asked, cancel).ConfigureAwait(false);
            var plain = await RankAsync(options with { Ranking = RankingOptions.Bm25, SecondHop = 0 }, turns, asked, cancel).ConfigureAwait(false);
            var (scores, baseline) = (Scores.Of(asked, turns, run), Scores.Of(asked, turns, plain));
            if (scores.Count == 0)
            {
                throw new ArgumentException("No question names the turns that answer it (evidence): there is nothing to measure.");
            }

            var tables = string.Join('\n', EvaluationTables.Ranking(scores), EvaluationTables.Conversations(scores, baseline), EvaluationTables.Budgets(scores, turns));
            if (parsed.GetValue(output) is { } folder)
            {
                Directory.CreateDirectory(folder);
                await File.WriteAllTextAsync(Path.Combine(folder, "tables.md"), tables, cancel).ConfigureAwait(false);
                await File.WriteAllTextAsync(Path.Combine(folder, "recall-by-budget.svg"), Chart(scores, baseline), cancel).ConfigureAwait(false);
                JsonLines.Write(Path.Combine(folder, "run.jsonl"), run);
            }

            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(Report(scores, baseline, turns.Length));
            }
            else
            {
                Console.Out.Write(tables);
            }
        });
        return verb;
    }

    private static async Task<IReadOnlyList<RunLine>> RankAsync(MemoryOptions options, DialogueTurn[] turns, Question[] questions, CancellationToken cancel)
    {
        var folder = Directory.CreateTempSubdirectory("ryzenllm-memory-eval-").FullName;
        try
        {
            using var memory = await Hosting.ContextMemory.OpenAsync(
                options with { Store = $"sqlite:{Path.Combine(folder, "memory.db")}" }, TimeProvider.System, cancel).ConfigureAwait(false);
            await DialogueRun.IngestAsync(memory, turns, conversation => conversation, cancel).ConfigureAwait(false);
            return await DialogueRun.RankAsync(memory, questions, conversation => conversation, Top, cancel).ConfigureAwait(false);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static EvaluationReport Report(IReadOnlyList<QuestionScore> scores, IReadOnlyList<QuestionScore> baseline, int turns) => new(
        turns,
        scores.Count,
        Mean(scores.Select(s => s.Recall[5])),
        Mean(scores.Select(s => s.Recall[10])),
        Mean(scores.Select(s => s.Ndcg10)),
        Mean(scores.Select(s => s.ReciprocalRank)),
        Mean(scores.Select(s => s.Foreign10)),
        Mean(baseline.Select(s => s.Recall[10])),
        ByBudget(b => scores.Select(s => s.PackedRecall[b])),
        ByBudget(b => scores.Select(s => s.PackedPrecision[b])),
        ByBudget(b => scores.Where(s => s.AnswerCoverage.Count > 0).Select(s => s.AnswerCoverage[b])));

    private static Dictionary<string, double> ByBudget(Func<int, IEnumerable<double>> values) =>
        Scores.Budgets.ToDictionary(b => b.ToString(CultureInfo.InvariantCulture), b => Mean(values(b)));

    private static double Mean(IEnumerable<double> values) => Math.Round(values.DefaultIfEmpty().Average(), 4);

    private static string Chart(IReadOnlyList<QuestionScore> scores, IReadOnlyList<QuestionScore> baseline) => SvgChart.Draw(
        "Evidence found in a pack", "words of the pack", "per cent of the evidence", [Line("RSU memory", scores), Line("BM25", baseline)]);

    private static ChartLine Line(string name, IReadOnlyList<QuestionScore> scores) =>
        new(name, [.. Scores.Budgets.Select(b => ((double)b, 100 * scores.Average(s => s.PackedRecall[b])))]);
}
