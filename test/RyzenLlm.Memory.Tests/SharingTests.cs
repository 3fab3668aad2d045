using System.Text.Json;
using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Stores;
using RyzenLlm.Memory.Stores.Qdrant;
using RyzenLlm.Memory.Stores.Sqlite;
using RyzenLlm.Memory.Tests.Qdrant;

namespace RyzenLlm.Memory.Tests;

/// <summary>Units that one tenant lets others read: when they are seen, when no longer, and what the audit log says of it.</summary>
[TestFixture(false)]
[TestFixture(true)]
internal sealed class SharingTests(bool remote)
{
    private string _folder = null!;
    private FakeQdrant _server = null!;
    private RsuStore _store = null!;
    private RsuMemory _memory = null!;

    private string Audit => Path.Combine(_folder, "audit.jsonl");

    [SetUp]
    public async Task Start()
    {
        _folder = Directory.CreateTempSubdirectory("ryzenllm-sharing-").FullName;
        _server = new FakeQdrant();
        var models = new MemoryModels();
        _store = remote
            ? new QdrantRsuStore(new QdrantOptions { Url = _server.Url }, models.EmbedderId, models.Dimensions)
            : new SqliteRsuStore(Path.Combine(_folder, "memory.db"), models.EmbedderId);
        _memory = new RsuMemory(_store, new MemoryOptions { Audit = Audit }, models);
        await _memory.OpenAsync();
    }

    [TearDown]
    public void Stop()
    {
        string[] violations = [.. _server.Violations];
        _memory.Dispose();
        _server.Dispose();
        Directory.Delete(_folder, recursive: true);
        Assert.That(violations, Is.Empty);
    }

    [Test]
    public async Task A_unit_is_seen_by_its_readers_marked_with_its_owner_until_sharing_ends()
    {
        Guid[] ids = await StoreAsync("ann", "The kettle stands on the blue shelf.", "The kettle cost nine crowns.");
        await StoreAsync("bob", "The teapot stands in the garden.");
        Assert.That((await RecallAsync("bob")).Text, Does.Not.Contain("kettle"));

        Assert.That(await _memory.ShareAsync("ann", new ShareRequest { Ids = [ids[0]], With = "bob" }), Is.EqualTo(1));
        RecallResult found = await RecallAsync("bob");
        Assert.That(found.Text, Does.Contain("[shared by ann]: \"The kettle stands").And.Not.Contain("nine crowns"));
        Assert.That(found.Hits.Single(h => h.Unit.SharedBy is not null).Unit.Id, Is.EqualTo(ids[0]));
        Assert.That((await RecallAsync("cleo")).Text, Is.Empty);
        Assert.That((await RecallAsync("ann")).Text, Does.Not.Contain("shared by"));
        Assert.That(await _memory.ReadersAsync("ann", ids[0]), Is.EqualTo(new[] { "bob" }));

        Assert.That(await _memory.UnshareAsync("ann", new ShareRequest { Ids = ids }), Is.EqualTo(1));
        Assert.That((await RecallAsync("bob")).Text, Does.Not.Contain("kettle"));
        Assert.That(await _memory.ReadersAsync("ann", ids[0]), Is.Empty);
    }

    [Test]
    public async Task What_is_not_asked_for_shows_nothing_of_others()
    {
        Guid[] ids = await StoreAsync("ann", "The kettle stands on the blue shelf.");
        await _memory.ShareAsync("ann", new ShareRequest { Ids = ids });
        Assert.That((await _memory.RecallAsync("bob", new RecallRequest { Query = "kettle" })).Text, Is.Empty);
        Assert.That(await _memory.SearchAsync("bob", new RecallRequest { Query = "kettle", Shared = true }), Is.Empty);
        Assert.That(await _memory.ListAsync("bob").CountAsync(), Is.Zero);
        Assert.That((await _memory.StatsAsync("bob")).Units, Is.Zero);
    }

    [Test]
    public async Task Sessions_and_shelves_are_shared_as_they_are_now()
    {
        await _memory.StoreAsync("ann", Said("The kettle stands on the blue shelf.") with { Session = "kitchen" });
        await _memory.StoreAsync("ann", Said("The kettle on the boat is red.") with { Scope = "boat" });
        await _memory.ShareAsync("ann", new ShareRequest { Session = "kitchen" });
        await _memory.StoreAsync("ann", Said("The kettle is broken today.") with { Session = "kitchen" });
        Assert.That((await RecallAsync("bob")).Text, Does.Contain("blue shelf").And.Not.Contain("boat").And.Not.Contain("broken"));
        await _memory.ShareAsync("ann", new ShareRequest { Scope = "boat", With = "bob" });
        Assert.That((await RecallAsync("bob")).Text, Does.Contain("on the boat"));
        Assert.That(await _memory.UnshareAsync("ann", new ShareRequest { Scope = "boat", With = "cleo" }), Is.Zero, "it was not shared with cleo");
        Assert.That(await _memory.UnshareAsync("ann", new ShareRequest { Session = "kitchen" }), Is.EqualTo(1));
        Assert.That((await RecallAsync("bob")).Text, Does.Contain("on the boat").And.Not.Contain("blue shelf"));
    }

    [Test]
    public async Task What_the_owner_forgets_or_corrects_is_shared_no_longer()
    {
        Guid[] ids = await StoreAsync("ann", "The kettle stands on the blue shelf.", "The kettle cost nine crowns.");
        await _memory.ShareAsync("ann", new ShareRequest { Ids = ids });
        await _memory.ForgetAsync("ann", new ForgetRequest { Ids = [ids[0]], DryRun = false });
        Assert.That((await RecallAsync("bob")).Text, Does.Contain("nine crowns").And.Not.Contain("blue shelf"));
        await _memory.StoreAsync("ann", Said("The kettle cost seven crowns.") with { Supersedes = ids[1] });
        Assert.That((await RecallAsync("bob")).Text, Is.Empty);
        Assert.That((await RecallAsync("bob", past: true)).Text, Is.Empty, "nor as something past");
        Assert.That(await CopiesAsync(), Is.Zero);
    }

    [Test]
    public async Task A_copy_that_outlives_its_unit_is_neither_shown_nor_left_by_the_next_deletion()
    {
        Guid[] ids = await StoreAsync("ann", "The kettle stands on the blue shelf.");
        await _memory.ShareAsync("ann", new ShareRequest { Ids = ids });
        await _store.ForTenant("ann").DeleteAsync(ids[0]); // as when a deletion is interrupted before the copies
        Assert.That((await RecallAsync("bob")).Text, Is.Empty);
        Assert.That(await _memory.ShowAsync("bob", ids[0]), Is.Null);
        Assert.That(await CopiesAsync(), Is.EqualTo(1));
        await _memory.ForgetAsync("ann", new ForgetRequest { Ids = ids, DryRun = false });
        Assert.That(await CopiesAsync(), Is.Zero);
    }

    [Test]
    public async Task Readers_can_neither_forget_nor_correct_nor_pass_on()
    {
        Guid[] ids = await StoreAsync("ann", "The kettle stands on the blue shelf.");
        await _memory.ShareAsync("ann", new ShareRequest { Ids = ids });
        Assert.That((await _memory.ShowAsync("bob", ids[0]))!.SharedBy, Is.EqualTo("ann"));
        Assert.That((await _memory.ForgetAsync("bob", new ForgetRequest { Ids = ids, DryRun = false })).Matched, Is.Zero);
        Assert.That((await _memory.ForgetAsync("bob", new ForgetRequest { Everything = true, DryRun = false })).Deleted, Is.Zero);
        Assert.That(() => _memory.StoreAsync("bob", Said("The kettle is gone.") with { Supersedes = ids[0] }), Throws.ArgumentException.With.Message.Contains("There is no unit"));
        Assert.That(() => _memory.FindIdAsync("bob", ids[0].ToString()[..8]), Throws.ArgumentException);
        Assert.That(await _memory.ShareAsync("bob", new ShareRequest { Ids = ids, With = "cleo" }), Is.Zero);
        Assert.That(await _memory.UnshareAsync("bob", new ShareRequest { Ids = ids }), Is.Zero);
        Assert.That((await _memory.StoreAsync("bob", Said("The kettle stands on the blue shelf."))).Stored, Is.EqualTo(1), "the same text is not known already");
        Assert.That((await RecallAsync("cleo")).Text, Does.Contain("shared by ann").And.Contain("blue shelf"));
    }

    [Test]
    public async Task Every_sharing_reading_and_ending_has_its_line()
    {
        Guid[] ids = await StoreAsync("ann", "The kettle stands on the blue shelf.", "The kettle cost nine crowns.");
        await _memory.ShareAsync("ann", new ShareRequest { Ids = ids });
        await RecallAsync("ann");
        Assert.That(Lines(), Is.EquivalentTo(ids.Select(id => $"share ann ann {id} all")), "an owner's own reading is nobody's business");
        await File.AppendAllTextAsync(Audit, "{\"cut off by a pow");
        await _memory.RecallAsync("bob", new RecallRequest { Query = "kettle blue shelf", Budget = 60, Shared = true });
        await _memory.ShowAsync("cleo", ids[1]);
        await _memory.UnshareAsync("ann", new ShareRequest { Ids = [ids[0]], With = "all" });
        await _memory.ForgetAsync("ann", new ForgetRequest { Ids = [ids[1]], DryRun = false });
        string[] lines = Lines();
        Assert.That(lines[3..], Is.EqualTo(new[] { $"read bob ann {ids[0]} ", $"read cleo ann {ids[1]} ", $"unshare ann ann {ids[0]} all", $"unshare ann ann {ids[1]} all" }), "one unit had room");
        Assert.That(await File.ReadAllTextAsync(Audit), Does.Not.Contain("kettle"), "no text of units");
        if (!OperatingSystem.IsWindows())
        {
            Assert.That(File.GetUnixFileMode(Audit), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
        }
    }

    [Test]
    public async Task Without_its_line_nothing_is_shared_or_shown()
    {
        Guid[] ids = await StoreAsync("ann", "The kettle stands on the blue shelf.");
        Directory.CreateDirectory(Audit); // in the way
        Assert.That(() => _memory.ShareAsync("ann", new ShareRequest { Ids = ids }), Throws.TypeOf<VectorStoreException>().With.Message.Contains("Nothing was shared"));
        Assert.That(await CopiesAsync(), Is.Zero);
        Directory.Delete(Audit);
        await _memory.ShareAsync("ann", new ShareRequest { Ids = ids });
        await StoreAsync("bob", "The kettle of bob is red.");
        File.Delete(Audit);
        Directory.CreateDirectory(Audit);
        RecallResult found = await RecallAsync("bob");
        Assert.That(found.Text, Does.Contain("kettle of bob").And.Not.Contain("shelf"));
        Assert.That(found.AuditProblem, Does.Contain("cannot be written"));
        Assert.That(found.Hits.Where(h => h.Unit.SharedBy is not null), Is.Empty);
        Assert.That(() => _memory.ShowAsync("bob", ids[0]), Throws.TypeOf<VectorStoreException>());
        Assert.That(() => _memory.UnshareAsync("ann", new ShareRequest { Ids = ids }), Throws.TypeOf<VectorStoreException>().With.Message.Contains("ended all the same"));
        Assert.That(await CopiesAsync(), Is.Zero);
    }

    [Test]
    public async Task Several_writers_lose_no_line()
    {
        var unit = Guid.NewGuid();
        await Task.WhenAll(Enumerable.Range(0, 4).Select(writer => Task.Run(() =>
        {
            var log = new AuditLog(Audit); // each as a process of its own would have it
            for (int i = 0; i < 25; i++)
            {
                log.Append([new AuditLine(DateTimeOffset.UnixEpoch, "read", $"t{writer}", "ann", unit, null)]);
            }
        })));
        Assert.That(Lines().GroupBy(l => l).Select(g => g.Count()), Is.EqualTo(new[] { 25, 25, 25, 25 }));
    }

    [TestCase("")]
    [TestCase("\u001fall")]
    [TestCase("\u001f=bob")]
    public async Task A_tenant_cannot_call_itself_a_place_of_shared_units(string name)
    {
        Guid[] ids = await StoreAsync("ann", "The kettle stands on the blue shelf.");
        await _memory.ShareAsync("ann", new ShareRequest { Ids = ids });
        await _memory.ShareAsync("ann", new ShareRequest { Ids = ids, With = "bob" });
        Assert.That(() => _memory.ListAsync(name), Throws.ArgumentException);
        Assert.That(() => RecallAsync(name), Throws.ArgumentException);
        Assert.That(() => _memory.ShowAsync(name, ids[0]), Throws.ArgumentException);
        Assert.That(() => _memory.StatsAsync(name), Throws.ArgumentException);
        Assert.That(() => StoreAsync(name, "Something."), Throws.ArgumentException);
        Assert.That(() => _memory.FindIdAsync(name, "0123456"), Throws.ArgumentException);
        Assert.That(() => _memory.ForgetAsync(name, new ForgetRequest { Everything = true, DryRun = false }), Throws.ArgumentException);
        Assert.That(() => _memory.ShareAsync("ann", new ShareRequest { Ids = ids, With = name }), Throws.ArgumentException);
        Assert.That(() => _memory.UnshareAsync(name, new ShareRequest { Ids = ids }), Throws.ArgumentException);
    }

    [Test]
    public void What_to_share_and_with_whom_must_be_said()
    {
        Assert.That(() => _memory.ShareAsync("ann", new ShareRequest()), Throws.ArgumentException.With.Message.Contains("which units"));
        Assert.That(() => _memory.ShareAsync("ann", new ShareRequest { Session = "s", With = "ann" }), Throws.ArgumentException.With.Message.Contains("owner"));
        Assert.That(() => _memory.UnshareAsync("ann", new ShareRequest { With = "all" }), Throws.ArgumentException.With.Message.Contains("which units"));
    }

    private static StoreRequest Said(string text) => new() { Items = [new Utterance { Text = text }] };

    private async Task<Guid[]> StoreAsync(string tenant, params string[] texts)
    {
        var ids = new List<Guid>();
        foreach (string text in texts)
        {
            ids.AddRange((await _memory.StoreAsync(tenant, Said(text))).Ids);
        }

        return [.. ids];
    }

    private Task<RecallResult> RecallAsync(string tenant, bool past = false) =>
        _memory.RecallAsync(tenant, new RecallRequest { Query = "Where is the kettle?", Shared = true, IncludePast = past });

    private async Task<int> CopiesAsync()
    {
        int copies = 0;
        foreach (string place in (await _store.NamesAsync()).Where(SharedUnits.IsPlace))
        {
            copies += (int)await _store.ForTenant(place).CountAsync(new RsuFilter(place));
        }

        return copies;
    }

    private string[] Lines() => [.. File.ReadAllLines(Audit).Select(line =>
    {
        if (!line.EndsWith('}'))
        {
            return line;
        }

        JsonElement e = JsonDocument.Parse(line).RootElement;
        string Text(string name) => e.TryGetProperty(name, out JsonElement value) ? value.GetString()! : "";
        Assert.That(e.GetProperty("time").GetDateTimeOffset(), Is.LessThanOrEqualTo(DateTimeOffset.UtcNow));
        return $"{Text("event")} {Text("tenant")} {Text("owner")} {Text("unit")} {Text("with")}";
    })];
}
