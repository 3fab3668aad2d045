using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tests.Constraints;
using RyzenLlm.Engine.Tests.Models;
using RyzenLlm.Kernels;

namespace RyzenLlm.Engine.Tests.Speculation;

/// <summary>Models loaded to draft: on the target's threads, with rounded activations and candidates instead of all logits.</summary>
public class DraftModelTests
{
    private static readonly string[] Beginnings =
    [
        "Once upon a time there was a", "\"My dear Watson,\" said Holmes,", "The King had three daughters, and the", "It was a cold morning in", "The old woman said to the wolf",
    ];

    [Test]
    public void ADraftWorksOnTheTargetsThreadsAndNoLonger()
    {
        var target = Golden.Open("tales-bitnet").Load();
        using var draft = ModelLoader.LoadDraft(Golden.Open("tales-mamba").ModelPath, target);
        using var session = draft.CreateSession();
        using var batch = new Batch();
        batch.Add(session, 1, logits: true);

        Assert.That(draft.Ops.Team, Is.SameAs(target.Ops.Team));
        Assert.That(draft.Ops.Precision, Is.EqualTo(Precision.Coarse));
        Assert.That(target.Ops.Precision, Is.EqualTo(Precision.Exact));
        using (var second = ModelLoader.LoadDraft(Golden.Open("tales-mamba").ModelPath, target))
        {
            Assert.That(() => draft.Forward(batch), Throws.Nothing);
        }

        batch.Clear();
        batch.Add(session, 2, logits: true);
        Assert.That(() => draft.Forward(batch), Throws.Nothing, "a draft that goes leaves the threads");

        target.Dispose();
        batch.Clear();
        batch.Add(session, 3, logits: true);
        Assert.That(() => draft.Forward(batch), Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public void GuessesFromCandidatesAreRightAsOftenAsThoseOfAnExactDraft([Values(0f, 0.8f, 1.2f)] float temperature)
    {
        using var model = Golden.Open("tales-bitnet").Load();
        var path = Golden.Open("tales-mamba").ModelPath;
        using var exact = ModelLoader.Load(path, new() { Threads = 1 });
        using var rough = ModelLoader.LoadDraft(path, model, new() { Head = HeadProduct.Candidates });
        var (withExact, withRough) = (0, 0);
        for (var i = 0; i < Beginnings.Length; i++)
        {
            var prompt = model.Tokenizer!.Encode(Beginnings[i], addBos: true, parseSpecial: false);
            var sampling = new SamplingOptions { Temperature = temperature, Seed = (ulong)i, TopK = 0, TopP = 1, MinP = 0 };
            var plain = Streams.Decode(model, prompt, sampling, 48);
            withExact += Accepted(model, exact, prompt, sampling, plain);
            withRough += Accepted(model, rough, prompt, sampling, plain);
            plain.Session.Dispose();
        }

        Assert.That(withExact, Is.GreaterThan(50));
        Assert.That(withRough, Is.GreaterThan(withExact * 9 / 10));
    }

    [Test]
    public void AConstraintThatForbidsAllCandidatesEndsTheGuessing()
    {
        using var model = Golden.Open("tales-bitnet").Load();
        using var draft = ModelLoader.LoadDraft(Golden.Open("tales-mamba").ModelPath, model, new() { Head = HeadProduct.Candidates });
        var constraint = Constrained.For(OutputConstraint.Regex("[~|{}]{24}"), model.Tokenizer!);
        var prompt = model.Tokenizer!.Encode(Beginnings[0], addBos: true, parseSpecial: false);
        foreach (var sampling in (SamplingOptions[])[SamplingOptions.Greedy, new() { Seed = 3 }])
        {
            var plain = Streams.Decode(model, prompt, sampling, 30, null, constraint);
            using var speculator = new Speculator(new Experience(model).Drafts(SpeculationMode.Draft, draft, sampling, TimeProvider.System), new(), TimeProvider.System, guesses: 4);

            var speculative = Streams.Decode(model, prompt, sampling, 30, speculator, constraint);

            Streams.AssertEqual(speculative, plain, "constrained");
            Assert.That(speculator.Drafted, Is.LessThan(20), "most places have no candidate that is allowed");
        }
    }

    private static int Accepted(LanguageModel model, LanguageModel draft, int[] prompt, SamplingOptions sampling, (int[] Tokens, Session Session) plain)
    {
        using var speculator = new Speculator(new Experience(model).Drafts(SpeculationMode.Draft, draft, sampling, TimeProvider.System), new(), TimeProvider.System, guesses: 4);
        var (tokens, session) = Streams.Decode(model, prompt, sampling, plain.Tokens.Length, speculator);
        session.Dispose();
        Assert.That(tokens, Is.EqualTo(plain.Tokens));
        return speculator.Accepted;
    }
}
