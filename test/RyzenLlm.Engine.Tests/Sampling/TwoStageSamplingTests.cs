using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tests.Models;
using RyzenLlm.Engine.Tests.Speculation;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Engine.Tests.Sampling;

/// <summary>Tokens chosen from the logits that a two-stage head computes are those chosen from all logits.</summary>
public sealed unsafe class TwoStageSamplingTests
{
    private const int Vocabulary = 3000;
    private const int Columns = 128;

    // More with RYZENLLM_PROMPTS=1000.
    private static readonly int Seeds = int.TryParse(Environment.GetEnvironmentVariable("RYZENLLM_PROMPTS"), out var wanted) ? wanted : 40;

    private static readonly IReadOnlyDictionary<int, float> Lowered = new Dictionary<int, float> { [5] = -3, [70] = float.NegativeInfinity };
    private static readonly IReadOnlyDictionary<int, float> Raised = new Dictionary<int, float> { [5] = 3, [70] = -3 };

    /// <summary>Settings for which the choice follows from the largest logits.</summary>
    public static readonly (string Name, SamplingOptions Options)[] Narrow =
    [
        ("greedy", SamplingOptions.Greedy),
        ("greedy, penalties", new() { Temperature = 0, RepetitionPenalty = 1.3f, FrequencyPenalty = 0.5f, PresencePenalty = 0.5f, PenaltyWindow = 20 }),
        ("greedy, bias", new() { Temperature = 0, LogitBias = Lowered }),
        ("defaults", new()),
        ("top-k 1", new() { TopK = 1, Temperature = 2 }),
        ("top-k 40 alone", new() { TopK = 40, TopP = 1, MinP = 0, Temperature = 1.5f }),
        ("top-k 200", new() { TopK = 200, TopP = 0.9f, MinP = 0.01f, Temperature = 1 }),
        ("typical of top-k", new() { TopK = 30, TypicalP = 0.7f, Temperature = 1 }),
        ("penalised top-k", new() { TopK = 20, RepetitionPenalty = 1.5f, PresencePenalty = 1, PenaltyWindow = 30, LogitBias = Lowered }),
        ("min-p alone", new() { TopK = 0, TopP = 1, MinP = 0.05f, Temperature = 1 }),
        ("penalised min-p", new() { TopK = 0, TopP = 1, MinP = 0.2f, FrequencyPenalty = 1, PenaltyWindow = 30 }),
    ];

    /// <summary>Settings that need every logit.</summary>
    public static readonly (string Name, SamplingOptions Options)[] Wide =
    [
        ("temperature alone", new() { TopK = 0, TopP = 1, MinP = 0 }),
        ("nucleus of all", new() { TopK = 0, TopP = 0.9f }),
        ("typical of all", new() { TopK = 0, TypicalP = 0.9f }),
        ("raising bias", new() { LogitBias = Raised }),
        ("raising penalty", new() { RepetitionPenalty = 0.8f }),
        ("raising frequency", new() { FrequencyPenalty = -0.1f }),
        ("raising presence", new() { PresencePenalty = -0.1f }),
        ("top-k of a thousand and more", new() { TopK = 1100 }),
        ("top-k of the vocabulary", new() { TopK = Vocabulary, TopP = 1, MinP = 0 }),
    ];

    public static IEnumerable<TestCaseData> NarrowOnEveryPath() =>
        from path in KernelSet.Available
        from narrow in Narrow
        select new TestCaseData(path.Name, narrow.Options).SetArgDisplayNames(path.Name, narrow.Name);

    public static IEnumerable<TestCaseData> WideSettings() => Wide.Select(wide => new TestCaseData(wide.Options).SetArgDisplayNames(wide.Name));

    public static IEnumerable<TestCaseData> StreamsOnEveryPath() =>
        from path in KernelSet.Available
        from model in new[] { "bitnet-b158-tq2_0", "mamba-f32", "rwkv7-f16" }
        select new TestCaseData(model, path.Name).SetArgDisplayNames(model, path.Name);

    [TestCaseSource(nameof(NarrowOnEveryPath))]
    public void Sample_TwoStages_ChoosesTheTokenOfAllLogits(string path, SamplingOptions options)
    {
        using var ops = new Ops(KernelSet.Select(path), 2, pin: false);
        var weights = Head();
        using var head = new TwoStageHead(weights, ops);
        using var x = new NativeBuffer<float>(Columns);
        using var all = new NativeBuffer<float>(Vocabulary);
        using var some = new NativeBuffer<float>(Vocabulary);
        var (missing, ids, keys) = (0, new int[3], new double[3]);
        for (var seed = 0; seed < Seeds; seed++)
        {
            var random = new Random(seed);
            for (var k = 0; k < Columns; k++)
            {
                x.Pointer[k] = (float)(random.NextDouble() - 0.5) * (1 + (seed % 7 * 4));
            }

            ops.Linear(weights, x.Pointer, 1, all.Pointer);
            var likely = Enumerable.Range(0, Vocabulary).OrderByDescending(id => all.Pointer[id]).Take(50).ToArray();
            var history = Enumerable.Range(0, 60).Select(_ => likely[random.Next(50)]).ToArray();
            var sampler = new Sampler(options with { Seed = (ulong)seed }, Vocabulary);
            var top = sampler.Top(history.Length, ids.Length);
            Assert.That(top.Count, Is.Positive, "the choice needs few logits");

            head.Multiply(x.Pointer, [top], some.Pointer);

            Assert.That(sampler.Sample(some.Span, history, seed), Is.EqualTo(sampler.Sample(all.Span, history, seed)), $"seed {seed}");
            var count = sampler.Rank(all.Span, history, seed, default, ids, keys);
            var (allIds, allKeys) = (ids[..count], keys[..count]);
            count = sampler.Rank(some.Span, history, seed, default, ids, keys);
            Assert.That(ids[..count], Is.EqualTo(allIds), $"ranks of seed {seed}");
            Assert.That(keys[..count], Is.EqualTo(allKeys), $"keys of seed {seed}");
            foreach (var logit in some.Span)
            {
                missing += float.IsNegativeInfinity(logit) ? 1 : 0;
            }
        }

        Assert.That(missing, Is.GreaterThan(Vocabulary), "the head leaves logits out");
    }

    [TestCaseSource(nameof(WideSettings))]
    public void Top_SettingsThatDependOnTheWholeVocabulary_WantAllLogits(SamplingOptions options) =>
        Assert.That(new Sampler(options, Vocabulary).Top(100).Count, Is.Zero);

    [Test]
    public void Top_CountsTheTokensThatAreLowered()
    {
        var options = new SamplingOptions { TopK = 10, LogitBias = Lowered };
        Assert.That(new Sampler(options, Vocabulary).Top(100), Is.EqualTo(new TopRows(12, Vocabulary)));
        Assert.That(new Sampler(options with { PresencePenalty = 1, PenaltyWindow = 30 }, Vocabulary).Top(100).Count, Is.EqualTo(42));
        Assert.That(new Sampler(options with { PresencePenalty = 1, PenaltyWindow = 0 }, Vocabulary).Top(100).Count, Is.EqualTo(112));
        Assert.That(new Sampler(SamplingOptions.Greedy, Vocabulary).Top(100, least: 8), Is.EqualTo(new TopRows(8, Vocabulary)));
    }

    [TestCaseSource(nameof(StreamsOnEveryPath))]
    public void Streams_OfATwoStageHead_AreThoseOfAFullOne(string name, string path)
    {
        var golden = Golden.Open(name);
        using var full = ModelLoader.Load(golden.ModelPath, new() { Kernels = path, Threads = 1, Head = HeadProduct.Full });
        using var two = ModelLoader.Load(golden.ModelPath, new() { Kernels = path, Threads = 1, Head = HeadProduct.TwoStage });
        var experience = new Experience(two);
        for (var seed = 0; seed < 12; seed++)
        {
            var (prompt, sampling) = (Streams.Prompt(full, seed), Streams.Sampling(seed));
            var plain = Streams.Decode(full, prompt, sampling, 24);
            using var speculator = new Speculator(
                experience.Drafts(SpeculationMode.Recycle, null, sampling, TimeProvider.System), experience.Costs, TimeProvider.System, guesses: seed % 3);
            var speculative = Streams.Decode(two, prompt, sampling, 24, seed % 2 == 0 ? null : speculator);
            Streams.AssertEqual(speculative, plain, $"seed {seed}");
        }
    }

    [Test]
    public void ADecodedTokenOfATwoStageHeadAllocatesNothing()
    {
        using var model = ModelLoader.Load(Golden.Open("mamba-f32").ModelPath, new() { Threads = 1, Head = HeadProduct.TwoStage });
        using var session = model.CreateSession();
        using var batch = new Batch();
        Decode(200);
        Assert.That(Allocations.Of(() => Decode(40)), Is.Zero);

        void Decode(int count)
        {
            for (var i = 0; i < count; i++)
            {
                batch.Add(session, 1 + (i % 2), logits: true, top: new(5, model.Info.VocabularySize));
                model.Forward(batch);
                batch.Clear();
            }
        }
    }

    [Test]
    public void RowsOfATiedEmbedding_AreLetGoWithThoseOfTheHead()
    {
        using var model = ModelLoader.Load(Golden.Open("tales-bitnet").ModelPath, new() { Threads = 1, Head = HeadProduct.TwoStage });
        using var session = model.CreateSession();
        using var batch = new Batch();
        for (var i = 0; i < TwoStageHead.PackSteps + 3; i++)
        {
            Read(logits: true, 1);
        }

        var before = model.Head!.TouchedStretches;
        Read(logits: false, [.. Enumerable.Range(0, 32).Select(i => 128 * i)]); // one in each 64 KB
        Assert.That(before, Is.LessThan(16));
        Assert.That(model.Head.TouchedStretches, Is.EqualTo(32));
        Read(logits: true, 1);
        Assert.That(model.Head.TouchedStretches, Is.LessThan(16));

        void Read(bool logits, params int[] tokens)
        {
            foreach (var token in tokens)
            {
                batch.Add(session, token, logits: logits, top: new(1, model.Info.VocabularySize));
            }

            model.Forward(batch);
            batch.Clear();
        }
    }

    private static WeightMatrix Head()
    {
        var random = new Random(7);
        var values = new float[Vocabulary * Columns];
        foreach (ref var value in values.AsSpan())
        {
            value = (float)(random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5) * 0.3f;
        }

        // Equal rows give equal logits: ties at every rank.
        values.AsSpan(0, 20 * Columns).CopyTo(values.AsSpan(1000 * Columns));
        return WeightMatrix.Encode("head", QuantType.F16, Vocabulary, Columns, values);
    }
}
