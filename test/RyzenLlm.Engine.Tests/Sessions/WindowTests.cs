using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;
using RyzenLlm.Engine.Tests.Files;
using RyzenLlm.Engine.Tests.Models;
using RyzenLlm.Engine.Tests.Reuse;
using RyzenLlm.Engine.Tests.Speculation;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Tests.Sessions;

/// <summary>Transformers that go on beyond their context: the first tokens and a window of the latest ones stay in sight.</summary>
public class WindowTests
{
    private const int Page = KvView.BlockPositions;

    private static readonly string[] Kernels = [.. KernelSet.Available.Select(set => set.Name)];

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void CreateFolder() => _folder = new();

    [TearDown]
    public void DeleteFolder() => _folder.Dispose();

    [Test]
    public void LogitsAreThoseOfACacheWithPositionsOfItsOwn(
        [Values("bitnet-b158-i2_s", "llama-f16", "qwen3-f32", "gemma3-f32")] string name, [ValueSource(nameof(Kernels))] string kernels, [Values(0, 3)] int sinks)
    {
        var path = Unrounded(name);
        var window = sinks == 0 ? 11 : 6; // one of them shorter than the window that Gemma's own blocks have
        var tokens = Talk.Tokens(new Random(sinks), 32);
        using var model = ModelLoader.Load(path, new LoadOptions { Kernels = kernels, Threads = 1, KvType = KvType.F32, Window = window, Sinks = sinks });
        using var session = model.CreateSession();

        var found = Feed.Tokens(session, tokens, 20, 1, 1, 5);

        var expected = TransformerReference.Logits(path, tokens, window, sinks);
        Assert.That(found.Zip(expected, (a, b) => Math.Abs(a - b)).Max(), Is.LessThan(2e-4));
    }

    [Test]
    public void ChunksAndSingleTokensGiveTheSameBits(
        [Values("bitnet-b158-tq2_0", "llama-i2_s", "qwen3-i2_s", "gemma3-f32")] string name, [ValueSource(nameof(Kernels))] string kernels)
    {
        // Some 300 tokens: pages are given up on the way, and chunks begin and end before, at and behind the border.
        var tokens = Talk.Tokens(new Random(7), 300);
        using var model = Golden.Open(name).Load(kernels, kvType: KvType.F16, window: 45, sinks: 3);
        using var single = model.CreateSession();
        var expected = Feed.Tokens(single, tokens, 1);
        foreach (var chunks in (int[][])[[300], [47, 1, 252], [49, 13], [200, 1, 1, 1, 97]])
        {
            using var session = model.CreateSession();
            Assert.That(Feed.Tokens(session, tokens, chunks), Is.EqualTo(expected), $"chunks of {string.Join(", ", chunks)}");
        }

        // As without a window until it is full.
        using var endless = Golden.Open(name).Load(kernels, kvType: KvType.F16);
        using var whole = endless.CreateSession();
        var seen = 48 * model.Info.VocabularySize;
        Assert.That(Feed.Tokens(whole, tokens[..48]), Is.EqualTo(expected[..seen]));
        Assert.That(Feed.Tokens(whole, tokens[48..60]), Is.Not.EqualTo(expected[seen..(60 * model.Info.VocabularySize)]), "then it is in use");
    }

    [Test]
    public void MemoryIsConstant([Values(0, 4, 70)] int sinks)
    {
        const int Length = 20_000;
        const int Window = 60;
        const int Chunk = 100;
        using var model = Golden.Open("llama-f16").Load(window: Window, sinks: sinks);
        Assert.That(model.Info.ContextLength, Is.LessThan(Length));
        var tokens = Talk.Tokens(new Random(1), Length);
        using var chunked = (KvSession)model.CreateSession();
        using var single = (KvSession)model.CreateSession();
        var most = (sinks + Window + KvCache.Reach + Chunk) / Page * Page;
        for (var at = 0; at < Length; at += Chunk)
        {
            Feed.Silently(chunked, tokens.AsSpan(at, Chunk));
            Assert.That(chunked.Slots, Is.LessThanOrEqualTo(most + (3 * Page)), $"at {at}");
            for (var i = at; i < at + Chunk; i++)
            {
                Feed.Silently(single, tokens.AsSpan(i, 1));
            }

            Assert.That(single.Slots, Is.LessThanOrEqualTo(most + (3 * Page)), $"at {at}");
        }

        Assert.That(Feed.Token(chunked, 5), Is.EqualTo(Feed.Token(single, 5)));
        using var early = model.CreateSession();
        Feed.Silently(early, tokens.AsSpan(0, 1000));
        Assert.That(chunked.StateBytes, Is.EqualTo(early.StateBytes));
        Assert.That(model.SessionBytes(int.MaxValue), Is.EqualTo(model.SessionBytes(1000)));
        Assert.That(SavedBytes(chunked), Is.LessThanOrEqualTo(SavedBytes(early) + model.SessionBytes(Page)));
    }

    [Test]
    public void ADecodedTokenAllocatesNothing()
    {
        using var model = Golden.Open("llama-f16").Load(window: 100);
        using var session = model.CreateSession();
        using var batch = new Batch();
        Decode(400); // beyond what compiles the code for good

        Assert.That(Allocations.Of(() => Decode(200)), Is.Zero);

        void Decode(int count)
        {
            for (var i = 0; i < count; i++)
            {
                batch.Add(session, i % 200, logits: true);
                model.Forward(batch);
                batch.Clear();
            }
        }
    }

    [Test]
    public void ASessionGoesBackAsFarAsItCanSee([Values(0, 3)] int sinks, [Values(30, 200)] int window)
    {
        using var model = Golden.Open("qwen3-f32").Load(window: window, sinks: sinks);
        var tokens = Talk.Tokens(new Random(2), 500);
        using var session = model.CreateSession();
        Feed.Silently(session, tokens);
        int[] targets = [.. Enumerable.Range(0, 501).Where(session.CanRewind)];
        Assert.That(targets, Is.SupersetOf(Enumerable.Range(500 - KvCache.Reach, KvCache.Reach + 1)));
        Assert.That(targets, Does.Contain(0));
        Assert.That(targets, Does.Not.Contain(500 - KvCache.Reach - Page - 1), "or memory would grow");

        foreach (var target in (int[])[500, 499, targets.First(t => t > sinks + window), .. targets.Where(t => t <= Page).TakeLast(2), 0])
        {
            using var back = session.Fork();
            back.Rewind(target);
            using var fresh = model.CreateSession();
            Feed.Silently(fresh, tokens.AsSpan(0, target));
            Assert.That(Feed.Tokens(back, [9, 8, 7, .. tokens[..100]], 2), Is.EqualTo(Feed.Tokens(fresh, [9, 8, 7, .. tokens[..100]], 103)), $"from {target}");
        }

        Assert.That(() => session.Rewind(500 - KvCache.Reach - Page - 1), Throws.InvalidOperationException.With.Message.Contains($"window of {window} tokens"));
        Assert.That(session.Position, Is.EqualTo(500));
    }

    [Test]
    public void AnAnswerGoesOnBeyondTheContext()
    {
        var golden = Golden.Open("llama-f16");
        using var model = golden.Load(window: 100_000, sinks: 4);
        var length = model.Info.ContextLength;
        Assert.That(model.Info.Window, Is.EqualTo(length - 4), "no more than was trained");
        var prompt = Talk.Tokens(new Random(3), length - 3);

        Assert.That(Talk.Fresh(model, prompt, 50), Has.Length.EqualTo(length + 47));
        Assert.That(Talk.Fresh(model, [.. prompt, .. prompt], 5), Has.Length.EqualTo(prompt.Length + prompt.Length + 5), "a prompt longer than the context");
    }

    [TestCase("bitnet-b158-tq2_0", "bitnet-old-i2_s")]
    [TestCase("llama-f16", "gemma3-f32")]
    public void GuessesChangeNothing(string target, string draft)
    {
        // Trees that grow over the border and behind it; the draft model has a window of its own.
        using var model = Golden.Open(target).Load(window: 20);
        using var small = Golden.Open(draft).Load(window: 9);
        var experience = new Experience(model);
        for (var seed = 0; seed < 12; seed++)
        {
            var (prompt, sampling) = (Streams.Prompt(model, seed), Streams.Sampling(seed));
            var plain = Streams.Decode(model, prompt, sampling, 60);
            using var speculator = new Speculator(
                experience.Drafts(seed % 2 == 0 ? SpeculationMode.Draft : SpeculationMode.Auto, small, sampling, TimeProvider.System), experience.Costs, TimeProvider.System, 4 + seed);
            Streams.AssertEqual(Streams.Decode(model, prompt, sampling, 60, speculator), plain, $"seed {seed}");

            var scripted = new ScriptedDraft([.. prompt, .. plain.Tokens], agreement: seed % 4 / 3.0, seed, width: 1 + (seed % 3));
            using var sure = new Speculator([scripted], new(), TimeProvider.System, guesses: 6 + seed);
            Streams.AssertEqual(Streams.Decode(model, prompt, sampling, 60, sure), Streams.Decode(model, prompt, sampling, 60), $"seed {seed}, accepted in part");
        }
    }

    [Test]
    public void AnswersFromKeptStatesAreTheSame([Range(1, 4)] int seed)
    {
        var random = new Random(seed);
        using var model = Golden.Open("llama-f16").Load(window: 30, sinks: 3);
        using var files = new StateFolder(_folder.Path("states"), 1 << 30);
        var states = new PrefixStates(model, Talk.Options, null, files);
        var said = new List<int[]> { Talk.Tokens(random, 40) };
        var (reused, late) = (0, 0);
        for (var turn = 0; turn < 30; turn++)
        {
            // Goes on from, repeats, or parts from something said before, near its end or anywhere.
            var before = said[random.Next(said.Count)];
            var kept = random.Next(3) switch
            {
                0 => random.Next(before.Length),
                1 => Math.Max(0, before.Length - random.Next(60)),
                _ => before.Length,
            };
            int[] prompt = [.. before[..kept], .. Talk.Tokens(random, random.Next(1, 200))];
            var answer = random.Next(5) == 0 ? 150 : 5;

            var (tokens, from) = Talk.Answer(states, model, "ann", prompt, answer, (ulong)turn, persist: random.Next(2) == 0);

            Assert.That(tokens, Is.EqualTo(Talk.Fresh(model, prompt, answer, (ulong)turn)), $"turn {turn}, {from} of {prompt.Length} reused");
            said.Add(tokens);
            reused += from > 0 ? 1 : 0;
            late += from > 300 ? 1 : 0;
            if (random.Next(4) == 0)
            {
                states.Dispose(); // a restart: only the files remain
                states = new PrefixStates(model, Talk.Options, null, files);
            }
        }

        states.Dispose();
        Assert.That(reused, Is.GreaterThan(10));
        Assert.That(late, Is.GreaterThan(0), "some far behind the window");
    }

    [Test]
    public void AConversationPastTheWindowCostsOnlyItsNewTokens([Values] bool restart)
    {
        var random = new Random(5);
        using var model = Golden.Open("llama-f16").Load(window: 30, sinks: 3);
        using var files = new StateFolder(_folder.Path("states"), 1 << 30);
        var states = new PrefixStates(model, Talk.Options, null, files);
        var history = Talk.Tokens(random, 300);
        for (var turn = 0; turn < 4; turn++)
        {
            var known = turn == 0 ? 0 : history.Length - 1;
            int[] prompt = [.. history, .. Talk.Tokens(random, 40)];
            var (tokens, reused) = Talk.Answer(states, model, "ann", prompt, 250, persist: true);
            Assert.That(reused, Is.EqualTo(known), $"turn {turn}");
            var again = Talk.Answer(states, model, "ann", prompt, 2, seed: 9).Reused;
            Assert.That(again, Is.EqualTo(prompt.Length - 1), "another answer to the same prompt");
            history = tokens;
            if (restart)
            {
                states.Dispose();
                states = new PrefixStates(model, Talk.Options, null, files);
            }
        }

        states.Dispose();
    }

    [Test]
    public void ASavedSessionBelongsToItsWindow()
    {
        var golden = Golden.Open("llama-f16");
        using var model = golden.Load(window: 30, sinks: 3);
        using var session = model.CreateSession();
        Feed.Silently(session, Talk.Tokens(new Random(1), 300));
        using var file = new MemoryStream();
        session.Save(file);
        foreach (var (window, sinks) in ((int, int)[])[(0, 3), (31, 3), (30, 2)])
        {
            using var other = golden.Load(window: window, sinks: sinks);
            file.Position = 0;
            Assert.That(() => other.LoadSession(file), Throws.TypeOf<InvalidDataException>().With.Message.Contains("window"), $"{window}, {sinks}");
        }
    }

    [Test]
    public void TheWindowEndsWithTheLengthThatWasTrained()
    {
        // Dynamic scaling turns what lies beyond by other frequencies: there is nothing beyond.
        var source = Golden.Open("llama-f16");
        var path = source.ModelPath.Rewrite(_folder.Path("dynamic.gguf"), writer =>
        {
            writer.Set("llama.rope.scaling.type", "dynamic");
            writer.Set("llama.rope.scaling.factor", 4f);
            writer.Set("llama.rope.scaling.original_context_length", 50u);
        });
        using var model = ModelLoader.Load(path, new LoadOptions { Threads = 1, KvType = KvType.F32, Window = 60, Sinks = 4 });
        Assert.That(model.Info.Window, Is.EqualTo(46));
        using var plain = source.Load(window: 46, sinks: 4);
        using var one = model.CreateSession();
        using var two = plain.CreateSession();
        var tokens = Talk.Tokens(new Random(4), 120);
        Assert.That(Feed.Tokens(one, tokens), Is.EqualTo(Feed.Tokens(two, tokens)));
        Assert.That(
            () => ModelLoader.Load(path, new LoadOptions { Window = 60, Sinks = 50 }),
            Throws.ArgumentException.With.Message.Contains("50 sinks leave no window within the 50 tokens"));
    }

    [Test]
    public void PerplexityReadsOnBeyondTheContext()
    {
        using var model = Golden.Open("tales-bitnet").Load(window: 508, sinks: 4);
        using var plain = Golden.Open("tales-bitnet").Load();
        var text = string.Concat(Enumerable.Repeat("Once upon a time there was a king who had three sons, and the youngest was called Hans. ", 60));
        var report = Perplexity.Measure(model, "tales-bitnet", text);
        Assert.That(report.Tokens, Is.GreaterThan(2 * model.Info.ContextLength));
        Assert.That(report.Window, Is.EqualTo(report.Tokens), "one pass");
        Assert.That(report.NatsPerToken, Is.LessThan(1.2 * Perplexity.Measure(plain, "tales-bitnet", text).NatsPerToken));
    }

    private static long SavedBytes(Session session)
    {
        using var file = new MemoryStream();
        session.Save(file);
        return file.Length;
    }

    // Ternary matrices as floats, so that activations are not rounded.
    private string Unrounded(string name)
    {
        var source = Golden.Open(name).ModelPath;
        return !name.EndsWith("i2_s", StringComparison.Ordinal) ? source : source.Rewrite(_folder.Path("floats.gguf"), tensor: (writer, matrix) =>
        {
            if (matrix.Format.Type == QuantType.I2_S)
            {
                writer.Add(WeightMatrix.Encode(matrix.Name, QuantType.F32, matrix.Rows, matrix.Columns, matrix.Decode()));
            }

            return matrix.Format.Type != QuantType.I2_S;
        });
    }
}
