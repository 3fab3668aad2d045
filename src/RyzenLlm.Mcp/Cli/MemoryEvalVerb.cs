using System.CommandLine;
using System.Globalization;
using RyzenLlm.Mcp.Settings;
using RyzenLlm.Memory;
using RyzenLlm.Memory.Evaluation;
using RyzenLlm.Memory.Ranking;

namespace RyzenLlm.Mcp.Cli;

/// <summary>
/// <c>memory eval</c>: how well questions about dialogues are answered, beside plain BM25, and how fast. Everything goes into memory files
/// of their own that are deleted afterwards; each conversation is a tenant.
/// </summary>
internal static class MemoryEvalVerb
{
    private const int Top = 50;

    /// <summary>With <c>--json</c>: means over all questions, from 0 to 1, packs by their size in words; and times by size of memory.</summary>
    internal sealed record EvaluationReport(QualityReport? Quality, LatencyPoint[]? Latency);

    /// <summary>Of the questions.</summary>
    internal sealed record QualityReport(
        int Turns, int Questions, double RecallAt5, double RecallAt10, double NdcgAt10, double ReciprocalRank, double ForeignAt10,
        double BaselineRecallAt10, Dictionary<string, double> PackedRecall, Dictionary<string, double> PackedPrecision, Dictionary<string, double> AnswerCoverage);

    private sealed record Measurement(DialogueTurn[] Turns, Question[] Questions, Ranking Ours, Ranking Baseline)
    {
        public IReadOnlyList<QuestionScore> Scores { get; } = Memory.Evaluation.Scores.Of(Questions, Turns, Ours.Run);

        public IReadOnlyList<QuestionScore> BaselineScores { get; } = Memory.Evaluation.Scores.Of(Questions, Turns, Baseline.Run);
    }

    private sealed record Ranking(IReadOnlyList<RunLine> Run, IReadOnlyList<Rsu> Units);

    public static Command Create()
    {
        var verb = new Command("eval", "Measures recall, precision and compression on dialogue and question files, beside plain BM25; and latency by size.");
        var dialogues = new Option<string[]>("--dialogues") { Description = "Files of turns (conv, session, dia_id, speaker, text).", HelpName = "FILE", AllowMultipleArgumentsPerToken = true };
        var questions = new Option<string[]>("--questions") { Description = "Files of questions (qid, conv, question, evidence).", HelpName = "FILE", AllowMultipleArgumentsPerToken = true };
        var sizes = new Option<int[]>("--latency") { Description = "Sizes of memory, in units, to measure times at.", HelpName = "N", AllowMultipleArgumentsPerToken = true };
        var output = new Option<string>("--out") { Description = "Folder for tables.md, the charts and run.jsonl.", HelpName = "FOLDER" };
        var common = new CommonOptions(verb).WithJson("Print one JSON object.");
        verb.Add(dialogues);
        verb.Add(questions);
        verb.Add(sizes);
        verb.Add(output);
        verb.Validators.Add(result =>
        {
            var files = new[] { dialogues, questions }.Count(option => result.GetResult(option) is { Tokens.Count: > 0 });
            if (files == 1 || (files == 0 && result.GetResult(sizes) is not { Tokens.Count: > 0 }))
            {
                result.AddError("Give --dialogues FILE and --questions FILE, --latency N, or all of them.");
            }
        });
        sizes.Validators.Add(result =>
        {
            if (result.Tokens.Any(t => !int.TryParse(t.Value, NumberStyles.None, CultureInfo.InvariantCulture, out var size) || size is < 1 or > 10_000_000))
            {
                result.AddError("--latency takes numbers from 1 to 10000000.");
            }
        });
        verb.SetAction(async (parsed, cancel) =>
        {
            var settings = common.Settings(parsed);
            var measured = parsed.GetValue(dialogues) is { Length: > 0 } files ? await MeasureAsync(settings, files, parsed.GetValue(questions)!, cancel).ConfigureAwait(false) : null;
            var times = new List<LatencyPoint>();
            foreach (var size in parsed.GetValue(sizes) ?? [])
            {
                times.Add(await InFolderAsync(folder => LatencyRun.MeasureAsync(size, folder, cancel)).ConfigureAwait(false));
            }

            var tables = Tables(measured, times);
            if (parsed.GetValue(output) is { } target)
            {
                await WriteAsync(target, tables, measured, times, cancel).ConfigureAwait(false);
            }

            if (parsed.GetValue(common.Json!))
            {
                CliJson.Print(new EvaluationReport(measured is null ? null : Report(measured), times.Count > 0 ? [.. times] : null));
            }
            else
            {
                Console.Out.Write(tables);
            }
        });
        return verb;
    }

    private static async Task<Measurement> MeasureAsync(AppSettings settings, string[] dialogues, string[] questions, CancellationToken cancel)
    {
        DialogueTurn[] turns = [.. dialogues.SelectMany(DialogueTurn.Read)];
        Question[] asked = [.. questions.SelectMany(Question.Read)];
        if (!asked.Any(q => q.Evidence.Count > 0))
        {
            throw new ArgumentException("No question names the turns that answer it (evidence): there is nothing to measure.");
        }

        var ours = await RankAsync(settings, turns, asked, cancel).ConfigureAwait(false);
        var plain = settings with { Memory = settings.Memory with { Ranking = RankingOptions.Bm25, SecondHop = 0, Embedder = "builtin" } };
        var baseline = await RankAsync(plain, turns, asked, cancel).ConfigureAwait(false);
        return new(turns, asked, ours, baseline);
    }

    private static Task<Ranking> RankAsync(AppSettings settings, DialogueTurn[] turns, Question[] questions, CancellationToken cancel) => InFolderAsync(async folder =>
    {
        var own = settings with { Memory = settings.Memory with { Store = $"sqlite:{Path.Combine(folder, "memory.db")}" } };
        using var memory = await MemoryVerb.OpenAsync(own, cancel).ConfigureAwait(false);
        await DialogueRun.IngestAsync(memory, turns, conversation => conversation, cancel).ConfigureAwait(false);
        var run = await DialogueRun.RankAsync(memory, questions, conversation => conversation, Top, cancel).ConfigureAwait(false);
        var units = new List<Rsu>();
        foreach (var conversation in turns.Select(t => t.Conversation).Distinct())
        {
            units.AddRange(await memory.ListAsync(conversation, top: int.MaxValue, cancellationToken: cancel).ToListAsync(cancel).ConfigureAwait(false));
        }

        return new Ranking(run, units);
    });

    private static async Task<T> InFolderAsync<T>(Func<string, Task<T>> work)
    {
        var folder = Directory.CreateTempSubdirectory("ryzenllm-memory-eval-").FullName;
        try
        {
            return await work(folder).ConfigureAwait(false);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static string Tables(Measurement? measured, IReadOnlyList<LatencyPoint> times)
    {
        string[] quality = measured is null ? [] :
        [
            EvaluationTables.Ranking(measured.Scores),
            EvaluationTables.Conversations(measured.Scores, measured.BaselineScores),
            EvaluationTables.Budgets(measured.Scores, measured.Turns),
            EvaluationTables.Tiers(measured.Ours.Units, measured.Questions),
        ];
        return string.Join('\n', times.Count == 0 ? quality : [.. quality, EvaluationTables.Latency(times)]);
    }

    private static async Task WriteAsync(string folder, string tables, Measurement? measured, IReadOnlyList<LatencyPoint> times, CancellationToken cancel)
    {
        Directory.CreateDirectory(folder);
        await File.WriteAllTextAsync(Path.Combine(folder, "tables.md"), tables, cancel).ConfigureAwait(false);
        if (measured is not null)
        {
            var chart = SvgChart.Draw(
                "Evidence found in a pack", "words of the pack", "per cent of the evidence", [Line("RSU memory", measured.Scores), Line("BM25", measured.BaselineScores)]);
            await File.WriteAllTextAsync(Path.Combine(folder, "recall-by-budget.svg"), chart, cancel).ConfigureAwait(false);
            JsonLines.Write(Path.Combine(folder, "run.jsonl"), measured.Ours.Run);
        }

        if (times.Count > 1)
        {
            var chart = SvgChart.Draw(
                "Times by size of memory", "units", "milliseconds, median",
                [new("store one turn", [.. times.Select(t => ((double)t.Units, t.StoreMedian))]), new("recall", [.. times.Select(t => ((double)t.Units, t.RecallMedian))])]);
            await File.WriteAllTextAsync(Path.Combine(folder, "latency-by-size.svg"), chart, cancel).ConfigureAwait(false);
        }
    }

    private static QualityReport Report(Measurement measured) => new(
        measured.Turns.Length,
        measured.Scores.Count,
        Mean(measured.Scores.Select(s => s.Recall[5])),
        Mean(measured.Scores.Select(s => s.Recall[10])),
        Mean(measured.Scores.Select(s => s.Ndcg10)),
        Mean(measured.Scores.Select(s => s.ReciprocalRank)),
        Mean(measured.Scores.Select(s => s.Foreign10)),
        Mean(measured.BaselineScores.Select(s => s.Recall[10])),
        ByBudget(b => measured.Scores.Select(s => s.PackedRecall[b])),
        ByBudget(b => measured.Scores.Select(s => s.PackedPrecision[b])),
        ByBudget(b => measured.Scores.Where(s => s.AnswerCoverage.Count > 0).Select(s => s.AnswerCoverage[b])));

    private static Dictionary<string, double> ByBudget(Func<int, IEnumerable<double>> values) =>
        Scores.Budgets.ToDictionary(b => b.ToString(CultureInfo.InvariantCulture), b => Mean(values(b)));

    private static double Mean(IEnumerable<double> values) => Math.Round(values.DefaultIfEmpty().Average(), 4);

    private static ChartLine Line(string name, IReadOnlyList<QuestionScore> scores) =>
        new(name, [.. Scores.Budgets.Select(b => ((double)b, 100 * scores.Average(s => s.PackedRecall[b])))]);
}
