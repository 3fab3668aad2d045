using Microsoft.Extensions.Logging;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;
using RyzenLlm.Engine.Tests.Files;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Reuse;

/// <summary>Files of kept states: private, atomic, bounded, and trusted only when they are what their names say.</summary>
public class StateFolderTests
{
    private const int PromptTokens = 40;

    // So that one state is kept, that of the whole prompt.
    private static readonly ReuseOptions WholePrompts = new(Shortest: PromptTokens);

    private LanguageModel _model = null!;
    private TemporaryFolder _folder = null!;
    private string _root = null!;

    [SetUp]
    public void Open()
    {
        _model = Golden.Open("rwkv7-f32").Load();
        _folder = new();
        _root = _folder.Path("states");
    }

    [TearDown]
    public void Close()
    {
        _model.Dispose();
        _folder.Dispose();
    }

    [Test]
    public void OnlyTheUserMayReadThem()
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Ignore("Windows has no such modes.");
            return;
        }

        Keep(1);
        foreach (var file in Directory.EnumerateFiles(_root, "*", SearchOption.AllDirectories))
        {
            Assert.That(File.GetUnixFileMode(file), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite), file);
        }

        foreach (var folder in Directory.EnumerateDirectories(_root, "*", SearchOption.AllDirectories).Append(_root))
        {
            Assert.That(File.GetUnixFileMode(folder), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute), folder);
        }
    }

    [Test]
    public void NamesTellNothingWithoutTheKey()
    {
        Keep(1);
        var names = Names();
        Directory.Delete(_root, recursive: true);
        Keep(1);
        Assert.That(Names(), Is.Not.EqualTo(names), "another folder has another key");
    }

    [Test]
    public void TheFilesUsedLongestAgoGoFirst()
    {
        Keep(1);
        var bytes = new FileInfo(Names().Single()).Length;
        var log = new Lines();
        for (var seed = 2; seed < 8; seed++)
        {
            Keep(seed, (4 * bytes) - 1, log);
            File.SetLastWriteTimeUtc(Names().MaxBy(File.GetLastWriteTimeUtc)!, DateTime.UtcNow.AddMinutes(seed - 100)); // each older than the next, whatever the clock's steps
        }

        Assert.That(Names(), Has.Length.EqualTo(3));
        Assert.That(Reused(7), Is.EqualTo(40));
        Assert.That(Reused(2), Is.Zero);
        Assert.That(log.Written, Is.Empty);
    }

    [Test]
    public void AConversationLeavesTheEndsOfItsLastTurn()
    {
        var random = new Random(1);
        using var files = new StateFolder(_root, 1 << 30);
        int[] said = Prompt(1);
        for (var turn = 0; turn < 4; turn++)
        {
            using var states = new PrefixStates(_model, Talk.Options, null, files);
            said = [.. Talk.Answer(states, _model, "ann", said, 3, persist: true).Tokens, .. Talk.Tokens(random, 5)];
        }

        Assert.That(Names(), Has.Length.EqualTo(2));
    }

    [Test]
    public void WhatACrashLeavesIsNeverRead()
    {
        Keep(1);
        var whole = Names().Single();
        var part = $"{whole}.0123456789ab.part";
        File.WriteAllBytes(part, File.ReadAllBytes(whole)[..100]);
        File.Delete(whole);
        Assert.That(Reused(1), Is.Zero);
        Assert.That(File.Exists(part), "another process may be writing it");

        File.SetLastWriteTimeUtc(part, DateTime.UtcNow.AddHours(-2));
        Keep(2);
        Assert.That(File.Exists(part), Is.False, "abandoned");
    }

    [Test]
    public void AStateThatCannotBeWrittenLeavesNothing()
    {
        var log = new Lines();
        File.WriteAllText(_folder.Path("states"), "a file where the folder should be");
        Assert.That(() => Keep(1, log: log), Throws.Nothing, "the answer is not at stake");
        Assert.That(log.Written, Has.Some.Contains("cannot be used"));
    }

    [Test]
    public void ForeignFilesAreRemovedWithAWarning()
    {
        Keep(1);
        Keep(2);
        var log = new Lines();
        var names = Names();
        File.WriteAllText(Path.Combine(Path.GetDirectoryName(names[0])!, "notes.txt"), "not a state");
        var (first, second) = (File.ReadAllBytes(names[0]), File.ReadAllBytes(names[1]));
        File.WriteAllBytes(names[0], second); // sound files under each other's names
        File.WriteAllBytes(names[1], first);

        Assert.That(Reused(1, log) + Reused(2, log), Is.Zero);
        Assert.That(Directory.EnumerateFiles(Path.GetDirectoryName(names[0])!), Is.Empty);
        Assert.That(log.Written, Has.Count.EqualTo(3));
    }

    [Test]
    public void StatesOfAnotherModelAreNotTaken()
    {
        Keep(1);
        _model.Dispose();
        _model = Golden.Open("rwkv7-f16").Load();
        Assert.That(Reused(1), Is.Zero);
    }

    [Test]
    public void ALostKeyMakesAllStatesUnfindable()
    {
        Keep(1);
        File.Delete(Path.Combine(_root, "key"));
        Assert.That(Reused(1), Is.Zero);
        File.WriteAllBytes(Path.Combine(_root, "key"), [1, 2, 3]);
        var log = new Lines();
        Assert.That(() => Keep(1, log: log), Throws.Nothing);
        Assert.That(log.Written, Has.Some.Contains("delete the folder"));
    }

    private static int[] Prompt(int seed) => Talk.Tokens(new Random(seed), PromptTokens);

    private string[] Names() => [.. Directory.EnumerateFiles(_root, "*.state", SearchOption.AllDirectories).Order(StringComparer.Ordinal)];

    private void Keep(int seed, long limit = 1 << 30, ILogger? log = null)
    {
        using var files = new StateFolder(_root, limit, log);
        using var states = new PrefixStates(_model, WholePrompts, null, files);
        Talk.Answer(states, _model, "ann", Prompt(seed), 1, persist: true);
    }

    private int Reused(int seed, ILogger? log = null)
    {
        using var files = new StateFolder(_root, 1 << 30, log);
        using var states = new PrefixStates(_model, WholePrompts, null, files);
        return Talk.Answer(states, _model, "ann", [.. Prompt(seed), 5], 1).Reused;
    }

    /// <summary>Keeps what is logged.</summary>
    private sealed class Lines : ILogger
    {
        public List<string> Written { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (Written)
            {
                Written.Add(formatter(state, exception));
            }
        }
    }
}
