using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Decoding;

public sealed class DecoderTests
{
    private static readonly HashSet<int> None = [];

    [TestCase("bitnet-b158-tq2_0")]
    [TestCase("mamba-f32")]
    [TestCase("rwkv7-f32")]
    public void GreedyDecodingContinuesAsTheReferenceDoes(string name)
    {
        var golden = Golden.Open(name);
        using var model = golden.Load();
        using var session = model.CreateSession();
        var decoder = Greedy(model, session, golden.PromptIds, golden.GreedyIds.Length);
        Run(model, decoder);
        Assert.That(decoder.Tokens[golden.PromptIds.Length..].ToArray(), Is.EqualTo(golden.GreedyIds));
        Assert.That(decoder.Finish, Is.EqualTo(FinishReason.Length));
        Assert.That(session.Position, Is.EqualTo(decoder.Tokens.Length - 1), "the last token is not computed");
    }

    [Test]
    public void LongPromptsAreCutAtAbsolutePositionsWhateverIsComputedAlready()
    {
        using var model = Golden.Open("rwkv7-f32").Load();
        int[] prompt = [.. Enumerable.Range(0, 600).Select(i => (i * 37) % 300)];
        using var fresh = model.CreateSession();
        var whole = Greedy(model, fresh, prompt, 8);
        var steps = Run(model, whole);
        Assert.That(steps[..3], Is.EqualTo(new[] { 256, 256, 88 }));

        using var begun = model.CreateSession();
        using (var batch = new Batch())
        {
            for (var i = 0; i < 300; i++)
            {
                batch.Add(begun, prompt[i]);
            }

            model.Forward(batch);
        }

        var rest = Greedy(model, begun, prompt, 8);
        Assert.That(Run(model, rest)[..2], Is.EqualTo(new[] { 212, 88 }));
        Assert.That(rest.Tokens.ToArray(), Is.EqualTo(whole.Tokens.ToArray()));
    }

    [Test]
    public void AnEndTokenEndsTheSequenceAndIsNotPartOfIt()
    {
        var golden = Golden.Open("mamba-f32");
        using var model = golden.Load();
        using var session = model.CreateSession();
        var end = golden.GreedyIds[5];
        var decoder = new Decoder(session, golden.PromptIds, new Sampler(SamplingOptions.Greedy, golden.VocabularySize), new HashSet<int> { end }, 32);
        Run(model, decoder);
        Assert.That(decoder.Finish, Is.EqualTo(FinishReason.Eos));
        Assert.That(decoder.GeneratedTokens, Is.EqualTo(5));
    }

    [Test]
    public void ATransformerStopsWhereItsContextEnds()
    {
        var golden = Golden.Open("bitnet-b158-tq2_0");
        using var model = golden.Load();
        using var session = model.CreateSession();
        var length = model.Info.ContextLength;
        int[] prompt = [.. Enumerable.Repeat(golden.PromptIds, (length / golden.PromptIds.Length) + 1).SelectMany(p => p).Take(length - 3)];
        var decoder = Greedy(model, session, prompt, 100);
        Run(model, decoder);
        Assert.That(decoder.GeneratedTokens, Is.EqualTo(3));
        Assert.That(decoder.Finish, Is.EqualTo(FinishReason.Length));
        using var other = model.CreateSession();
        Assert.That(
            () => Greedy(model, other, [.. prompt, 1, 2, 3], 1),
            Throws.ArgumentException.With.Message.Contains($"context of {model.Info.Name} holds {length}"));
    }

    [Test]
    public void WhatCannotBeContinuedIsRefused()
    {
        using var model = Golden.Open("mamba-f32").Load();
        using var session = model.CreateSession();
        Assert.That(() => Greedy(model, session, [], 1), Throws.ArgumentException.With.Message.Contains("no tokens"));
        Assert.That(() => Greedy(model, session, [1], 0), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Run(model, Greedy(model, session, [1, 2, 3], 1));
        Assert.That(() => Greedy(model, session, [1, 2, 3], 1), Throws.ArgumentException.With.Message.Contains("position 3"));
    }

    [TestCase("bitnet-b158-tq2_0")]
    [TestCase("mamba-f32")]
    [TestCase("rwkv7-f32")]
    public void DecodingAllocatesNothingPerToken(string name)
    {
        var golden = Golden.Open(name);
        using var model = golden.Load();
        using (var earlier = model.CreateSession())
        {
            Run(model, Greedy(model, earlier, golden.PromptIds, 60)); // buffers and cache pages grow to what is needed
        }

        using var session = model.CreateSession();
        using var batch = new Batch();
        var sampler = new Sampler(new SamplingOptions { FrequencyPenalty = 0.1f }, golden.VocabularySize);
        var decoder = new Decoder(session, golden.PromptIds, sampler, None, 60);
        Step(model, decoder, batch);
        Step(model, decoder, batch);
        Assert.That(Allocations.Of(TakeSteps), Is.Zero);

        void TakeSteps()
        {
            for (var i = 0; i < 16; i++)
            {
                Step(model, decoder, batch);
            }
        }
    }

    [Test]
    public void SurprisalsAreThoseOfTheReferenceLogits()
    {
        var golden = Golden.Open("mamba-f32");
        using var model = golden.Load();
        var ids = golden.PromptIds;
        var nats = new double[ids.Length - 4];
        Surprisal.Score(model, ids, 4, nats);
        for (var i = 4; i < ids.Length; i++)
        {
            var row = golden.LogitsAt(i - 1).ToArray();
            var expected = Math.Log(row.Sum(logit => Math.Exp(logit))) - row[ids[i]];
            Assert.That(nats[i - 4], Is.EqualTo(expected).Within(2 * golden.Tolerance));
        }

        Assert.That(() => Surprisal.Score(model, ids, 0, new double[100]), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    private static Decoder Greedy(LanguageModel model, Session session, int[] prompt, int maxTokens) =>
        new(session, prompt, new Sampler(SamplingOptions.Greedy, model.Info.VocabularySize), None, maxTokens);

    private static List<int> Run(LanguageModel model, Decoder decoder)
    {
        using var batch = new Batch();
        List<int> rows = [];
        while (decoder.Finish is null)
        {
            rows.Add(Step(model, decoder, batch));
        }

        return rows;
    }

    private static int Step(LanguageModel model, Decoder decoder, Batch batch)
    {
        batch.Clear();
        decoder.AddRows(batch);
        model.Forward(batch);
        decoder.TakeLogits(batch, out _);
        return batch.Count;
    }
}
