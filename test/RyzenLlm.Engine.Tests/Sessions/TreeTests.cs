using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Sessions;

/// <summary>Drafted trees: every row is as good as the same tokens in a chain, and the accepted path becomes the sequence.</summary>
[TestFixtureSource(typeof(Golden), nameof(Golden.WithWindows))]
public class TreeTests(string name, int window)
{
    private LanguageModel _model = null!;
    private int[] _prompt = null!;

    [OneTimeSetUp]
    public void Load()
    {
        var golden = Golden.Open(name);
        _model = golden.Load(window: window);
        _prompt = golden.PromptIds[..6];
    }

    [OneTimeTearDown]
    public void Unload() => _model?.Dispose();

    [Test]
    public void TreeRowsEqualChains([Range(1, 4)] int seed)
    {
        var random = new Random(seed);
        using var session = _model.CreateSession();
        Feed.Tokens(session, _prompt);
        using var bystander = _model.CreateSession();
        using var batch = new Batch();
        var paths = Grow(batch, session, bystander, random);

        _model.Forward(batch);

        Assert.That(session.HasPendingTree, Is.True);
        Assert.That(session.Position, Is.EqualTo(_prompt.Length), "nothing is taken over before Accept");
        foreach (var (row, path) in paths)
        {
            Assert.That(batch.Logits(row).ToArray(), Is.EqualTo(Chain([.. _prompt, .. path])), $"row {row}");
        }

        var (accepted, taken) = paths.ElementAt(random.Next(paths.Count));
        session.Accept(accepted);
        batch.Clear();

        Assert.That(session.Position, Is.EqualTo(_prompt.Length + taken.Count));
        Assert.That(Feed.Token(session, 7), Is.EqualTo(Chain([.. _prompt, .. taken, 7])));
        Assert.That(Feed.Token(bystander, 7), Is.EqualTo(Chain([5, 7])));
    }

    [Test]
    public void ATreeThatIsDroppedLeavesNothing([Values] bool byClear)
    {
        using var session = _model.CreateSession();
        Feed.Tokens(session, _prompt);
        using var batch = new Batch();
        batch.Add(session, 3);
        batch.Add(session, 4, parent: Batch.Head);
        _model.Forward(batch);
        if (!byClear)
        {
            session.Accept(-1);
        }

        batch.Clear();

        Assert.That(session.HasPendingTree, Is.False);
        Assert.That(session.Position, Is.EqualTo(_prompt.Length));
        Assert.That(Feed.Token(session, 9), Is.EqualTo(Chain([.. _prompt, 9])));
    }

    [Test]
    public void MarkedRowsOfTheAcceptedPathAreRewindTargets()
    {
        using var session = _model.CreateSession();
        Feed.Tokens(session, _prompt);
        using var batch = new Batch();
        var first = batch.Add(session, 3, mark: true);
        batch.Add(session, 4, parent: Batch.Head, mark: true);
        var second = batch.Add(session, 5, parent: first);
        _model.Forward(batch);
        session.Accept(second);
        batch.Clear();

        session.Rewind(_prompt.Length + 1);

        Assert.That(Feed.Token(session, 9), Is.EqualTo(Chain([.. _prompt, 3, 9])));
    }

    [Test]
    public void AForkTakenWhileATreeWaitsDoesNotSeeIt()
    {
        using var session = _model.CreateSession();
        Feed.Tokens(session, _prompt);
        using var batch = new Batch();
        var first = batch.Add(session, 3);
        var second = batch.Add(session, 4, parent: Batch.Head);
        batch.Add(session, 5, parent: first);
        _model.Forward(batch);

        using var fork = session.Fork();
        Assert.That(Feed.Token(fork, 8), Is.EqualTo(Chain([.. _prompt, 8])));
        session.Accept(second);
        batch.Clear();

        Assert.That(Feed.Token(session, 9), Is.EqualTo(Chain([.. _prompt, 4, 9])));
        Assert.That(Feed.Token(fork, 9), Is.EqualTo(Chain([.. _prompt, 8, 9])));
    }

    [Test]
    public void MisuseIsRefused()
    {
        using var session = _model.CreateSession();
        using var other = _model.CreateSession();
        using var batch = new Batch();
        using var second = new Batch();
        var row = batch.Add(session, 3);
        var foreign = batch.Add(other, 3);

        Assert.That(() => batch.Add(session, 4, parent: foreign), Throws.ArgumentException, "a parent of another session");
        Assert.That(() => batch.Add(session, 4, parent: 9), Throws.ArgumentException, "a parent that does not exist");
        Assert.That(() => second.Add(session, 4), Throws.ArgumentException, "two batches");
        Assert.That(() => session.Rewind(0), Throws.InvalidOperationException, "rows wait to be computed");
        Assert.That(() => session.Accept(row), Throws.InvalidOperationException, "no tree");
        batch.Add(session, 4, parent: Batch.Head);
        _model.Forward(batch);
        Assert.That(() => _model.Forward(batch), Throws.InvalidOperationException, "computed twice");
        Assert.That(() => batch.Add(other, 4), Throws.InvalidOperationException, "computed, not cleared");
        Assert.That(() => session.Accept(foreign), Throws.InvalidOperationException, "a row of another session");
        Assert.That(() => session.Accept(77), Throws.InvalidOperationException, "no such row");
        Assert.That(() => session.Rewind(0), Throws.InvalidOperationException, "a tree waits");
        session.Accept(row);
        batch.Clear();

        Assert.That(() => session.Rewind(2), Throws.TypeOf<ArgumentOutOfRangeException>(), "ahead");
        Assert.That(() => session.Rewind(-1), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(Feed.Token(session, 9), Is.EqualTo(Chain([3, 9])));
        batch.Add(session, _model.Info.VocabularySize);
        Assert.That(() => _model.Forward(batch), Throws.ArgumentException, "a token outside the vocabulary");
        batch.Clear();
        Assert.That(Feed.Token(session, 8), Is.EqualTo(Chain([3, 9, 8])), "a refused batch changes nothing");
    }

    // A random tree of 12 rows with a bystander's row among them; path of tokens from the head by row.
    private static Dictionary<int, List<int>> Grow(Batch batch, Session session, Session bystander, Random random)
    {
        var paths = new Dictionary<int, List<int>>();
        for (var i = 0; i < 12; i++)
        {
            if (i == 5)
            {
                batch.Add(bystander, 5);
            }

            var token = random.Next(200);
            var parent = i < 2 || random.Next(5) == 0 ? Batch.Head : paths.Keys.ElementAt(random.Next(paths.Count));
            var row = batch.Add(session, token, logits: true, parent);
            paths.Add(row, [.. parent == Batch.Head ? [] : paths[parent], token]);
        }

        return paths;
    }

    private float[] Chain(int[] tokens)
    {
        using var session = _model.CreateSession();
        Feed.Tokens(session, tokens.AsSpan(0, tokens.Length - 1));
        return Feed.Token(session, tokens[^1]);
    }
}
