using RyzenLlm.Memory.Stores.Sqlite;

namespace RyzenLlm.Memory.Tests;

/// <summary>A clock that jumps, as after a flat battery or a wrong time server.</summary>
[TestFixture]
internal sealed class ClockTests
{
    private string _folder = null!;

    [SetUp]
    public void Create() => _folder = Directory.CreateTempSubdirectory("ryzenllm-clock-").FullName;

    [TearDown]
    public void Delete() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task A_jump_forward_and_back_loses_nothing()
    {
        var clock = new JumpingClock();
        using RsuMemory memory = await OpenAsync(clock);
        await memory.StoreAsync("ann", new StoreRequest
        {
            Items = [new Utterance { Text = "The parking permit hangs in the hall." }],
            ExpiresAt = clock.GetUtcNow().AddDays(10),
        });
        clock.Now = clock.Now.AddYears(30);
        Assert.That((await RecallAsync(memory, "parking permit")).Hits, Is.Empty, "it has expired");
        Assert.That((await memory.StatsAsync("ann")).Units, Is.EqualTo(1), "but time deletes nothing");
        clock.Now = clock.Now.AddYears(-30).AddDays(1);
        Assert.That((await RecallAsync(memory, "parking permit")).Text, Does.Contain("hall"));
    }

    [Test]
    public async Task What_was_corrected_while_the_clock_was_wrong_stays_corrected()
    {
        var clock = new JumpingClock();
        using RsuMemory memory = await OpenAsync(clock);
        StoreResult old = await memory.StoreAsync("ann", new StoreRequest { Items = [new Utterance { Text = "The van stands behind the bakery." }] });
        clock.Now = clock.Now.AddYears(5);
        await memory.StoreAsync("ann", new StoreRequest { Items = [new Utterance { Text = "The van stands at the harbour now." }], Supersedes = old.Ids[0] });
        foreach (int years in (int[])[0, -5, -10])
        {
            clock.Now = clock.Now.AddYears(years);
            RecallResult found = await RecallAsync(memory, "Where does the van stand?");
            Assert.That(found.Text, Does.Contain("harbour").And.Not.Contain("bakery"), $"{clock.Now:yyyy}");
        }
    }

    private static Task<RecallResult> RecallAsync(RsuMemory memory, string query) => memory.RecallAsync("ann", new RecallRequest { Query = query });

    private async Task<RsuMemory> OpenAsync(TimeProvider clock)
    {
        var models = new MemoryModels { Clock = clock };
        var memory = new RsuMemory(new SqliteRsuStore(Path.Combine(_folder, "memory.db"), models.EmbedderId), new MemoryOptions(), models);
        await memory.OpenAsync();
        return memory;
    }

    private sealed class JumpingClock : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = new(2026, 3, 1, 8, 0, 0, TimeSpan.Zero);

        public override DateTimeOffset GetUtcNow() => Now;
    }
}
