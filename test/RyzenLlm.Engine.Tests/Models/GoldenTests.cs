using RyzenLlm.Kernels;

namespace RyzenLlm.Engine.Tests.Models;

/// <summary>Every architecture against logits of a float64 reference, on every kernel path of this processor.</summary>
public class GoldenTests
{
    public static IEnumerable<TestCaseData> Cases =>
        from name in Golden.Own.Concat(Golden.Trained).Concat(Golden.Shipped)
        from kernels in KernelSet.Available
        select new TestCaseData(name, kernels.Name).SetArgDisplayNames(name, kernels.Name);

    public static IEnumerable<TestCaseData> CasesPerArchitecture =>
        from name in Golden.Architectures
        from kernels in KernelSet.Available
        select new TestCaseData(name, kernels.Name).SetArgDisplayNames(name, kernels.Name);

    [TestCaseSource(nameof(Cases))]
    public void LogitsAgreeAfterEveryPosition(string name, string kernels)
    {
        var golden = Golden.Open(name);
        using var model = golden.Load(kernels);
        using var session = model.CreateSession();

        var logits = Feed.Tokens(session, golden.PromptIds);

        Assert.That(model.Info.VocabularySize, Is.EqualTo(golden.VocabularySize));
        using (Assert.EnterMultipleScope())
        {
            for (var t = 0; t < golden.PromptIds.Length; t++)
            {
                var found = logits.AsSpan(t * golden.VocabularySize, golden.VocabularySize);
                var (cosine, distance) = Compare(found, golden.LogitsAt(t));
                Assert.That(cosine, Is.GreaterThanOrEqualTo(golden.CosineAt(t)), $"cosine after position {t}");
                Assert.That(distance, Is.LessThanOrEqualTo(golden.ToleranceAt(t)), $"largest difference after position {t}");
            }
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void GreedyContinuationIsIdentical(string name, string kernels)
    {
        var golden = Golden.Open(name);
        using var model = golden.Load(kernels);
        using var session = model.CreateSession();

        var logits = Feed.Tokens(session, golden.PromptIds);
        var ids = Feed.Greedy(session, logits.AsSpan(logits.Length - golden.VocabularySize), golden.CertainGreedyIds.Length);

        Assert.That(ids, Is.EqualTo(golden.CertainGreedyIds));
    }

    [TestCaseSource(nameof(Cases))]
    public void ChunksAndSingleTokensGiveTheSameBits(string name, string kernels)
    {
        var golden = Golden.Open(name);
        using var model = golden.Load(kernels);
        using var whole = model.CreateSession();
        using var chunked = model.CreateSession();
        using var single = model.CreateSession();

        var expected = Feed.Tokens(whole, golden.PromptIds);

        Assert.That(Feed.Tokens(chunked, golden.PromptIds, golden.Chunks), Is.EqualTo(expected));
        Assert.That(Feed.Tokens(single, golden.PromptIds, 1), Is.EqualTo(expected));
    }

    [TestCaseSource(nameof(CasesPerArchitecture))]
    public void ThreadsChangeNothing(string name, string kernels)
    {
        var golden = Golden.Open(name);
        using var one = golden.Load(kernels, threads: 1);
        using var three = golden.Load(kernels, threads: 3);
        using var first = one.CreateSession();
        using var second = three.CreateSession();

        var prompt = golden.PromptIds.AsSpan(0, 9);
        Assert.That(Feed.Tokens(second, prompt, 5), Is.EqualTo(Feed.Tokens(first, prompt)));
    }

    [Test]
    public void PublishedLogitsAreReproduced([ValueSource(typeof(Golden), nameof(Golden.Trained))] string name)
    {
        var golden = Golden.Open(name);
        var published = golden.Expected.GetProperty("published");
        int[] prompt = [.. published.GetProperty("prompt_ids").EnumerateArray().Select(e => e.GetInt32())];
        float[] expected = [.. published.GetProperty("logits_after_last").EnumerateArray().Select(e => e.GetSingle())];
        using var model = golden.Load();
        using var session = model.CreateSession();

        var found = Feed.Tokens(session, prompt).AsSpan((prompt.Length - 1) * golden.VocabularySize);

        var (cosine, distance) = Compare(found, expected);
        Assert.That(cosine, Is.GreaterThanOrEqualTo(0.99999));
        Assert.That(distance, Is.LessThanOrEqualTo(1e-4));
        var sum = 0d;
        for (var i = 0; i < expected.Length; i++)
        {
            sum += (double)found[i] - expected[i];
        }

        Assert.That(Math.Abs(sum), Is.LessThanOrEqualTo(0.00105), "the rule of rwkv.cpp's own test");
    }

    private static (double Cosine, double Distance) Compare(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double dot = 0, aa = 0, bb = 0, distance = 0;
        for (var i = 0; i < a.Length; i++)
        {
            dot += (double)a[i] * b[i];
            aa += (double)a[i] * a[i];
            bb += (double)b[i] * b[i];

            // NaN must fail the comparison, and Math.Max keeps it.
            distance = Math.Max(distance, Math.Abs((double)a[i] - b[i]));
        }

        return (dot / Math.Sqrt(aa * bb), distance);
    }
}
