using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Sessions;

/// <summary>The laws of a session, each to the bit, on every architecture.</summary>
[TestFixtureSource(typeof(Golden), nameof(Golden.WithWindows))]
public class SessionTests(string name, int window)
{
    private const int Depths = 9;

    private LanguageModel _model = null!;
    private int[] _a = null!;
    private int[] _b = null!;

    [OneTimeSetUp]
    public void Load()
    {
        var golden = Golden.Open(name);
        _model = golden.Load(window: window);
        _a = golden.PromptIds[..Depths];
        _b = golden.GreedyIds[..5];
    }

    [OneTimeTearDown]
    public void Unload() => _model?.Dispose();

    [Test]
    public void RewindToAMarkForgetsWhatCameAfter([Range(0, Depths)] int depth)
    {
        using var session = _model.CreateSession();
        Feed.Tokens(session, _a.AsSpan(0, depth));
        session.Mark();
        Feed.Tokens(session, _b.AsSpan(1), 2);
        Assert.That(session.Position, Is.EqualTo(depth + 4));

        session.Rewind(depth);

        Assert.That(session.Position, Is.EqualTo(depth));
        Assert.That(Feed.Tokens(session, _b), Is.EqualTo(Expected(_a[..depth], _b)));

        // The mark is still there.
        session.Rewind(depth);
        Assert.That(Feed.Tokens(session, _b, 1), Is.EqualTo(Expected(_a[..depth], _b)));
    }

    [Test]
    public void MarkedRowsOfAChunkAreRewindTargets()
    {
        using var session = _model.CreateSession();
        using var batch = new Batch();
        for (var i = 0; i < _a.Length; i++)
        {
            batch.Add(session, _a[i], mark: i is 2 or 3 or 6);
        }

        _model.Forward(batch);
        batch.Clear();

        foreach (var position in (int[])[7, 4, 3, 0])
        {
            Assert.That(session.CanRewind(position), Is.True);
            session.Rewind(position);
            Assert.That(Feed.Tokens(session, _b), Is.EqualTo(Expected(_a[..position], _b)), $"from {position}");
        }
    }

    [Test]
    public void ForksGoTheirOwnWay([Range(0, Depths)] int depth)
    {
        using var session = _model.CreateSession();
        Feed.Tokens(session, _a.AsSpan(0, depth));
        using var fork = session.Fork();
        int[] other = [.. _b.Reverse()];

        var first = Feed.Tokens(session, _b, 2);
        var second = Feed.Tokens(fork, other, 1);

        Assert.That(first, Is.EqualTo(Expected(_a[..depth], _b)));
        Assert.That(second, Is.EqualTo(Expected(_a[..depth], other)));
        Assert.That(Feed.Token(session, 3), Is.EqualTo(Expected([.. _a[..depth], .. _b], [3])), "what the fork wrote is not seen");
        session.Dispose();
        Assert.That(Feed.Tokens(fork, _b), Is.EqualTo(Expected([.. _a[..depth], .. other], _b)), "after the original is gone");
    }

    [Test]
    public void SavedStateComesBackToTheBit([Range(0, Depths)] int depth)
    {
        using var session = _model.CreateSession();
        Feed.Tokens(session, _a.AsSpan(0, depth));
        using var file = new MemoryStream();
        session.Save(file);
        file.Position = 0;

        using var loaded = _model.LoadSession(file);

        Assert.That(loaded.Position, Is.EqualTo(depth));
        Assert.That(file.Position, Is.EqualTo(file.Length), "read to its end");
        Assert.That(Feed.Tokens(loaded, _b), Is.EqualTo(Expected(_a[..depth], _b)));
        using var again = new MemoryStream();
        using var copy = Reload(session);
        copy.Save(again);
        Assert.That(again.ToArray(), Is.EqualTo(file.ToArray()));
    }

    [Test]
    public void AnyDamageToASavedSessionIsNoticed()
    {
        using var session = _model.CreateSession();
        Feed.Tokens(session, _a);
        using var file = new MemoryStream();
        session.Save(file);
        var bytes = file.ToArray();
        var random = new Random(5);

        for (var i = 0; i < 200; i++)
        {
            var damaged = bytes.ToArray();
            damaged[i < 60 ? i : random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
            Assert.That(() => _model.LoadSession(new MemoryStream(damaged)), Throws.TypeOf<InvalidDataException>(), $"change {i}");
        }

        foreach (var length in (int[])[0, 3, 8, 43, 44, 60, bytes.Length / 2, bytes.Length - 1])
        {
            Assert.That(() => _model.LoadSession(new MemoryStream(bytes[..length])), Throws.TypeOf<InvalidDataException>(), $"{length} bytes");
        }
    }

    [Test]
    public void SessionsOfOneBatchDoNotSeeEachOther()
    {
        // Four sequences of different length: chunks of different sizes and single tokens, mixed row by row.
        int[][] texts = [_a, _b, [.. _b.Reverse()], [.. _a.Reverse()]];
        var sessions = texts.Select(_ => _model.CreateSession()).ToArray();
        var found = texts.Select(_ => new List<float>()).ToArray();
        using var batch = new Batch();
        var random = new Random(3);
        while (sessions.Zip(texts).Any(p => p.First.Position < p.Second.Length))
        {
            var next = sessions.Select(s => s.Position).ToArray();
            var rows = new List<int>();
            for (var i = 0; i < 7; i++)
            {
                var s = random.Next(texts.Length);
                if (next[s] < texts[s].Length)
                {
                    rows.Add(s);
                    batch.Add(sessions[s], texts[s][next[s]++], logits: true);
                }
            }

            _model.Forward(batch);
            for (var row = 0; row < rows.Count; row++)
            {
                found[rows[row]].AddRange(batch.Logits(row));
            }

            batch.Clear();
        }

        for (var s = 0; s < texts.Length; s++)
        {
            Assert.That(found[s], Is.EqualTo(Expected([], texts[s])), $"sequence {s}");
            sessions[s].Dispose();
        }
    }

    [Test]
    public void ADisposedModelRunsNothing()
    {
        var model = Golden.Open(name).Load();
        var session = model.CreateSession();
        Feed.Tokens(session, _a);
        model.Dispose();
        using var batch = new Batch();
        batch.Add(session, 1);

        Assert.That(() => model.Forward(batch), Throws.TypeOf<ObjectDisposedException>());
        batch.Clear();
        session.Dispose();
        Assert.That(() => batch.Add(session, 1), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(() => session.Save(Stream.Null), Throws.TypeOf<ObjectDisposedException>());
        Assert.That(session.Dispose, Throws.Nothing, "twice is once");
    }

    [Test]
    public void LogitsAreOnlyForRowsThatAsk()
    {
        using var session = _model.CreateSession();
        using var batch = new Batch();
        for (var i = 0; i < _a.Length; i++)
        {
            batch.Add(session, _a[i], logits: i is 4 or 8);
        }

        _model.Forward(batch);

        var all = Expected([], _a);
        var v = _model.Info.VocabularySize;
        Assert.That(batch.LogitsCount, Is.EqualTo(2));
        Assert.That(batch.Logits(4).ToArray(), Is.EqualTo(all[(4 * v)..(5 * v)]));
        Assert.That(batch.Logits(8).ToArray(), Is.EqualTo(all[(8 * v)..(9 * v)]));
        Assert.That(() => batch.Logits(3).Length, Throws.ArgumentException);
    }

    /// <summary>Logits after each of the last tokens, from a fresh session that is fed one token at a time.</summary>
    private float[] Expected(int[] before, int[] tokens)
    {
        using var session = _model.CreateSession();
        Feed.Tokens(session, before, 1);
        return Feed.Tokens(session, tokens, 1);
    }

    private Session Reload(Session session)
    {
        using var file = new MemoryStream();
        session.Save(file);
        file.Position = 0;
        return _model.LoadSession(file);
    }
}
