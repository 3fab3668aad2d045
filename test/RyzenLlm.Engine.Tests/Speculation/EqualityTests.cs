using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Speculation;

/// <summary>Speculative and plain streams are the same, bit for bit, whatever is drafted.</summary>
public class EqualityTests
{
    private const int Tokens = 24;

    // More with RYZENLLM_PROMPTS=1000.
    private static readonly int Prompts = int.TryParse(Environment.GetEnvironmentVariable("RYZENLLM_PROMPTS"), out var wanted) ? wanted : 24;

    /// <summary>A target and a draft model of the same vocabulary.</summary>
    public static readonly (string Target, string Draft)[] Pairs =
    [
        ("bitnet-b158-tq2_0", "bitnet-old-i2_s"),
        ("bitnet-old-i2_s", "bitnet-b158-i2_s"),
        ("mamba-f32", "mamba-q8_0"),
        ("mamba-kquant-mixed", "mamba-f16"),
        ("rwkv4-random", "rwkv4-random"),
        ("rwkv6-q8_0", "rwkv7-q8_0"),
        ("rwkv7-f32", "rwkv6-f32"),
    ];

    public static IEnumerable<TestCaseData> Cases =>
        Pairs.Select(p => new TestCaseData(p.Target, p.Draft).SetArgDisplayNames(p.Target, p.Draft));

    [TestCaseSource(nameof(Cases))]
    public void EveryDraftGivesThePlainStream(string target, string draft)
    {
        using var model = Golden.Open(target).Load();
        using var small = Golden.Open(draft).Load();
        var experience = new Experience(model);
        var modes = new[] { SpeculationMode.Lookup, SpeculationMode.Recycle, SpeculationMode.Draft, SpeculationMode.Auto };
        for (var seed = 0; seed < Prompts; seed++)
        {
            var (prompt, sampling) = (Streams.Prompt(model, seed), Streams.Sampling(seed));
            var plain = Streams.Decode(model, prompt, sampling, Tokens);
            var mode = modes[seed / 6 % modes.Length];
            int? guesses = (seed % 5) switch { 0 => 1, 1 => 4, 2 => 9, 3 => 40, _ => null };
            using var speculator = new Speculator(experience.Drafts(mode, small, sampling, TimeProvider.System), experience.Costs, TimeProvider.System, guesses);

            var speculative = Streams.Decode(model, prompt, sampling, Tokens, speculator);

            Streams.AssertEqual(speculative, plain, $"{mode}, seed {seed}, guesses {guesses}");
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void GuessesAcceptedInPartGiveThePlainStream(string target, string draft)
    {
        using var model = Golden.Open(target).Load();
        for (var seed = 0; seed < 12; seed++)
        {
            var (prompt, sampling) = (Streams.Prompt(model, seed), Streams.Sampling(seed));
            var plain = Streams.Decode(model, prompt, sampling, Tokens);
            var scripted = new ScriptedDraft([.. prompt, .. plain.Tokens], agreement: seed % 4 / 3.0, seed, width: 1 + (seed % 3));
            using var speculator = new Speculator([scripted], new(), TimeProvider.System, guesses: 6 + (seed % 7));

            var speculative = Streams.Decode(model, prompt, sampling, Tokens, speculator);

            Streams.AssertEqual(speculative, plain, $"seed {seed}");
            if (seed % 4 == 3)
            {
                Assert.That(speculator.Accepted, Is.GreaterThan(Tokens / 2), "right guesses are accepted");
            }
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void AModelThatDraftsForItselfIsAlwaysRight(string target, string draft)
    {
        using var model = Golden.Open(target).Load();
        using var same = Golden.Open(target).Load();
        const int tokens = 1 + (4 * 5); // a first one, then steps of four guesses and one more
        for (var seed = 0; seed < 6; seed++)
        {
            var (prompt, sampling) = (Streams.Prompt(model, seed), Streams.Sampling(seed));
            var plain = Streams.Decode(model, prompt, sampling, tokens);
            var self = new ModelDraft(same, model, sampling, new HitRates([.. Enumerable.Repeat(0.9, 8), 0.001, 0.001, 0.99]), new(), TimeProvider.System);
            using var speculator = new Speculator([self], new(), TimeProvider.System, guesses: 4);

            var speculative = Streams.Decode(model, prompt, sampling, tokens, speculator);

            Streams.AssertEqual(speculative, plain, $"seed {seed}");
            Assert.That(speculator.Accepted, Is.EqualTo(speculator.Drafted), $"seed {seed}: shared noise draws the same tokens");
            Assert.That(speculator.Steps, Is.EqualTo(4));
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void SequencesInOneBatchDoNotDisturbEachOther(string target, string draft)
    {
        using var model = Golden.Open(target).Load();
        using var small = Golden.Open(draft).Load();
        var experience = new Experience(model);
        var plain = Enumerable.Range(0, 4).Select(seed => Streams.Decode(model, Streams.Prompt(model, seed), Streams.Sampling(seed), Tokens)).ToArray();
        using var batch = new Batch();
        var speculators = Enumerable.Range(0, 3)
            .Select(seed => new Speculator(experience.Drafts(SpeculationMode.Auto, small, Streams.Sampling(seed), TimeProvider.System), experience.Costs, TimeProvider.System, 3 + seed))
            .Append(null).ToArray();
        var decoders = speculators.Select((speculator, seed) => new Decoder(
            model.CreateSession(), Streams.Prompt(model, seed), new(Streams.Sampling(seed), model.Info.VocabularySize), new HashSet<int>(), Tokens, speculator)).ToArray();

        while (decoders.Any(d => d.Finish is null))
        {
            batch.Clear();
            foreach (var decoder in decoders.Where(d => d.Finish is null))
            {
                decoder.AddRows(batch);
            }

            model.Forward(batch);
            foreach (var decoder in decoders)
            {
                while (decoder.Finish is null && decoder.TakeLogits(batch, out _))
                {
                }
            }
        }

        batch.Clear();
        for (var i = 0; i < decoders.Length; i++)
        {
            Streams.AssertEqual((decoders[i].Tokens[decoders[i].PromptTokens..].ToArray(), decoders[i].Session), plain[i], $"sequence {i}");
            speculators[i]?.Dispose();
        }
    }

    [TestCaseSource(nameof(Cases))]
    public void AnEndTokenAndAnEndFromOutsideLeaveThePlainState(string target, string draft)
    {
        using var model = Golden.Open(target).Load();
        var (prompt, sampling) = (Streams.Prompt(model, 1), Streams.Sampling(1));
        var (text, _) = Streams.Decode(model, prompt, sampling, Tokens);
        for (var at = 1; at < 12; at++)
        {
            var end = text[at];
            var plain = Streams.Decode(model, prompt, sampling, Tokens, null, null, end);
            using var speculator = new Speculator([new ScriptedDraft([.. prompt, .. text], 1, at)], new(), TimeProvider.System, guesses: 5);
            Streams.AssertEqual(Streams.Decode(model, prompt, sampling, Tokens, speculator, null, end), plain, $"end token at {at}");
        }

        using var batch = new Batch();
        using var other = new Speculator([new ScriptedDraft([.. prompt, .. text], 1, 1)], new(), TimeProvider.System, guesses: 8);
        var decoder = new Decoder(model.CreateSession(), prompt, new(sampling, model.Info.VocabularySize), new HashSet<int>(), Tokens, other);
        while (decoder.GeneratedTokens < 6)
        {
            batch.Clear();
            decoder.AddRows(batch);
            model.Forward(batch);
            while (decoder.GeneratedTokens < 6 && decoder.TakeLogits(batch, out _))
            {
            }
        }

        decoder.End(FinishReason.Stop);

        Assert.That(decoder.TakeLogits(batch, out _), Is.False);
        batch.Clear();
        Streams.AssertEqual((decoder.Tokens[prompt.Length..].ToArray(), decoder.Session), Streams.Decode(model, prompt, sampling, 6), "stopped after 6 tokens");
    }

    [Test]
    public void SampledFrequenciesFitTheDistribution([Values("bitnet-b158-tq2_0", "mamba-f32", "rwkv7-f32")] string target, [Values] bool speculate)
    {
        const int draws = 1500;
        var golden = Golden.Open(target);
        using var model = golden.Load();
        var prompt = golden.PromptIds[..6];
        var options = new SamplingOptions { Temperature = 1, TopK = 3, TopP = 1, MinP = 0 };
        var expected = Expectations(model, prompt, 3, 3);
        var counts = expected.Keys.ToDictionary(k => k, _ => 0);
        for (var seed = 0; seed < draws; seed++)
        {
            // Guesses that are often right: three tokens that are possible here, in an order that does not depend on the seed.
            var guess = expected.Keys.ElementAt(seed % expected.Count).Split(',').Select(int.Parse).ToArray();
            using var speculator = speculate ? new Speculator([new ScriptedDraft([.. prompt, .. guess], 1, seed, width: 2)], new(), TimeProvider.System, guesses: 4) : null;
            var (tokens, session) = Streams.Decode(model, prompt, options with { Seed = (ulong)seed }, 3, speculator);
            session.Dispose();
            counts[string.Join(',', tokens)]++;
        }

        var statistic = expected.Sum(e => Math.Pow(counts[e.Key] - (draws * e.Value), 2) / (draws * e.Value));

        // 26 degrees of freedom: exceeded by chance once in a thousand. Seeds are fixed, so the outcome is too.
        Assert.That(expected.Values.Sum(), Is.EqualTo(1).Within(1e-9));
        Assert.That(statistic, Is.LessThan(54.05));
    }

    [Test]
    public void ADraftModelOfAnotherVocabularyIsRefusedByName()
    {
        using var target = Golden.Open("bitnet-b158-tq2_0").Load();
        using var draft = Golden.Open("mamba-f32").Load();

        var refusal = Assert.Throws<ArgumentException>(() => ModelDraft.CheckVocabulary(draft, target))!;

        Assert.That(refusal.Message, Does.Contain(draft.Info.Name).And.Contain(target.Info.Name).And.Contain("448").And.Contain("512"));
        Assert.That(() => new Experience(target).Drafts(SpeculationMode.Draft, null, new(), TimeProvider.System), Throws.ArgumentException.With.Message.Contains(target.Info.Name));
    }

    // Probability of every continuation by so many tokens, each among the most probable ones.
    private static Dictionary<string, double> Expectations(LanguageModel model, int[] prompt, int length, int topK)
    {
        var expected = new Dictionary<string, double>();
        Extend([], 1);
        return expected;

        void Extend(int[] tokens, double probability)
        {
            if (tokens.Length == length)
            {
                expected.Add(string.Join(',', tokens), probability);
                return;
            }

            using var session = model.CreateSession();
            var logits = Feed.Tokens(session, [.. prompt, .. tokens]).AsSpan(^model.Info.VocabularySize..).ToArray();
            var best = Enumerable.Range(0, logits.Length).OrderByDescending(i => logits[i]).ThenBy(i => i).Take(topK).ToArray();
            var total = best.Sum(i => Math.Exp(logits[i]));
            foreach (var token in best)
            {
                Extend([.. tokens, token], probability * Math.Exp(logits[token]) / total);
            }
        }
    }
}
