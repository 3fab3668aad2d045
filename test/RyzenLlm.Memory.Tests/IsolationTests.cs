using RyzenLlm.Memory.Stores;
using RyzenLlm.Memory.Stores.Qdrant;
using RyzenLlm.Memory.Stores.Sqlite;
using RyzenLlm.Memory.Tests.Qdrant;

namespace RyzenLlm.Memory.Tests;

/// <summary>
/// Random tenants do random things to one store. Each sees what a simple model of its own deeds says, whatever the others do; and what it
/// recalls is, to the letter, what it would recall alone.
/// </summary>
[TestFixture(false)]
[TestFixture(true)]
internal sealed class IsolationTests(bool remote)
{
    private static readonly string[] Tenants = ["ann", "ben", "Ann", "ann/1", "ann' OR 1=1 --"];
    private static readonly string[] Names = ["Ingrid", "Otto", "Mira", "Polarstern", "Tromsoe", "the bakery", "the cellar", "pier four"];

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
            switch (random.Next(8))
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
                default:
                    await CompareRecallAsync(random, tenant, shared, alone[tenant]);
                    break;
            }

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
        var question = new RecallRequest { Query = $"Where does {Names[random.Next(Names.Length)]} keep number {random.Next(40)}?", Format = RecallFormat.Full };
        RecallResult found = await shared.RecallAsync(tenant, question);
        RecallResult expected = await alone.RecallAsync(tenant, question);
        Assert.That(found.Text, Is.EqualTo(expected.Text), "scores included: others' units do not show in the ranking");
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

        var memory = new RsuMemory(store, new MemoryOptions(), models);
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
