using RyzenLlm.Memory.Stores;
using RyzenLlm.Memory.Stores.Qdrant;
using RyzenLlm.Memory.Stores.Sqlite;
using RyzenLlm.Memory.Tests.Qdrant;

namespace RyzenLlm.Memory.Tests;

/// <summary>
/// Random tenants do random things to one store. Each sees what a simple model of its own deeds says, whatever the others do; and what it
/// recalls is, to the letter, what it would recall alone, in a store that holds nothing of others but what they share.
/// </summary>
[TestFixture(false)]
[TestFixture(true)]
internal sealed class IsolationTests(bool remote)
{
    private static readonly string[] Tenants = ["ann", "ben", "Ann", "ann/1", "ann' OR 1=1 --"];
    private static readonly string[] Names = ["Ingrid", "Otto", "Mira", "Polarstern", "Tromsoe", "the bakery", "the cellar", "pier four"];

    private static readonly string Everything = $"{string.Join(' ', Names)} wrote number kept behind";

    private readonly List<IDisposable> _open = [];
    private string _folder = null!;

    [SetUp]
    public void Start() => _folder = Directory.CreateTempSubdirectory("ryzenllm-isolation-").FullName;

    [TearDown]
    public void Stop()
    {
        _open.ForEach(o => o.Dispose());
        _open.Clear();
        Directory.Delete(_folder, recursive: true);
    }

    [Test]
    public async Task Every_tenant_lives_as_if_alone([Range(1, 2)] int seed)
    {
        var random = new Random(seed);
        var clock = new StoppedClock();
        using RsuMemory shared = await OpenAsync("shared", clock);
        var alone = new Dictionary<string, RsuMemory>();
        var model = Tenants.ToDictionary(t => t, _ => new Dictionary<Guid, string>());
        var sharing = new Dictionary<(Guid Unit, string Reader), string>();
        (Guid Unit, string Reader)[] followed = [];
        foreach (string tenant in Tenants)
        {
            alone[tenant] = await OpenAsync($"alone{alone.Count}", clock);
            _open.Add(alone[tenant]);
        }

        for (int step = 0; step < (remote ? 25 : 60); step++)
        {
            clock.Advance();
            string tenant = Tenants[random.Next(Tenants.Length)];
            Guid[] foreign = [.. model.Where(m => m.Key != tenant).SelectMany(m => m.Value.Keys)];
            switch (random.Next(10))
            {
                case < 4:
                    await StoreAsync(random, tenant, shared, alone[tenant], model[tenant]);
                    break;
                case 4:
                    string session = $"s{random.Next(3)}";
                    await ForgetAsync(tenant, new ForgetRequest { Session = session, DryRun = false }, shared, alone[tenant]);
                    await ReadBackAsync(tenant, alone[tenant], model[tenant]);
                    break;
                case 5 when foreign.Length > 0:
                    // Somebody else's ids, with one of its own among them.
                    Guid[] asked = [.. foreign.OrderBy(_ => random.Next()).Take(3), .. model[tenant].Keys.Take(1)];
                    ForgetResult forgotten = await ForgetAsync(tenant, new ForgetRequest { Ids = asked, DryRun = false }, shared, alone[tenant]);
                    Assert.That(forgotten.Deleted, Is.EqualTo(Math.Min(1, model[tenant].Count)));
                    await ReadBackAsync(tenant, alone[tenant], model[tenant]);
                    break;
                case 6 when foreign.Length > 0:
                    Guid other = foreign[random.Next(foreign.Length)];
                    Assert.That(await shared.ShowAsync(tenant, other), Is.Null);
                    Assert.That(() => shared.FindIdAsync(tenant, other.ToString()[..8]), Throws.ArgumentException.With.Message.Contains("There is no unit"));
                    foreach (RsuMemory each in (RsuMemory[])[shared, alone[tenant]])
                    {
                        Assert.That(
                            () => each.StoreAsync(tenant, new StoreRequest { Items = [new Utterance { Text = "Something else is true now." }], Supersedes = other }),
                            Throws.ArgumentException.With.Message.Contains("There is no unit"));
                    }

                    break;
                case 7 when model[tenant].Count > 0:
                    await ShareAsync(random, tenant, shared, alone, model[tenant], sharing);
                    break;
                default:
                    await CompareRecallAsync(random, tenant, shared, alone[tenant]);
                    break;
            }

            followed = await FollowAsync(shared, alone, model, sharing, followed);
            string reader = Tenants[random.Next(Tenants.Length)];
            string[] visible = [.. (await shared.RecallAsync(reader, new RecallRequest { Query = Everything, Top = 200, Budget = 4000, Shared = true })).Hits
                .Where(h => h.Unit.SharedBy is not null).Select(h => $"{h.Unit.SharedBy} {h.Unit.Id}")];
            Assert.That(
                visible, Is.EquivalentTo(sharing.Where(s => s.Value != reader && (s.Key.Reader == "all" || s.Key.Reader == reader)).Select(s => $"{s.Value} {s.Key.Unit}").Distinct()),
                $"step {step} of {tenant}: what others share with {reader}");
            foreach (string each in Tenants)
            {
                string[] units = await shared.ListAsync(each, top: 1000).Select(u => u.Text).ToArrayAsync();
                Assert.That(units, Is.EquivalentTo(model[each].Values), $"step {step} of {tenant}: what {each} sees");
                Assert.That((await shared.StatsAsync(each)).Units, Is.EqualTo(model[each].Count));
            }
        }

        Assert.That(await shared.Store.TenantsAsync(), Is.EquivalentTo(model.Where(m => m.Value.Count > 0).Select(m => m.Key)));
    }

    private static async Task StoreAsync(Random random, string tenant, RsuMemory shared, RsuMemory alone, Dictionary<Guid, string> model)
    {
        string Pick() => Names[random.Next(Names.Length)];
        var request = new StoreRequest
        {
            Session = $"s{random.Next(3)}",
            Items = [.. Enumerable.Range(0, random.Next(1, 4)).Select(_ => new Utterance { Speaker = Pick(), Text = $"{Pick()} wrote from {Pick()} that number {random.Next(40)} is kept behind {Pick()}." })],
        };
        StoreResult stored = await shared.StoreAsync(tenant, request);
        StoreResult single = await alone.StoreAsync(tenant, request);
        Assert.That((stored.Stored, stored.Merged, stored.Linked, stored.Superseded), Is.EqualTo((single.Stored, single.Merged, single.Linked, single.Superseded)), "known texts of others are not known");
        Assert.That(stored.Ids, Is.EqualTo(single.Ids));
        await ReadBackAsync(tenant, alone, model);
    }

    private static async Task<ForgetResult> ForgetAsync(string tenant, ForgetRequest request, RsuMemory shared, RsuMemory alone)
    {
        await alone.ForgetAsync(tenant, request);
        return await shared.ForgetAsync(tenant, request);
    }

    private static async Task CompareRecallAsync(Random random, string tenant, RsuMemory shared, RsuMemory alone)
    {
        var question = new RecallRequest { Query = $"Where does {Names[random.Next(Names.Length)]} keep number {random.Next(40)}?", Format = RecallFormat.Full, Shared = random.Next(2) == 0 };
        RecallResult found = await shared.RecallAsync(tenant, question);
        RecallResult expected = await alone.RecallAsync(tenant, question);
        Assert.That(found.Text, Is.EqualTo(expected.Text), "scores included: others' units do not show in the ranking");
    }

    // Some own units and some that are not its own, which changes nothing. The lonely stores get units of others by hand.
    private static async Task ShareAsync(
        Random random, string tenant, RsuMemory shared, Dictionary<string, RsuMemory> alone, Dictionary<Guid, string> own, Dictionary<(Guid Unit, string Reader), string> sharing)
    {
        Guid[] ids = [.. own.Keys.OrderBy(_ => random.Next()).Take(3), .. sharing.Keys.Select(k => k.Unit).Take(2)];
        string reader = random.Next(2) == 0 ? "all" : Tenants.Where(t => t != tenant).ElementAt(random.Next(Tenants.Length - 1));
        var request = new ShareRequest { Ids = ids, With = reader };
        if (random.Next(3) == 0)
        {
            Assert.That(await shared.UnshareAsync(tenant, request), Is.EqualTo(ids.Distinct().Count(id => own.ContainsKey(id) && sharing.Remove((id, reader)))));
            return;
        }

        string place = SharedUnits.PlaceOf(reader);
        Rsu[] live = await alone[tenant].Store.ForTenant(tenant).ReadAsync(new RsuFilter(tenant) { Ids = ids }, 10, vectors: true).Where(u => u.ValidTo is null).ToArrayAsync();
        Assert.That(await shared.ShareAsync(tenant, request), Is.EqualTo(live.Length));
        foreach (var (lonely, each) in alone)
        {
            if (lonely != tenant)
            {
                await each.Store.ForTenant(tenant).UpsertAsync(live);
            }

            await each.Store.ForTenant(place).UpsertAsync(live.Select(u => SharedUnits.Copy(u, place)));
        }

        foreach (Rsu unit in live)
        {
            sharing[(unit.Id, reader)] = tenant;
        }
    }

    // What was forgotten, corrected or unshared is shared no longer; the lonely stores follow.
    private static async Task<(Guid Unit, string Reader)[]> FollowAsync(
        RsuMemory shared, Dictionary<string, RsuMemory> alone, Dictionary<string, Dictionary<Guid, string>> model,
        Dictionary<(Guid Unit, string Reader), string> sharing, (Guid Unit, string Reader)[] before)
    {
        foreach (var (key, owner) in sharing.ToArray())
        {
            if (!model[owner].ContainsKey(key.Unit) || (await shared.ShowAsync(owner, key.Unit))!.ValidTo is not null)
            {
                sharing.Remove(key);
            }
        }

        bool ended = before.Except(sharing.Keys).Any();
        foreach (var (lonely, each) in ended ? alone : [])
        {
            foreach (string owner in (await each.Store.TenantsAsync()).Where(t => t != lonely))
            {
                Guid[] strange = await each.Store.ForTenant(owner).ReadAsync(new RsuFilter(owner), 1000).Select(u => u.Id).Where(id => !sharing.Keys.Any(k => k.Unit == id)).ToArrayAsync();
                await each.Store.ForTenant(owner).DeleteAsync(strange);
            }

            foreach (string place in (await each.Store.NamesAsync()).Where(SharedUnits.IsPlace))
            {
                HashSet<Guid> kept = [.. sharing.Keys.Where(k => SharedUnits.PlaceOf(k.Reader) == place).Select(k => SharedUnits.CopyId(place, k.Unit))];
                Guid[] gone = await each.Store.ForTenant(place).ReadAsync(new RsuFilter(place), 1000).Select(u => u.Id).Where(id => !kept.Contains(id)).ToArrayAsync();
                await each.Store.ForTenant(place).DeleteAsync(gone);
            }
        }

        return [.. sharing.Keys];
    }

    private static async Task ReadBackAsync(string tenant, RsuMemory alone, Dictionary<Guid, string> model)
    {
        model.Clear();
        await foreach (Rsu unit in alone.ListAsync(tenant, top: 1000))
        {
            model.Add(unit.Id, unit.Text);
        }
    }

    private async Task<RsuMemory> OpenAsync(string name, TimeProvider clock)
    {
        var models = new MemoryModels { Clock = clock };
        RsuStore store;
        if (remote)
        {
            var server = new FakeQdrant();
            _open.Add(server);
            store = new QdrantRsuStore(new QdrantOptions { Url = server.Url }, models.EmbedderId, models.Dimensions);
        }
        else
        {
            store = new SqliteRsuStore(Path.Combine(_folder, $"{name}.db"), models.EmbedderId);
        }

        var memory = new RsuMemory(store, new MemoryOptions { Audit = Path.Combine(_folder, $"{name}.jsonl") }, models);
        await memory.OpenAsync();
        return memory;
    }

    /// <summary>The same times for the shared store and for those of single tenants.</summary>
    private sealed class StoppedClock : TimeProvider
    {
        private DateTimeOffset _now = new(2026, 3, 1, 8, 0, 0, TimeSpan.Zero);

        public override DateTimeOffset GetUtcNow() => _now;

        public void Advance() => _now += TimeSpan.FromMinutes(7);
    }
}
