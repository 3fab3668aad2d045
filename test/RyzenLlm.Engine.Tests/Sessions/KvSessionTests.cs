using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tests.Files;
using RyzenLlm.Engine.Tests.Models;
using RyzenLlm.Kernels;

namespace RyzenLlm.Engine.Tests.Sessions;

/// <summary>The paged cache of transformers.</summary>
public unsafe class KvSessionTests
{
    [Test]
    public void AFullContextIsRefusedBeforeAnythingIsComputed()
    {
        using var folder = new TemporaryFolder();
        var path = Golden.Open("bitnet-b158-i2_s").ModelPath.Rewrite(
            folder.Path("short.gguf"), writer => writer.Set("bitnet-b1.58.context_length", 70u));
        using var model = ModelLoader.Load(path, new LoadOptions { Threads = 1 });
        using var session = model.CreateSession();
        using var batch = new Batch();
        for (var i = 0; i < 70; i++)
        {
            batch.Add(session, i);
        }

        Assert.That(() => batch.Add(session, 70), Throws.ArgumentException.With.Message.Contains("70 tokens"));
        Assert.That(batch.Count, Is.EqualTo(70), "the refused row is not part of the batch");
        model.Forward(batch);
        batch.Clear();
        Assert.That(session.Position, Is.EqualTo(70));
        Assert.That(() => batch.Add(session, 1), Throws.ArgumentException);
        batch.Clear();
        session.Rewind(69);
        Assert.That(() => Feed.Token(session, 1), Throws.Nothing, "room again after a rewind");
    }

    [Test]
    public void ForksShareFullPagesAndCopyTheOneTheyWrite()
    {
        using var model = Golden.Open("bitnet-b158-i2_s").Load();
        using var session = (KvSession)model.CreateSession();
        Feed.Tokens(session, [.. Enumerable.Range(0, 100)]);

        using var fork = (KvSession)session.Fork();
        Assert.That(fork.Blocks[0] == session.Blocks[0] && fork.Blocks[1] == session.Blocks[1], "shared at first");
        Feed.Token(fork, 5);

        Assert.That(fork.Blocks[0] == session.Blocks[0], "the full page stays shared");
        Assert.That(fork.Blocks[1] == session.Blocks[1], Is.False, "the page that was written is the fork's own");
    }

    [Test]
    public void PagesThatManyNeedAtOnce_WereMadeBeforehandOneAStep()
    {
        using var model = Golden.Open("bitnet-b158-i2_s").Load();
        var sessions = Enumerable.Range(0, 3).Select(_ => (KvSession)model.CreateSession()).ToArray();
        using var batch = new Batch();
        List<int> reserves = [];
        for (var step = 0; step < 66; step++)
        {
            foreach (var session in sessions)
            {
                batch.Add(session, step);
            }

            model.Forward(batch);
            batch.Clear();
            reserves.Add(sessions[0].Reserve);
        }

        Assert.That(reserves[..5], Is.EqualTo((int[])[1, 2, 3, 3, 3]));
        Assert.That(reserves[63..], Is.EqualTo((int[])[3, 1, 2]), "all went into their second page at once");
        foreach (var session in sessions)
        {
            session.Dispose();
        }
    }

    [Test]
    public void ASavedCacheOfAnotherTypeIsRefused()
    {
        var golden = Golden.Open("bitnet-b158-i2_s");
        using var half = golden.Load(kvType: KvType.F16);
        using var exact = golden.Load(kvType: KvType.F32);
        using var session = half.CreateSession();
        Feed.Tokens(session, [1, 2, 3]);
        using var file = new MemoryStream();
        session.Save(file);
        file.Position = 0;

        Assert.That(() => exact.LoadSession(file), Throws.TypeOf<InvalidDataException>().With.Message.Contains("key/value cache"));
    }

    [Test]
    public void RoundedCachesStayClose([Values(KvType.F16, KvType.I8)] KvType type)
    {
        // Rounding keys and values may flip an int8 rounding behind them; that moves logits by a few percent, not more.
        var golden = Golden.Open("bitnet-b158-i2_s");
        using var model = golden.Load(kvType: type);
        using var session = model.CreateSession();

        var found = Feed.Tokens(session, golden.PromptIds);

        var distance = found.Zip(golden.Logits, (a, b) => Math.Abs(a - b)).Max();
        Assert.That(distance, Is.LessThan(0.35 * golden.Expected.GetProperty("logits_std").GetDouble()));
        Assert.That(distance, Is.GreaterThan(0), $"{type} was in use");
    }

    [Test]
    public void ASessionOfAnotherModelIsRefused()
    {
        using var first = Golden.Open("bitnet-b158-i2_s").Load();
        using var second = Golden.Open("bitnet-old-i2_s").Load();
        using var session = second.CreateSession();
        using var batch = new Batch();
        batch.Add(session, 1);
        Assert.That(() => first.Forward(batch), Throws.ArgumentException);

        using var file = new MemoryStream();
        session.Save(file);
        file.Position = 0;
        Assert.That(() => first.LoadSession(file), Throws.TypeOf<InvalidDataException>().With.Message.Contains("another model"));
    }
}
