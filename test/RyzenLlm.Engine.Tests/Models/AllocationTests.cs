using RyzenLlm.Engine.Sessions;

namespace RyzenLlm.Engine.Tests.Models;

/// <summary>Decoding leaves nothing to the garbage collector.</summary>
public class AllocationTests
{
    private const int Tokens = 40;

    [TestCaseSource(typeof(GoldenTests), nameof(GoldenTests.CasesPerArchitecture))]
    public void ADecodedTokenAllocatesNothing(string name, string kernels)
    {
        using var model = Golden.Open(name).Load(kernels);
        using var session = model.CreateSession();
        using var other = model.CreateSession();
        using var batch = new Batch();

        // Grows all buffers, fills the pools and gets the code compiled for good.
        Decode(5 * Tokens);
        session.Rewind(0);
        other.Rewind(0);
        Decode(Tokens);

        Assert.That(Allocations.Of(() => Decode(Tokens)), Is.Zero);

        void Decode(int count)
        {
            var token = 1;
            for (var i = 0; i < count; i++)
            {
                // One plain row, one marked as for speculation.
                batch.Add(session, token, logits: true);
                batch.Add(other, token, logits: true, mark: true);
                model.Forward(batch);
                token = batch.Logits(0)[0] > batch.Logits(1)[0] ? 1 : 2;
                batch.Clear();
            }
        }
    }
}
