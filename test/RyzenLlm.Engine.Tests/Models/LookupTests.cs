using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tests.Speculation;
using RyzenLlm.Kernels;

namespace RyzenLlm.Engine.Tests.Models;

/// <summary>Ternary weights packed for lookup change nothing but the speed.</summary>
public class LookupTests
{
    [Test]
    public void LookupWeights_GiveTheLogitsOfThoseInPlace([Values(1, 2)] int threads)
    {
        if (!KernelSet.Select().HasLookup)
        {
            Assert.Ignore("This processor, or this run, has no AVX-512.");
        }

        var golden = Golden.Open("tales-bitnet");
        using var inPlace = ModelLoader.Load(golden.ModelPath, new() { Threads = threads, Ternary = TernaryLayout.InPlace });
        using var packed = ModelLoader.Load(golden.ModelPath, new() { Threads = threads, Ternary = TernaryLayout.Auto });
        using var first = inPlace.CreateSession();
        using var second = packed.CreateSession();

        // Token by token and in chunks from the copy, at once from the original.
        Assert.That(Feed.Tokens(second, golden.PromptIds.AsSpan(0, 20), 1, 1, 7, 1), Is.EqualTo(Feed.Tokens(first, golden.PromptIds.AsSpan(0, 20), 20)));
        Assert.That(packed.Ops.WeightBytes, Is.Not.EqualTo(inPlace.Ops.WeightBytes));
        var prompt = Streams.Prompt(inPlace, 3);
        Streams.AssertEqual(Streams.Decode(packed, prompt, Streams.Sampling(1), 20), Streams.Decode(inPlace, prompt, Streams.Sampling(1), 20), "generated");
    }

    [Test]
    public void ADecodedTokenAllocatesNothing()
    {
        using var model = ModelLoader.Load(Golden.Open("tales-bitnet").ModelPath, new() { Threads = 1, Ternary = TernaryLayout.Auto });
        using var session = model.CreateSession();
        using var batch = new Batch();
        Decode(100);
        session.Rewind(0);
        Assert.That(Allocations.Of(() => Decode(20)), Is.Zero);

        void Decode(int count)
        {
            for (var i = 0; i < count; i++)
            {
                batch.Add(session, 1 + (i % 2), logits: true);
                model.Forward(batch);
                batch.Clear();
            }
        }
    }
}
