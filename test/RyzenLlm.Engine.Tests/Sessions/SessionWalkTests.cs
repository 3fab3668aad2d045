using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tests.Models;
using RyzenLlm.Kernels;

namespace RyzenLlm.Engine.Tests.Sessions;

/// <summary>
/// Long random walks through all operations of several sessions of one model. Whatever came before, a session must answer as a
/// fresh one that was fed its tokens, to the bit.
/// </summary>
public class SessionWalkTests
{
    private const int Steps = 50;
    private const int MostSessions = 4;

    private LanguageModel _model = null!;
    private Random _random = null!;
    private List<(Session Session, List<int> Tokens)> _all = null!;

    public static IEnumerable<TestCaseData> Cases =>
        from name in Golden.Architectures
        from seed in Enumerable.Range(1, 3)
        from type in Golden.IsTransformer(name) ? new[] { KvType.F16, KvType.F32, KvType.I8 } : [KvType.F32]
        from window in Golden.IsTransformer(name) ? new[] { 0, 30 } : [0]
        select new TestCaseData(name, type, window, seed).SetArgDisplayNames(name, type.ToString(), $"{window}", $"{seed}");

    [TestCaseSource(nameof(Cases))]
    public void EverySessionAnswersAsAFreshOne(string name, KvType type, int window, int seed)
    {
        using var model = Golden.Open(name).Load(kvType: type, window: window);
        _model = model;
        _random = new Random(seed);
        _all = [(_model.CreateSession(), [])];
        for (var step = 0; step < Steps; step++)
        {
            var i = _random.Next(_all.Count);
            var done = Step(i);
            Check(Math.Min(i, _all.Count - 1), $"step {step}: {done}");
        }

        for (var i = 0; i < _all.Count; i++)
        {
            Check(i, "the end");
            _all[i].Session.Dispose();
        }
    }

    private string Step(int i)
    {
        var (session, tokens) = _all[i];
        switch (_random.Next(8))
        {
            case 0 or 1:
                return Chunk(session, tokens);
            case 2:
                session.Mark();
                return $"mark at {session.Position}";
            case 3:
                return Rewind(session, tokens);
            case 4 when _all.Count < MostSessions:
                _all.Add((session.Fork(), [.. tokens]));
                return "fork";
            case 4:
                session.Dispose();
                _all.RemoveAt(i);
                return "dispose";
            case 5:
                return Tree(session, tokens);
            case 6:
                return Reload(i);
            default:
                return Together();
        }
    }

    private string Chunk(Session session, List<int> tokens)
    {
        using var batch = new Batch();
        var count = _random.Next(1, 30);
        for (var t = 0; t < count; t++)
        {
            tokens.Add(_random.Next(200));
            batch.Add(session, tokens[^1], mark: _random.Next(6) == 0);
        }

        _model.Forward(batch);
        return $"chunk of {count}";
    }

    private string Rewind(Session session, List<int> tokens)
    {
        int[] targets = [.. Enumerable.Range(0, session.Position + 1).Where(session.CanRewind)];
        var position = targets[_random.Next(targets.Length)];
        session.Rewind(position);
        tokens.RemoveRange(position, tokens.Count - position);
        return $"rewind to {position}";
    }

    private string Tree(Session session, List<int> tokens)
    {
        using var batch = new Batch();
        var paths = new List<List<int>>();
        for (var row = 0; row < 9; row++)
        {
            var parent = row < 2 ? Batch.Head : _random.Next(-1, row);
            var token = _random.Next(200);
            batch.Add(session, token, parent: parent < 0 ? Batch.Head : parent, mark: _random.Next(5) == 0);
            paths.Add([.. parent < 0 ? [] : paths[parent], token]);
        }

        _model.Forward(batch);
        var accepted = _random.Next(-1, 9);
        session.Accept(accepted);
        tokens.AddRange(accepted < 0 ? [] : paths[accepted]);
        return $"accept row {accepted}";
    }

    private string Reload(int i)
    {
        using var file = new MemoryStream();
        _all[i].Session.Save(file);
        _all[i].Session.Dispose();
        file.Position = 0;
        _all[i] = (_model.LoadSession(file), _all[i].Tokens);
        return "save and load";
    }

    private string Together()
    {
        using var batch = new Batch();
        for (var row = 0; row < 12; row++)
        {
            var (session, tokens) = _all[_random.Next(_all.Count)];
            tokens.Add(_random.Next(200));
            batch.Add(session, tokens[^1]);
        }

        _model.Forward(batch);
        return "rows of all sessions";
    }

    private void Check(int i, string when)
    {
        var (session, tokens) = _all[i];
        using var probe = session.Fork();
        using var fresh = _model.CreateSession();
        Feed.Silently(fresh, [.. tokens]);
        Assert.That(session.Position, Is.EqualTo(tokens.Count), when);
        Assert.That(Feed.Token(probe, 11), Is.EqualTo(Feed.Token(fresh, 11)), $"{when}, session {i} at {tokens.Count}");
    }
}
