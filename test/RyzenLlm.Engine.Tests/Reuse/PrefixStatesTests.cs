using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;
using RyzenLlm.Engine.Tests.Files;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Reuse;

/// <summary>What is reused changes no token, on every architecture, and costs what it should.</summary>
[TestFixtureSource(typeof(Golden), nameof(Golden.Architectures))]
public class PrefixStatesTests(string name)
{
    private LanguageModel _model = null!;

    [OneTimeSetUp]
    public void Load() => _model = Golden.Open(name).Load();

    [OneTimeTearDown]
    public void Unload() => _model?.Dispose();

    [Test]
    public void AnyMixOfConversationsSaysWhatItSaysFromNothing([Range(1, 3)] int seed)
    {
        var random = new Random(seed);
        using var folder = new TemporaryFolder();
        using var files = new StateFolder(folder.Path("states"), 1 << 30);
        var states = new PrefixStates(_model, Talk.Options with { Limit = 300_000 }, null, files);
        var said = new List<int[]> { Talk.Tokens(random, 20) };
        var reused = 0;
        for (var turn = 0; turn < 25; turn++)
        {
            // Goes on from, repeats, or parts from something said before.
            var before = said[random.Next(said.Count)];
            int[] prompt = [.. before[..(random.Next(3) == 0 ? random.Next(before.Length) : before.Length)], .. Talk.Tokens(random, random.Next(1, 12))];
            if (prompt.Length > 120)
            {
                continue;
            }

            var (tokens, from) = Talk.Answer(states, _model, $"tenant {random.Next(2)}", prompt, 5, (ulong)turn, persist: random.Next(2) == 0, instruction: 8);

            Assert.That(tokens, Is.EqualTo(Talk.Fresh(_model, prompt, 5, (ulong)turn)), $"turn {turn}, {from} of {prompt.Length} reused");
            said.Add(tokens);
            reused += from;
            if (random.Next(6) == 0)
            {
                states.Dispose(); // a restart: only the files remain
                states = new PrefixStates(_model, Talk.Options with { Limit = 300_000 }, null, files);
            }
        }

        states.Dispose();
        Assert.That(reused, Is.GreaterThan(0));
    }

    [Test]
    public void ATurnCostsOnlyItsNewTokens()
    {
        var random = new Random(4);
        using var states = new PrefixStates(_model, Talk.Options);
        int[] history = Talk.Tokens(random, 10);
        for (var turn = 0; turn < 10; turn++)
        {
            var known = turn == 0 ? 0 : history.Length - 1; // the last token of an answer was never computed
            history = [.. history, .. Talk.Tokens(random, 6)];
            var (tokens, reused) = Talk.Answer(states, _model, "ann", history, 4);
            Assert.That(reused, Is.EqualTo(known), $"turn {turn}");
            history = tokens;
        }
    }

    [Test]
    public void AnotherAnswerToTheSamePromptCostsOneToken()
    {
        int[] prompt = Talk.Tokens(new Random(5), 20);
        using var states = new PrefixStates(_model, Talk.Options);
        Talk.Answer(states, _model, "ann", prompt, 4, seed: 1);

        var (tokens, reused) = Talk.Answer(states, _model, "ann", prompt, 4, seed: 2);

        Assert.That(reused, Is.EqualTo(19));
        Assert.That(tokens, Is.EqualTo(Talk.Fresh(_model, prompt, 4, 2)));
    }

    [Test]
    public void WhatTwoPromptsShareIsComputedForTheThirdNoMore()
    {
        var random = new Random(6);
        int[] document = Talk.Tokens(random, 30);
        using var states = new PrefixStates(_model, Talk.Options);
        int[] Ask(int question) => [.. document, 10 + question, .. Talk.Tokens(random, 5)];
        Talk.Answer(states, _model, "ann", Ask(0), 2);
        var second = Talk.Answer(states, _model, "ann", Ask(1), 2).Reused;
        var third = Talk.Answer(states, _model, "ann", Ask(2), 2).Reused;

        Assert.That(second, Is.EqualTo(_model.Info.IsRecurrent ? 0 : 30), "a recurrent state of the document alone is kept once it is known to recur");
        Assert.That(third, Is.EqualTo(30));
    }

    [Test]
    public void AnInstructionIsReusedBySecondRequest()
    {
        var random = new Random(7);
        int[] instruction = Talk.Tokens(random, 30);
        using var states = new PrefixStates(_model, Talk.Options);
        Talk.Answer(states, _model, "ann", [.. instruction, 5, .. Talk.Tokens(random, 5)], 2, instruction: 30);
        Assert.That(Talk.Answer(states, _model, "ann", [.. instruction, 6, .. Talk.Tokens(random, 5)], 2, instruction: 30).Reused, Is.EqualTo(30));
    }

    [Test]
    public void TenantsSeeNothingOfEachOther()
    {
        using var folder = new TemporaryFolder();
        using var files = new StateFolder(folder.Path("states"), 1 << 30);
        int[] prompt = Talk.Tokens(new Random(8), 40);
        using (var states = new PrefixStates(_model, Talk.Options, null, files))
        {
            var tokens = Talk.Answer(states, _model, "ann", prompt, 4, persist: true).Tokens;
            Assert.That(Talk.Answer(states, _model, "bob", tokens, 4, persist: true).Reused, Is.Zero);
            Assert.That(Talk.Answer(states, _model, "ann", tokens, 4, persist: true).Reused, Is.GreaterThan(40));
        }

        using var later = new PrefixStates(_model, Talk.Options, null, files);
        Assert.That(Talk.Answer(later, _model, "carl", prompt, 4).Reused, Is.Zero, "from disk");
    }

    [Test]
    public void AfterARestartTheConversationGoesOnFromDisk()
    {
        using var folder = new TemporaryFolder();
        var random = new Random(9);
        int[] history = Talk.Tokens(random, _model.Info.IsRecurrent ? 600 : Math.Min(600, _model.Info.ContextLength - 20));
        using (var files = new StateFolder(folder.Path("states"), 1 << 30))
        using (var states = new PrefixStates(_model, Talk.Options, null, files))
        {
            history = Talk.Answer(states, _model, "ann", history, 4, persist: true).Tokens;
        }

        using var filesAgain = new StateFolder(folder.Path("states"), 1 << 30);
        using var statesAgain = new PrefixStates(_model, Talk.Options, null, filesAgain);
        int[] prompt = [.. history, .. Talk.Tokens(random, 5)];
        var (tokens, reused) = Talk.Answer(statesAgain, _model, "ann", prompt, 4);
        Assert.That(reused, Is.EqualTo(history.Length - 1));
        Assert.That(tokens, Is.EqualTo(Talk.Fresh(_model, prompt, 4)));
    }

    [Test]
    public void NoDamageToAFileChangesAWord([Range(1, 4)] int seed)
    {
        var random = new Random(seed);
        using var folder = new TemporaryFolder();
        var root = folder.Path("states");
        using var files = new StateFolder(root, 1 << 30);
        int[] history = Talk.Tokens(random, 100);
        using (var states = new PrefixStates(_model, Talk.Options, null, files))
        {
            history = Talk.Answer(states, _model, "ann", history, 4, persist: true).Tokens;
        }

        foreach (var path in Directory.EnumerateFiles(root, "*.state", SearchOption.AllDirectories))
        {
            var bytes = File.ReadAllBytes(path);
            if (random.Next(2) == 0)
            {
                bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
                File.WriteAllBytes(path, bytes);
            }
            else
            {
                File.WriteAllBytes(path, bytes[..random.Next(bytes.Length)]);
            }
        }

        using var later = new PrefixStates(_model, Talk.Options, null, files);
        int[] prompt = [.. history, 7];
        var (tokens, reused) = Talk.Answer(later, _model, "ann", prompt, 4);
        Assert.That(reused, Is.Zero);
        Assert.That(tokens, Is.EqualTo(Talk.Fresh(_model, prompt, 4)));
        Assert.That(files.Count, Is.Zero, "a file that is no good is removed");
    }

    [Test]
    public void TheLimitHoldsAndTheLatestStay()
    {
        var random = new Random(10);
        using var states = new PrefixStates(_model, Talk.Options);
        Talk.Answer(states, _model, "ann", Talk.Tokens(random, 20), 2);
        var limit = states.Bytes * 3;
        var budget = new MemoryBudget(limit * 10);
        using var limited = new PrefixStates(_model, Talk.Options with { Limit = limit }, budget);
        int[] last = [];
        for (var i = 0; i < 12; i++)
        {
            last = Talk.Answer(limited, _model, "ann", Talk.Tokens(random, 20), 2).Tokens;
            Assert.That(limited.Bytes, Is.InRange(1, limit));
            Assert.That(budget.Used, Is.EqualTo(limited.Bytes));
        }

        Assert.That(Talk.Answer(limited, _model, "ann", [.. last, 3], 2).Reused, Is.EqualTo(last.Length - 1));
        var held = limited.Bytes;
        Assert.That(limited.Evict(long.MaxValue), Is.EqualTo(held));
        Assert.That((limited.Bytes, limited.Count, budget.Used), Is.EqualTo((0L, 0, 0L)));
    }

    [Test]
    public void ForgettingDropsAllOfATenantAlsoWhatRuns()
    {
        using var folder = new TemporaryFolder();
        using var files = new StateFolder(folder.Path("states"), 1 << 30);
        using var states = new PrefixStates(_model, Talk.Options, null, files);
        int[] prompt = Talk.Tokens(new Random(11), 40);
        var tokens = Talk.Answer(states, _model, "ann", prompt, 4, persist: true).Tokens;
        Talk.Answer(states, _model, "bob", prompt, 4, persist: true);
        var others = states.Count;
        using var running = states.Begin("ann", [.. tokens, 3], persist: true);
        Feed.Silently(running.Session, tokens[running.ReusedTokens..]);

        Assert.That(states.Forget("ann"), Is.GreaterThan(0));
        running.Keep(tokens);
        states.Write();

        Assert.That(states.Begin("ann", [.. tokens, 3]).ReusedTokens, Is.Zero);
        Assert.That(states.Count, Is.EqualTo(others / 2));
        states.Dispose();
        Assert.That(files.Forget("ann"), Is.Zero, "nothing of ann came to disk");
        Assert.That(files.Forget("bob"), Is.EqualTo(2));
    }

    [Test]
    public void ALostStateIsNeverKept()
    {
        using var states = new PrefixStates(_model, Talk.Options);
        int[] prompt = Talk.Tokens(new Random(12), 20);
        using var reuse = states.Begin("ann", prompt);
        Feed.Silently(reuse.Session, prompt);
        reuse.Session.IsLost = true;
        reuse.Keep(prompt);
        Assert.That(states.Count, Is.Zero);
    }
}
