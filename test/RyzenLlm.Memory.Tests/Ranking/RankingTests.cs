using RyzenLlm.Memory.Ranking;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Tests.Ranking;

[TestFixture]
internal sealed class RankingTests
{
    [Test]
    public void The_vector_product_equals_the_plain_loop([Range(0, 130, 1)] int length)
    {
        var random = new Random(length);
        sbyte[] a = [.. Enumerable.Range(0, length).Select(_ => (sbyte)random.Next(-127, 128))];
        sbyte[] b = [.. Enumerable.Range(0, length).Select(_ => (sbyte)random.Next(-127, 128))];
        Assert.That(VectorBlock.Dot(a, b), Is.EqualTo(a.Zip(b, (x, y) => x * y).Sum()));
    }

    [TestCase(127, 127)]
    [TestCase(127, -127)]
    [TestCase(-127, -127)]
    public void The_vector_product_holds_at_the_extremes(int x, int y)
    {
        const int length = 6912;
        sbyte[] a = [.. Enumerable.Repeat((sbyte)x, length)], b = [.. Enumerable.Repeat((sbyte)y, length)];
        Assert.That(VectorBlock.Dot(a, b), Is.EqualTo(length * x * y));
    }

    [Test]
    public void Quantising_stays_within_half_a_step_and_zero_stays_zero()
    {
        var random = new Random(3);
        float[] vector = [.. Enumerable.Range(0, 256).Select(_ => random.NextSingle() - 0.5f)];
        sbyte[] code = new sbyte[256];
        float scale = VectorBlock.Quantise(vector, code);
        Assert.That(vector.Zip(code, (v, c) => Math.Abs(v - c * scale)).Max(), Is.LessThanOrEqualTo(scale / 2 * 1.001f));
        Assert.That(VectorBlock.Quantise(new float[8], new sbyte[8]), Is.Zero);
    }

    [Test]
    public void A_lone_matching_unit_scores_as_BM25_says()
    {
        // No neighbours, session, speaker or dense part: score = idf * tf (k1 + 1) / (tf + k1 (1 - b + b len / avg)).
        var options = new RankingOptions { Near1 = 0, Near2 = 0, Answer = 0, Question = 0, Session = 0, Speaker = 0, Dense = 0, K1 = 1.2f, B = 0.75f };
        TenantIndex index = Index("apple apple pear", "plum quince medlar cherry", "apple");
        Ranked[] ranked = new Ranker(options).Rank(index, "apple", [], _ => true, 3);
        double idf = Math.Log(1 + (3 - 2 + 0.5) / (2 + 0.5)), average = 8 / 3.0;
        double first = idf * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 3 / average)), third = idf * 1 * 2.2 / (1 + 1.2 * (0.25 + 0.75 * 1 / average));
        double mean = (first + third) / 2, deviation = Math.Abs(first - third) / 2;
        Assert.That(ranked.Select(r => r.Doc), Is.EqualTo(first > third ? new[] { 0, 2 } : new[] { 2, 0 }));
        Assert.That(ranked[0].Score, Is.EqualTo((Math.Max(first, third) - mean) / deviation).Within(1e-3));
    }

    [Test]
    public void Neighbours_lend_only_inside_their_session()
    {
        var options = new RankingOptions { Session = 0, Speaker = 0, Dense = 0, Answer = 0 };
        TenantIndex index = Index(["s", "s", "s", "s", "other"], "apple", "plum", "quince", "medlar", "cherry");
        Assert.That(new Ranker(options).Rank(index, "apple", [], _ => true, 9).Select(r => r.Doc), Is.EqualTo(new[] { 0, 1, 2 }));
    }

    [Test]
    public void A_unit_stored_late_takes_its_place_by_ordinal()
    {
        var options = new RankingOptions { Session = 0, Speaker = 0, Dense = 0, Near2 = 0 };
        var index = new TenantIndex();
        Put(index, 0, "s", 10, "apple");
        Put(index, 1, "s", 30, "plum");
        Put(index, 2, "s", 20, "quince");
        Assert.That(new Ranker(options).Rank(index, "apple", [], _ => true, 9).Select(r => r.Doc), Is.EqualTo(new[] { 0, 2 }));
    }

    [Test]
    public void Feedback_finds_what_shares_words_with_the_best_hits()
    {
        var options = new RankingOptions { Session = 0, Speaker = 0, Dense = 0, Near1 = 0, Near2 = 0 };
        TenantIndex index = Index(["a", "b", "c", "d"], "violin luthier cremona", "luthier workshop cremona", "rain", "snow");
        Assert.That(new Ranker(options).Rank(index, "violin", [], _ => true, 9), Has.Length.EqualTo(1));
        Assert.That(new Ranker(options with { Feedback = 0.3f }).Rank(index, "violin", [], _ => true, 9).Select(r => r.Doc), Is.EqualTo(new[] { 0, 1 }));
    }

    private static TenantIndex Index(params string[] texts) => Index([.. texts.Select((_, i) => $"s{i}")], texts);

    private static TenantIndex Index(string[] sessions, params string[] texts)
    {
        var index = new TenantIndex();
        for (int i = 0; i < texts.Length; i++)
        {
            Put(index, i, sessions[i], i, texts[i]);
        }

        return index;
    }

    private static void Put(TenantIndex index, int row, string session, long ordinal, string text) => index.Put(
        new IndexedUnit { Row = row, Id = Guid.NewGuid(), Scope = "", Session = session, Ordinal = ordinal, Speaker = "", CreatedAt = 0 }, TermBag.Of(text), [], 0);
}
