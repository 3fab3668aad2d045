using RyzenLlm.Engine.Tokenizers;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Hosting;

/// <summary>What is kept of a conversation between two turns, in memory alone and on disk.</summary>
[TestFixture(true)]
[TestFixture(false)]
public sealed class ConversationStoreTests(bool disk)
{
    private static readonly Caller Ann = new("ann");
    private static readonly Caller Bob = new("bob");
    private string _folder = null!;

    [SetUp]
    public void Create() => _folder = Directory.CreateTempSubdirectory("ryzenllm-conversations-").FullName;

    [TearDown]
    public void Delete() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task TheNextTurnFindsWhatTheLastOneSaid()
    {
        using var conversations = Open();
        await Say(conversations, Ann, "trip", "hello");
        await Say(conversations, Ann, "trip", "again");
        using var conversation = await conversations.EnterAsync(Ann, "trip", default);
        Assert.That(conversation.Turns.Select(t => t.Content), Is.EqualTo(new[] { "hello", "hello!", "again", "again!" }));
        Assert.That(conversation.SaidIn(new Vocabulary("words")), Is.EqualTo(new[] { 1, 2, 3 }));
        Assert.That(conversation.SaidIn(new Vocabulary("other words")), Is.Empty);
        Assert.That(await Turns(conversations, Bob, "trip"), Is.Zero, "another tenant's of the same name");
        Assert.That(await Turns(conversations, Ann, "work"), Is.Zero);
    }

    [Test]
    public async Task OnlyTheDiskSurvivesARestart()
    {
        using (var before = Open())
        {
            await Say(before, Ann, "trip", "hello");
        }

        using var after = Open();
        Assert.That(await Turns(after, Ann, "trip"), Is.EqualTo(disk ? 2 : 0));
    }

    [Test]
    public async Task TurnsOfOneConversationWaitForEachOther()
    {
        using var conversations = Open();
        var first = await conversations.EnterAsync(Ann, "trip", default);
        var second = conversations.EnterAsync(Ann, "trip", default);
        using var gaveUp = new CancellationTokenSource();
        var third = conversations.EnterAsync(Ann, "trip", gaveUp.Token);
        Assert.That(second.IsCompleted, Is.False);
        (await conversations.EnterAsync(Ann, "work", default)).Dispose();
        await gaveUp.CancelAsync();
        Assert.That(async () => await third, Throws.InstanceOf<OperationCanceledException>());
        first.Keep([new("user", "a"), new("assistant", "b")], new Vocabulary("words"), []);
        first.Dispose();
        using var next = await second;
        Assert.That(next.Turns, Has.Count.EqualTo(2));
    }

    [Test]
    public async Task ForgettingAlsoReachesTheTurnInWork()
    {
        using var conversations = Open();
        await Say(conversations, Ann, "trip", "hello");
        await Say(conversations, Ann, "work", "hello");
        await Say(conversations, Bob, "trip", "hello");
        using (var running = await conversations.EnterAsync(Ann, "trip", default))
        {
            Assert.That(conversations.Forget("ann", "trip"), Is.EqualTo(1));
            running.Keep([new("user", "late")], new Vocabulary("words"), []);
        }

        Assert.That(await Turns(conversations, Ann, "trip"), Is.Zero);
        Assert.That(conversations.Forget("ann"), Is.EqualTo(1));
        Assert.That(conversations.Forget("ann"), Is.Zero);
        Assert.That(await Turns(conversations, Bob, "trip"), Is.EqualTo(2));
        await Say(conversations, Ann, "trip", "new");
        Assert.That(await Turns(conversations, Ann, "trip"), Is.EqualTo(2), "it may begin anew");
    }

    [Test]
    public async Task TheOnesUnusedForLongestGo()
    {
        using var conversations = Open(new() { Conversations = 2 });
        foreach (var name in (string[])["one", "two", "three"])
        {
            await Say(conversations, Ann, name, "hello");
            foreach (var file in Directory.EnumerateFiles(_folder, "*.json", SearchOption.AllDirectories))
            {
                File.SetLastWriteTimeUtc(file, File.GetLastWriteTimeUtc(file).AddMinutes(-1)); // file times may be coarse
            }
        }

        Assert.That(await Turns(conversations, Ann, "one"), Is.Zero);
        Assert.That(await Turns(conversations, Ann, "three"), Is.EqualTo(2));
    }

    [Test]
    public async Task ADamagedFileIsAnEmptyConversation()
    {
        using var conversations = Open();
        await Say(conversations, Ann, "trip", "hello");
        foreach (var file in Directory.EnumerateFiles(_folder, "*.json", SearchOption.AllDirectories))
        {
            await File.WriteAllTextAsync(file, """{"Tenant":"ann","Name":"tri""");
        }

        Assert.That(await Turns(conversations, Ann, "trip"), Is.EqualTo(disk ? 0 : 2));
    }

    private static async Task Say(Conversations conversations, Caller caller, string name, string text)
    {
        using var conversation = await conversations.EnterAsync(caller, name, default);
        conversation.Keep([.. conversation.Turns, new("user", text), new("assistant", text + "!")], new Vocabulary("words"), [1, 2, 3]);
    }

    private static async Task<int> Turns(Conversations conversations, Caller caller, string name)
    {
        using var conversation = await conversations.EnterAsync(caller, name, default);
        return conversation.Turns.Count;
    }

    private Conversations Open(StateSettings? states = null) =>
        new(new AppSettings { States = (states ?? new()) with { Disk = disk ? "1GB" : "0", Folder = _folder } }, TimeProvider.System);

    /// <summary>A vocabulary that is only known by its fingerprint.</summary>
    private sealed class Vocabulary(string fingerprint) : ITokenizer
    {
        public int VocabularySize => 0;

        public int? BosId => null;

        public IReadOnlySet<int> EosIds => new HashSet<int>();

        public bool AddBos => false;

        public string Fingerprint => fingerprint;

        public int[] Encode(string text, bool addBos, bool parseSpecial) => [];

        public int[] Encode(ReadOnlySpan<byte> text, bool addBos, bool parseSpecial) => [];

        public ReadOnlySpan<byte> TokenBytes(int id) => [];

        public bool IsSpecial(int id) => false;

        public int? FindSpecial(string text) => null;
    }
}
