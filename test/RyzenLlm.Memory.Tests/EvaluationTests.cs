using System.Text.Json;
using System.Xml.Linq;
using RyzenLlm.Memory.Evaluation;
using RyzenLlm.Memory.Stores.Sqlite;

namespace RyzenLlm.Memory.Tests;

[TestFixture]
internal sealed class EvaluationTests
{
    private static readonly DialogueTurn[] Turns = [.. Enumerable.Range(1, 12).Select(i => new DialogueTurn
    {
        Conversation = "c", Id = $"D1:{i}", Speaker = "Ann", Text = string.Join(' ', Enumerable.Repeat($"word{i}", 59)), Date = "1:56 pm on 8 May, 2023",
    })];

    private static Question Ask(params string[] evidence) => new()
    {
        Id = "q",
        Conversation = "c",
        Text = "?",
        Category = 4,
        Evidence = evidence,
        Answer = JsonSerializer.SerializeToElement("word3 word4"),
    };

    [Test]
    public void Scores_follow_from_the_ranks()
    {
        QuestionScore score = Scores.Of([Ask("D1:3", "D1:9")], Turns, [new RunLine("q", ["c/D1:1", "c/D1:3", "d/D1:3", "c/D1:2", "c/D1:4", "c/D1:9"])]).Single();

        Assert.That(score.Recall[1], Is.Zero);
        Assert.That(score.Recall[5], Is.EqualTo(0.5));
        Assert.That(score.Recall[10], Is.EqualTo(1));
        Assert.That(score.Ndcg10, Is.EqualTo((1 / Math.Log2(3) + 1 / Math.Log2(7)) / (1 + 1 / Math.Log2(3))).Within(1e-12));
        Assert.That(score.ReciprocalRank, Is.EqualTo(0.5));
        Assert.That(score.Foreign10, Is.EqualTo(1 / 6.0));
        Assert.That(score.PackedRecall[128], Is.EqualTo(0.5), "two turns of 60 words fit");
        Assert.That(score.PackedPrecision[128], Is.EqualTo(0.5));
        Assert.That(score.AnswerCoverage[128], Is.EqualTo(0.5));
        Assert.That(score.AnswerCoverage[512], Is.EqualTo(1));
    }

    [Test]
    public void A_question_missing_from_the_run_scores_nothing_and_one_without_evidence_is_left_out()
    {
        Assert.That(Scores.Of([Ask("D1:3")], Turns, []).Single().Recall[50], Is.Zero);
        Assert.That(Scores.Of([Ask()], Turns, []), Is.Empty);
    }

    [Test]
    public void A_broken_line_is_named()
    {
        string path = Path.GetTempFileName();
        File.WriteAllText(path, "{\"conv\":\"c\",\"dia_id\":\"D1:1\"}\n\n{\"conv\":5}\n");
        Assert.That(() => DialogueTurn.Read(path), Throws.TypeOf<InvalidDataException>().With.Message.Contains("line 3"));
        File.Delete(path);
    }

    [Test]
    public void Dates_are_read() => Assert.That(Turns[0].At, Is.EqualTo(new DateTimeOffset(2023, 5, 8, 13, 56, 0, TimeSpan.Zero)));

    [Test]
    public void A_chart_is_well_formed_and_refuses_what_it_cannot_draw()
    {
        string svg = SvgChart.Draw("R & D", "x", "y", [new ChartLine("a<b", [(128, 60), (2048, 90)])]);
        Assert.That(XDocument.Parse(svg).Descendants().Count(e => e.Name.LocalName == "polyline"), Is.EqualTo(1));
        Assert.That(() => SvgChart.Draw("t", "x", "y", []), Throws.ArgumentException);
        Assert.That(() => SvgChart.Draw("t", "x", "y", [new ChartLine("a", [(0, 1)])]), Throws.ArgumentException);
    }

    [Test]
    public async Task Long_conversations_are_found_as_well_as_promised()
    {
        string data = Path.Combine(RepositoryRoot(), "..", "shared", "eval", "locomo");
        if (!Directory.Exists(data))
        {
            Assert.That(Environment.GetEnvironmentVariable("RYZENLLM_REQUIRE_SHARED"), Is.Not.EqualTo("1"), $"{data} is missing");
            Assert.Ignore("The LoCoMo files are not here.");
        }

        string folder = Directory.CreateTempSubdirectory("rsu-locomo-").FullName;
        var models = new MemoryModels();
        using (var memory = new RsuMemory(new SqliteRsuStore(Path.Combine(folder, "m.db"), models.EmbedderId), new MemoryOptions(), models))
        {
            DialogueTurn[] turns = [.. Directory.GetFiles(data, "dialogues-*.jsonl").Order().SelectMany(DialogueTurn.Read)];
            Question[] questions = [.. Directory.GetFiles(data, "questions-*.jsonl").Order().SelectMany(Question.Read)];
            await DialogueRun.IngestAsync(memory, turns, c => c);
            var scores = Scores.Of(questions, turns, await DialogueRun.RankAsync(memory, questions, c => c, 50));
            TestContext.Out.WriteLine(EvaluationTables.Ranking(scores) + EvaluationTables.Budgets(scores, turns));

            Assert.That(scores.Average(s => s.Recall[5]), Is.GreaterThanOrEqualTo(0.69));
            Assert.That(scores.Average(s => s.Recall[10]), Is.GreaterThanOrEqualTo(0.79));
            Assert.That(scores.Average(s => s.Ndcg10), Is.GreaterThanOrEqualTo(0.595));
            Assert.That(scores.Where(s => s.Category == 1).Average(s => s.Recall[10]), Is.GreaterThanOrEqualTo(0.45));
            Assert.That(scores.Average(s => s.PackedRecall[512]), Is.GreaterThanOrEqualTo(0.80));
            Assert.That(scores.Max(s => s.Foreign10), Is.Zero);
        }

        Directory.Delete(folder, recursive: true);
    }

    private static string RepositoryRoot()
    {
        string? folder = TestContext.CurrentContext.TestDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "RyzenLlm.Mcp.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder ?? throw new InvalidOperationException("The tests do not run inside the repository.");
    }
}
