using RyzenLlm.Memory.Stores;
using RyzenLlm.Memory.Stores.Qdrant;
using RyzenLlm.Memory.Tests.Qdrant;

namespace RyzenLlm.Memory.Tests;

/// <summary>A remote store that is away, silent, comes back, or loses its answers.</summary>
[TestFixture]
internal sealed class OutageTests
{
    private string _folder = null!;
    private FakeQdrant _server = null!;
    private UnreliableNetwork _network = null!;

    [SetUp]
    public void Start()
    {
        _folder = Directory.CreateTempSubdirectory("ryzenllm-outage-").FullName;
        _server = new FakeQdrant();
        _network = new UnreliableNetwork();
    }

    [TearDown]
    public void Stop()
    {
        string[] violations = [.. _server.Violations];
        _server.Dispose();
        _network.Dispose();
        Directory.Delete(_folder, recursive: true);
        Assert.That(violations, Is.Empty);
    }

    [Test]
    public async Task What_is_stored_while_the_server_is_away_is_found_at_once_and_delivered_once()
    {
        _network.Fault = Fault.Away;
        using (RsuMemory memory = await OpenAsync())
        {
            StoreResult stored = await memory.StoreAsync("ann", Said("The van is behind the bakery.", "The spare key hangs by the door."));
            Assert.That(stored.Queued, Is.EqualTo(2));
            RecallResult found = await memory.RecallAsync("ann", new RecallRequest { Query = "Where is the van?" });
            Assert.That(found.Degraded, Is.True);
            Assert.That(found.Text, Does.Contain("behind the bakery"));
        }

        // The process ended in between.
        _network.Fault = Fault.None;
        using (RsuMemory memory = await OpenAsync())
        {
            await memory.DeliverAsync("ann");
            Assert.That(_server.PointCount, Is.EqualTo(2));
            Assert.That(await memory.DeliverAsync("ann"), Is.Zero, "nothing waits any more");
            RecallResult found = await memory.RecallAsync("ann", new RecallRequest { Query = "Where is the van?" });
            Assert.That(found.Degraded, Is.False);
            Assert.That(found.Text, Does.Contain("behind the bakery"));
        }
    }

    [Test]
    public async Task A_write_whose_answer_was_lost_is_in_effect_done_once()
    {
        using (RsuMemory memory = await OpenAsync())
        {
            await memory.StoreAsync("ann", Said("The first note, before anything went wrong."));
            _network.Fault = Fault.LosesAnswersToWrites;
            Assert.That((await memory.StoreAsync("ann", Said("The ferry leaves at nine from pier four."))).Queued, Is.EqualTo(1));
        }

        int written = _server.PointCount;
        _network.Fault = Fault.None;
        using (RsuMemory memory = await OpenAsync())
        {
            await memory.DeliverAsync("ann");
            Rsu[] units = await memory.ListAsync("ann").ToArrayAsync();
            Assert.That(written, Is.EqualTo(2), "the server had done it");
            Assert.That(units.Select(u => u.Seen), Is.EqualTo(new[] { 1, 1 }));
            Assert.That(_server.PointCount, Is.EqualTo(2));
        }
    }

    [Test]
    public async Task A_silent_server_is_waited_for_no_longer_than_patience_lasts()
    {
        using RsuMemory memory = await OpenAsync();
        _network.Fault = Fault.Silent;
        Assert.That((await memory.StoreAsync("ann", Said("The van is behind the bakery."))).Queued, Is.EqualTo(1));
        Assert.That((await memory.RecallAsync("ann", new RecallRequest { Query = "van bakery" })).Degraded, Is.True);
    }

    [Test]
    public async Task Errors_of_the_server_are_outages_but_refusals_are_not()
    {
        using RsuMemory memory = await OpenAsync();
        for (int i = 0; i < 20; i++)
        {
            _server.Faults.Enqueue((503, "{}"));
        }

        Assert.That((await memory.StoreAsync("ann", Said("The van is behind the bakery."))).Queued, Is.EqualTo(1));
        _server.Faults.Clear();
        using RsuMemory other = await OpenAsync(o => o with { OutboxPath = Path.Combine(_folder, "other.db") });
        _server.Faults.Enqueue((400, "{}"));
        Assert.That(() => other.StoreAsync("ann", Said("Anything at all.")), Throws.InstanceOf<Microsoft.Extensions.VectorData.VectorStoreException>().With.Message.Contains("400"));
    }

    [Test]
    public async Task A_full_outbox_refuses_in_words_and_keeps_what_it_has()
    {
        _network.Fault = Fault.Away;
        using RsuMemory memory = await OpenAsync(o => o with { OutboxUnits = 2 });
        await memory.StoreAsync("ann", Said("The van is behind the bakery.", "The spare key hangs by the door."));
        Assert.That(
            () => memory.StoreAsync("ben", Said("A third one that has no room.")),
            Throws.TypeOf<StoreUnavailableException>().With.Message.Contains("2 of 2").And.Message.Contains("Memory:Qdrant:OutboxUnits"));
        Assert.That((await memory.RecallAsync("ben", new RecallRequest { Query = "third" })).Hits, Is.Empty);
        Assert.That((await memory.RecallAsync("ann", new RecallRequest { Query = "spare key" })).Text, Does.Contain("hangs by the door"));
    }

    [Test]
    public async Task Waiting_units_belong_to_their_tenant()
    {
        _network.Fault = Fault.Away;
        using RsuMemory memory = await OpenAsync();
        await memory.StoreAsync("ann", Said("The van is behind the bakery."));
        RecallResult found = await memory.RecallAsync("ben", new RecallRequest { Query = "Where is the van?" });
        Assert.That((found.Hits.Count, found.Degraded), Is.EqualTo((0, true)));
    }

    [Test]
    public async Task Forgetting_waits_for_the_server_and_then_reaches_what_waited()
    {
        _network.Fault = Fault.Away;
        using (RsuMemory memory = await OpenAsync())
        {
            await memory.StoreAsync("ann", Said("The van is behind the bakery."));
            Assert.That(() => memory.ForgetAsync("ann", new ForgetRequest { Everything = true, DryRun = false }), Throws.TypeOf<StoreUnavailableException>());
        }

        _network.Fault = Fault.None;
        using (RsuMemory memory = await OpenAsync())
        {
            ForgetResult forgotten = await memory.ForgetAsync("ann", new ForgetRequest { Everything = true, DryRun = false });
            Assert.That((forgotten.Deleted, forgotten.Remaining), Is.EqualTo((1, 0)));
            Assert.That(await memory.DeliverAsync("ann"), Is.Zero);
            Assert.That(_server.PointCount, Is.Zero);
        }
    }

    [Test]
    public async Task A_correction_by_id_is_refused_while_the_unit_cannot_be_looked_up()
    {
        _network.Fault = Fault.Away;
        using RsuMemory memory = await OpenAsync();
        Assert.That(() => memory.StoreAsync("ann", Said("The van is elsewhere.") with { Supersedes = Guid.NewGuid() }), Throws.TypeOf<StoreUnavailableException>());
    }

    [Test]
    public async Task A_server_that_fails_repeatedly_is_left_alone_for_a_while()
    {
        _network.Fault = Fault.Away;
        using var store = new QdrantRsuStore(new QdrantOptions { Url = _server.Url }, "hash-256@1", 256, handler: _network);
        for (int i = 0; i < 4; i++)
        {
            Assert.That(() => store.OpenAsync(), Throws.TypeOf<StoreUnavailableException>());
        }

        int arrived = _network.Requests;
        Assert.That(() => store.OpenAsync(), Throws.TypeOf<StoreUnavailableException>().With.Message.Contains("left alone"));
        Assert.That(_network.Requests, Is.EqualTo(arrived), "no request was made");
    }

    // As a process starts: nothing is kept but the server and the outbox file.
    private async Task<RsuMemory> OpenAsync(Func<QdrantOptions, QdrantOptions>? change = null)
    {
        _network = new UnreliableNetwork { Fault = _network.Fault };
        var options = new QdrantOptions { Url = _server.Url, PatienceSeconds = 2, OutboxPath = Path.Combine(_folder, "outbox.db") };
        options = change?.Invoke(options) ?? options;
        var models = new MemoryModels();
        var memory = new RsuMemory(
            new QdrantRsuStore(options, models.EmbedderId, models.Dimensions, handler: _network),
            new MemoryOptions { Qdrant = options },
            models,
            new Outbox(options.OutboxPath, options.OutboxUnits, models.EmbedderId));
        await memory.OpenAsync();
        return memory;
    }

    private static StoreRequest Said(params string[] texts) => new() { Session = "monday", Items = [.. texts.Select(t => new Utterance { Speaker = "Ann", Text = t })] };
}
