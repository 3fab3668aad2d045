using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Sessions;

/// <summary>Marks of recurrent sessions: what is not kept cannot come back, and says so.</summary>
public class RecurrentSessionTests
{
    [Test]
    public void RewindWithoutAMarkNamesTheMarksHeld()
    {
        using var model = Golden.Open("mamba-f32").Load();
        using var session = model.CreateSession();
        Feed.Tokens(session, [1, 2, 3]);
        Assert.That(() => session.Rewind(2), Throws.InvalidOperationException.With.Message.Contains("(none)"));
        session.Mark();
        Feed.Tokens(session, [4, 5]);
        session.Mark();
        Feed.Tokens(session, [6]);

        Assert.That(session.CanRewind(4), Is.False);
        Assert.That(() => session.Rewind(4), Throws.InvalidOperationException.With.Message.Contains("(3, 5)"));
        Assert.That(session.Position, Is.EqualTo(6), "a refused rewind changes nothing");
        Assert.That(() => session.Rewind(6), Throws.Nothing, "the present position needs no mark");
        Assert.That(() => session.Rewind(5), Throws.Nothing);
    }

    [Test]
    public void TheOldestMarksGiveWay([Values] bool inOneChunk)
    {
        const int Count = RecurrentSession.MarkLimit + 5;
        using var model = Golden.Open("mamba-f32").Load();
        using var session = (RecurrentSession)model.CreateSession();
        using var batch = new Batch();
        for (var i = 0; i < Count; i++)
        {
            batch.Add(session, i, mark: true);
            if (!inOneChunk)
            {
                model.Forward(batch);
                batch.Clear();
            }
        }

        if (inOneChunk)
        {
            model.Forward(batch);
            batch.Clear();
        }

        Assert.That(session.Marks, Is.EqualTo(Enumerable.Range(6, RecurrentSession.MarkLimit)));
        session.Rewind(9);
        Assert.That(session.Marks, Is.EqualTo(Enumerable.Range(6, 4)), "later marks go with the rewind");
    }

    [Test]
    public void AMarkTwiceAtOnePlaceIsOne()
    {
        using var model = Golden.Open("rwkv7-f32").Load();
        using var session = (RecurrentSession)model.CreateSession();
        Feed.Tokens(session, [1]);
        session.Mark();
        session.Mark();

        Assert.That(session.Marks, Is.EqualTo(new[] { 1 }));
    }
}
