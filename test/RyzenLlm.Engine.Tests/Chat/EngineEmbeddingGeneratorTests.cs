using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using RyzenLlm.Engine.Chat;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tests.Decoding;
using RyzenLlm.Engine.Tests.Files;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Chat;

public sealed class EngineEmbeddingGeneratorTests
{
    private static readonly string[] Texts =
    [
        "The kettle is blue.", "a", "Rain falls on the harbour, and the boats lie still.", "The kettle is old.", .. Enumerable.Range(0, 12).Select(i => $"{i} times {i} makes {i * i}."),
    ];

    /// <summary>One model with a vocabulary of each architecture.</summary>
    public static readonly string[] Models = ["bitnet-b158-tq2_0", "bitnet-old-i2_s", "mamba-f32", "rwkv6-q8_0", "rwkv7-f32", "tales-bitnet"];

    [TestCaseSource(nameof(Models))]
    public async Task ATextAloneHasTheBitsThatItHasInABatch(string name)
    {
        using var scheduler = new Scheduler(Golden.Open(name).Load());
        using var generator = new EngineEmbeddingGenerator(scheduler);

        var together = await generator.GenerateAsync(Texts);

        for (var i = 0; i < Texts.Length; i++)
        {
            var alone = await generator.GenerateVectorAsync(Texts[i]);
            Assert.That(alone.ToArray(), Is.EqualTo(together[i].Vector.ToArray()), Texts[i]);
        }

        Assert.That(together[0].Vector.ToArray(), Is.Not.EqualTo(together[3].Vector.ToArray()));
        Assert.That(scheduler.Model.OpenSessions, Is.Zero);
        Assert.That(scheduler.Pending, Is.Zero);
    }

    [TestCaseSource(nameof(Models))]
    public async Task VectorsArePooledHiddenStates(string name)
    {
        using var scheduler = new Scheduler(Golden.Open(name).Load());
        const string text = "Rain falls on the harbour.";
        var (tokenizer, n) = (scheduler.Model.Tokenizer!, scheduler.Model.Info.EmbeddingLength);
        var mean = await scheduler.EmbedAsync(new() { Texts = [text, ""], Pooling = Pooling.Mean });
        var last = await scheduler.EmbedAsync(new() { Texts = [text], Pooling = Pooling.Last });

        var ids = tokenizer.Encode(text, tokenizer.AddBos, parseSpecial: false);
        var states = Hidden(scheduler.Model, ids);
        var first = tokenizer.AddBos && tokenizer.BosId is not null ? 1 : 0;
        double[] expectedMean = [.. Enumerable.Range(0, n).Select(d => Enumerable.Range(first, ids.Length - first).Sum(t => (double)states[(t * n) + d]))];
        double[] expectedLast = [.. states.AsSpan((ids.Length - 1) * n).ToArray().Select(value => (double)value)];

        Assert.That(mean.Vectors[0], Is.EqualTo(Unit(expectedMean)).Within(1e-6));
        Assert.That(last.Vectors[0], Is.EqualTo(Unit(expectedLast)).Within(1e-6));
        Assert.That(mean.Vectors[1], Is.All.Zero, "a text without tokens");
        Assert.That(mean.Tokens, Is.EqualTo(ids.Length));
    }

    [Test]
    public void HiddenStatesAreWhatTheOutputHeadReads([ValueSource(typeof(Golden), nameof(Golden.Architectures))] string name)
    {
        var golden = Golden.Open(name);
        using var model = golden.Load();
        var ids = golden.PromptIds.AsSpan(0, 6);
        var states = Hidden(model, ids);
        using var session = model.CreateSession();
        var logits = Feed.Tokens(session, ids);

        var (v, n) = (model.Info.VocabularySize, model.Info.EmbeddingLength);
        var head = HeadOf(golden.ModelPath, v, n);
        foreach (var (t, row) in (ReadOnlySpan<(int, int)>)[(0, 0), (2, 7), (5, v - 1)])
        {
            var product = Enumerable.Range(0, n).Sum(d => (double)states[(t * n) + d] * head[(row * n) + d]);
            Assert.That(logits[(t * v) + row], Is.EqualTo(product).Within(1e-3));
        }
    }

    [Test]
    public void ARowGivesLogitsOrItsHiddenState()
    {
        using var model = Golden.Open("mamba-f32").Load();
        using var session = model.CreateSession();
        using var batch = new Batch();
        Assert.That(() => batch.Add(session, 1, logits: true, hidden: true), Throws.ArgumentException);
        batch.Add(session, 1, hidden: true);
        batch.Add(session, 2, logits: true);
        model.Forward(batch);
        Assert.That(() => batch.Logits(0).Length, Throws.ArgumentException.With.Message.Contains("no logits"));
        Assert.That(() => batch.Hidden(1).Length, Throws.ArgumentException.With.Message.Contains("no hidden state"));
        Assert.That(batch.Logits(1).ToArray(), Is.EqualTo(Alone()));
        Assert.That(batch.Hidden(0).ToArray(), Is.EqualTo(Hidden(model, [1])));

        float[] Alone()
        {
            using var other = model.CreateSession();
            return Feed.Tokens(other, [1, 2])[model.Info.VocabularySize..];
        }
    }

    [Test]
    public async Task ALongTextIsReadInWindowsOfTheContext([Values] Pooling pooling)
    {
        using var folder = new TemporaryFolder();
        var small = Golden.Open("bitnet-b158-tq2_0").ModelPath.Rewrite(folder.Path("small.gguf"), writer => writer.Set("bitnet-b1.58.context_length", 16u));
        using var scheduler = new Scheduler(ModelLoader.Load(small, new() { Threads = 1 }));
        var tokenizer = scheduler.Model.Tokenizer!;
        var text = string.Concat(Enumerable.Repeat("one two three four five ", 9));
        var ids = tokenizer.Encode(text, addBos: false, parseSpecial: false);
        var (n, bos) = (scheduler.Model.Info.EmbeddingLength, tokenizer.AddBos ? tokenizer.BosId : null);
        var window = 16 - (bos is null ? 0 : 1);
        var sum = new double[n];
        for (var begin = 0; begin < ids.Length; begin += window)
        {
            int[] part = [.. bos is { } b ? [b] : Array.Empty<int>(), .. ids.AsSpan(begin, Math.Min(window, ids.Length - begin))];
            var states = Hidden(scheduler.Model, part);
            var first = pooling == Pooling.Last ? part.Length - 1 : bos is null ? 0 : 1;
            double[] rows = [.. Enumerable.Range(0, n).Select(d => Enumerable.Range(first, part.Length - first).Sum(t => (double)states[(t * n) + d]))];
            var scale = pooling == Pooling.Last ? part.Length / Math.Sqrt(rows.Sum(r => r * r)) : 1;
            for (var d = 0; d < n; d++)
            {
                sum[d] += rows[d] * scale;
            }
        }

        var vector = (await scheduler.EmbedAsync(new() { Texts = [text], Pooling = pooling })).Vectors[0];

        Assert.That(ids, Has.Length.GreaterThan(40));
        Assert.That(vector, Is.EqualTo(Unit(sum)).Within(1e-6));
    }

    [Test]
    public async Task TheFileSaysHowItsModelEmbeds()
    {
        using var folder = new TemporaryFolder();
        var path = Golden.Open("bitnet-b158-tq2_0").ModelPath.Rewrite(folder.Path("last.gguf"), writer =>
        {
            writer.Set("bitnet-b1.58.pooling_type", 3u);
            writer.Set("tokenizer.ggml.add_eos_token", true);
            writer.Set("tokenizer.ggml.eos_token_id", 7u);
        });
        using var scheduler = new Scheduler(ModelLoader.Load(path, new() { Threads = 1 }));
        var tokenizer = scheduler.Model.Tokenizer!;
        const string text = "It is late.";

        var found = await scheduler.EmbedAsync(new() { Texts = [text] });

        int[] ids = [.. tokenizer.Encode(text, tokenizer.AddBos, parseSpecial: false), 7];
        var n = scheduler.Model.Info.EmbeddingLength;
        double[] last = [.. Hidden(scheduler.Model, ids).AsSpan((ids.Length - 1) * n).ToArray().Select(value => (double)value)];
        Assert.That(found.Vectors[0], Is.EqualTo(Unit(last)).Within(1e-6));
        Assert.That(found.Tokens, Is.EqualTo(ids.Length));
    }

    [Test]
    public async Task ABosIsPartOfTheMeanWhereTheModelWasTrainedSo()
    {
        using var folder = new TemporaryFolder();
        var path = Golden.Open("bitnet-b158-tq2_0").ModelPath.Rewrite(folder.Path("mean.gguf"), writer =>
        {
            writer.Set("bitnet-b1.58.pooling_type", 1u);
            writer.Set("tokenizer.ggml.bos_token_id", 9u);
            writer.Set("tokenizer.ggml.add_bos_token", true);
        });
        using var scheduler = new Scheduler(ModelLoader.Load(path, new() { Threads = 1 }));
        var (tokenizer, n) = (scheduler.Model.Tokenizer!, scheduler.Model.Info.EmbeddingLength);
        int[] ids = tokenizer.Encode("It is late.", addBos: true, parseSpecial: false);

        var found = await scheduler.EmbedAsync(new() { Texts = ["It is late."] });

        var states = Hidden(scheduler.Model, ids);
        Assert.That(ids[0], Is.EqualTo(9));
        Assert.That(found.Vectors[0], Is.EqualTo(Unit([.. Enumerable.Range(0, n).Select(d => Enumerable.Range(0, ids.Length).Sum(t => (double)states[(t * n) + d]))])).Within(1e-6));
    }

    [Test]
    public async Task GenerationGoesOnInEveryStep()
    {
        using var steps = new SteppedModel("mamba-f32", new() { StepTokens = 24 });
        var request = new GenerationRequest { Turns = [new("user", "The state")], MaxTokens = 200, Speculation = Engine.Decoding.Speculation.SpeculationMode.Off };
        var alone = await Alone();
        var generating = steps.Scheduler.GenerateAsync(request);
        steps.Await(1);
        var embedding = steps.Scheduler.EmbedAsync(new() { Texts = Texts });
        var shared = 0;
        steps.Before = batch =>
        {
            var embedded = batch.Rows.Count(row => row.HiddenRow >= 0);
            if (batch.Rows.Count > embedded && embedded > 0)
            {
                shared++;
            }

            Assert.That(batch.Count, Is.LessThanOrEqualTo(24));
            Assert.That(batch.Rows.Count(row => row.LogitsRow >= 0), Is.EqualTo(generating.IsCompleted ? 0 : 1), "the generating sequence was left out of a step");
        };
        steps.RunFreely();

        Assert.That((await generating).Text, Is.EqualTo(alone));
        var vectors = (await embedding).Vectors;
        Assert.That(shared, Is.GreaterThan(3));
        Assert.That(vectors[2], Is.EqualTo((await steps.Scheduler.EmbedAsync(new() { Texts = [Texts[2]] })).Vectors[0]));

        async Task<string> Alone()
        {
            using var scheduler = new Scheduler(Golden.Open("mamba-f32").Load());
            return (await scheduler.GenerateAsync(request)).Text;
        }
    }

    [Test]
    public async Task WhatEndsAnEmbeddingLeavesNothingBehind()
    {
        using var steps = new SteppedModel("rwkv7-f32");
        using var cancel = new CancellationTokenSource();
        var cancelled = steps.Scheduler.EmbedAsync(new() { Texts = Texts }, cancel.Token);
        steps.Await(1);
        await cancel.CancelAsync();
        steps.Run(1);
        Assert.That(async () => await cancelled, Throws.InstanceOf<OperationCanceledException>());

        steps.Before = _ => throw new InvalidTimeZoneException("broken");
        var failed = steps.Scheduler.EmbedAsync(new() { Texts = Texts });
        steps.RunFreely();
        Assert.That(async () => await failed, Throws.TypeOf<StepFailedException>());
        steps.Before = null;
        Assert.That((await steps.Scheduler.EmbedAsync(new() { Texts = ["x"] })).Vectors, Has.Count.EqualTo(1));
        Assert.That(steps.Model.OpenSessions, Is.Zero);
        Assert.That(steps.Scheduler.Pending, Is.Zero);
    }

    [Test]
    public void UnloadingEndsEmbeddings()
    {
        Task<EmbeddingResult> running, late;
        using (var steps = new SteppedModel("mamba-f32"))
        {
            running = steps.Scheduler.EmbedAsync(new() { Texts = Texts });
            steps.Await(1);
            late = steps.Scheduler.EmbedAsync(new() { Texts = Texts });
        }

        Assert.That(async () => await running, Throws.InstanceOf<ObjectDisposedException>());
        Assert.That(async () => await late, Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public async Task AHostHasItBesideTheChatClient()
    {
        await using var host = new ServiceCollection().AddRyzenLlm(Golden.Open("tales-mamba").ModelPath).BuildServiceProvider();
        var generator = host.GetRequiredService<IEmbeddingGenerator<string, Embedding<float>>>();
        var made = await generator.GenerateAsync(["Once upon a time"]);
        var metadata = generator.GetService<EmbeddingGeneratorMetadata>()!;
        var info = host.GetRequiredService<Scheduler>().Model.Info;

        Assert.That(generator.GetService<Scheduler>(), Is.SameAs(host.GetRequiredService<Scheduler>()));
        Assert.That((metadata.ProviderName, metadata.DefaultModelId, metadata.DefaultModelDimensions), Is.EqualTo(("ryzenllm", info.Name, (int?)info.EmbeddingLength)));
        Assert.That(made[0].Vector.Length, Is.EqualTo(info.EmbeddingLength));
        Assert.That(made[0].ModelId, Is.EqualTo(info.Name));
        Assert.That(made.Usage!.InputTokenCount, Is.GreaterThan(2));
        Assert.That(() => generator.GenerateAsync(["x"], new() { Dimensions = 3 }), Throws.ArgumentException.With.Message.Contains($"{info.EmbeddingLength}"));
        Assert.That(() => generator.GenerateAsync(["x"], new() { ModelId = "gpt" }), Throws.ArgumentException.With.Message.Contains("gpt"));
    }

    private static float[] Hidden(LanguageModel model, ReadOnlySpan<int> ids)
    {
        using var session = model.CreateSession();
        using var batch = new Batch();
        foreach (var id in ids)
        {
            batch.Add(session, id, hidden: true);
        }

        model.Forward(batch);
        return [.. Enumerable.Range(0, ids.Length).SelectMany(row => batch.Hidden(row).ToArray())];
    }

    private static float[] HeadOf(string path, int rows, int columns)
    {
        if (Directory.Exists(path))
        {
            using var tensors = Engine.Files.SafetensorsFile.Open(Path.Combine(path, "model.safetensors"));
            return tensors.Matrix("head.weight", rows, columns).Decode();
        }

        using var file = Engine.Files.GgufFile.Open(path);
        return (file.TryMatrix("output.weight", rows, columns, out var head) ? head : file.Matrix("token_embd.weight", rows, columns)).Decode();
    }

    private static double[] Unit(double[] vector)
    {
        var length = Math.Sqrt(vector.Sum(v => v * v));
        return [.. vector.Select(v => v / length)];
    }
}
