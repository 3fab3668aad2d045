using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Embedders;
using RyzenLlm.Memory.Stores;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Tests.Stores;

/// <summary>What every store must do, whatever lies beneath it.</summary>
internal abstract class RsuStoreContract
{
    protected const string EmbedderId = "hash-256@1";
    private static readonly DateTimeOffset Day = new(2024, 3, 1, 9, 0, 0, TimeSpan.Zero);
    private static readonly HashEmbedder Embedder = new(256);

    private RsuStore _store = null!;

    protected abstract RsuStore Open(string embedder);

    protected static int DimensionsOf(string embedder) => embedder.StartsWith("hash-", StringComparison.Ordinal)
        ? int.Parse(embedder.Split('-', '@')[1], System.Globalization.CultureInfo.InvariantCulture)
        : 256;

    [SetUp]
    public async Task OpenStore()
    {
        _store = Open(EmbedderId);
        await _store.OpenAsync();
    }

    [TearDown]
    public void CloseStore() => _store.Dispose();

    private static Rsu Unit(string text, string tenant = "ann", string session = "s1", long ordinal = 0, string speaker = "Ann", string scope = "private") => new()
    {
        Id = Fingerprint.Id(tenant, scope, session, speaker, text, ordinal.ToString(System.Globalization.CultureInfo.InvariantCulture)),
        Tenant = tenant,
        Scope = scope,
        Session = session,
        Ordinal = ordinal,
        Speaker = speaker,
        CreatedAt = Day.AddMinutes(ordinal),
        Text = text,
        Hash = Fingerprint.Hash(text),
        Sketch = Fingerprint.Sketch(TermBag.Of(text)),
        Embedder = EmbedderId,
        Embedding = Embedder.Embed(text),
    };

    private async Task<RsuCollection> Filled(params Rsu[] units)
    {
        foreach (var own in units.GroupBy(u => u.Tenant))
        {
            await _store.ForTenant(own.Key).UpsertAsync(own);
        }

        return _store.ForTenant("ann");
    }

    private static async Task<string[]> Texts(IAsyncEnumerable<Rsu> units) => await units.Select(u => u.Text).ToArrayAsync();

    [Test]
    public async Task A_unit_comes_back_as_it_was_written()
    {
        Rsu unit = Unit("The kettle is blue.") with
        {
            Source = "chat.jsonl#4",
            Density = 1.5f,
            Tier = RsuTier.Full,
            Kinds = RsuKinds.Question | RsuKinds.Code,
            ValidFrom = Day.AddDays(-1),
            ValidTo = Day.AddDays(3),
            SupersededBy = Guid.NewGuid(),
            VariantOf = Guid.NewGuid(),
            ExpiresAt = Day.AddYears(50),
            Sources = ["a", "b"],
            Seen = 3,
            Tokens = 7,
            Tokenizer = "v1",
            State = "prefix-9",
        };
        RsuCollection ann = await Filled(unit);

        Rsu read = (await ann.GetAsync(unit.Id, new RecordRetrievalOptions { IncludeVectors = true }))!;

        Assert.That(read.Embedding!.Value.ToArray(), Is.EqualTo(unit.Embedding!.Value.ToArray()).Within(1e-5f));
        Assert.That(read.Sources, Is.EqualTo(unit.Sources));
        Assert.That(read.Sketch, Is.EqualTo(unit.Sketch));
        Assert.That(read with { Embedding = null, Sources = [], Sketch = [] }, Is.EqualTo(unit with { Embedding = null, Sources = [], Sketch = [] }));
    }

    [Test]
    public async Task Without_asking_for_vectors_none_come()
    {
        Rsu unit = Unit("The kettle is blue.");
        RsuCollection ann = await Filled(unit);
        Assert.That((await ann.GetAsync(unit.Id))!.Embedding, Is.Null);
    }

    [Test]
    public async Task Another_tenant_sees_counts_finds_and_deletes_nothing()
    {
        Rsu unit = Unit("The kettle is blue.");
        RsuCollection ann = await Filled(unit, Unit("Tea is ready.", tenant: "bob"));
        RsuCollection bob = _store.ForTenant("bob");

        Assert.That(await bob.GetAsync(unit.Id), Is.Null);
        Assert.That(await bob.CountAsync(new RsuFilter("bob") { Ids = [unit.Id] }), Is.Zero);
        await bob.DeleteAsync(unit.Id);
        Assert.That(await ann.GetAsync(unit.Id), Is.Not.Null);
        var found = await bob.RankAsync("blue kettle", Embedder.Embed("blue kettle"), new RsuFilter("bob"), 10);
        Assert.That(found.Select(f => f.Record.Tenant), Has.None.EqualTo("ann"));
        Assert.That(found.Select(f => f.Record.Text), Has.None.Contains("kettle"));
    }

    [Test]
    public async Task Words_weigh_by_the_own_tenants_units_alone()
    {
        Rsu[] own = [Unit("red apple"), Unit("green apple", ordinal: 1), Unit("red pear", ordinal: 2), Unit("a dull day", ordinal: 3), Unit("a long day", ordinal: 4)];
        RsuCollection ann = await Filled(own);
        var before = await ann.RankAsync("red apple", null, new RsuFilter("ann"), 5);

        await _store.ForTenant("bob").UpsertAsync(Enumerable.Range(0, 40).Select(i => Unit("red wine", tenant: "bob", ordinal: i)));

        var after = await ann.RankAsync("red apple", null, new RsuFilter("ann"), 5);
        Assert.That(after.Select(r => (r.Record.Id, r.Score)), Is.EqualTo(before.Select(r => (r.Record.Id, r.Score))));
    }

    [TestCase("")]
    [TestCase("  ")]
    public void An_empty_tenant_is_refused(string tenant) =>
        Assert.That(() => _store.ForTenant(tenant), Throws.ArgumentException.With.Message.Contains("tenant"));

    [Test]
    public void A_unit_of_another_tenant_is_refused() =>
        Assert.That(() => _store.ForTenant("ann").UpsertAsync(Unit("x", tenant: "bob")), Throws.ArgumentException);

    [Test]
    public async Task A_filter_naming_another_tenant_is_refused()
    {
        RsuCollection ann = await Filled(Unit("x"));
        Assert.That(() => ann.GetAsync(u => u.Tenant == "bob", 1).ToArrayAsync().AsTask(), Throws.ArgumentException);
    }

    [Test]
    public async Task Filters_narrow_by_every_stored_field()
    {
        RsuCollection ann = await Filled(
            Unit("one", session: "s1", ordinal: 0), Unit("two", session: "s1", ordinal: 1, speaker: "Ben"),
            Unit("three", session: "s2", ordinal: 2) with { Source = "file" }, Unit("four", session: "s2", ordinal: 3, scope: "work"));
        string session = "s2";

        Assert.That(await Texts(ann.GetAsync(u => u.Session == session, 10)), Is.EqualTo(new[] { "three", "four" }));
        Assert.That(await Texts(ann.GetAsync(u => u.Session == "s2" && u.Scope == "work", 10)), Is.EqualTo(new[] { "four" }));
        Assert.That(await Texts(ann.GetAsync(u => u.Speaker == "Ben", 10)), Is.EqualTo(new[] { "two" }));
        Assert.That(await Texts(ann.GetAsync(u => u.Source == "file", 10)), Is.EqualTo(new[] { "three" }));
        Assert.That(await Texts(ann.GetAsync(u => u.CreatedAt >= Day.AddMinutes(1) && u.CreatedAt <= Day.AddMinutes(2), 10)), Is.EqualTo(new[] { "two", "three" }));
        Guid[] ids = [Unit("one").Id];
        Assert.That(await Texts(ann.GetAsync(u => ids.Contains(u.Id), 10)), Is.EqualTo(new[] { "one" }));
        Assert.That(() => ann.GetAsync(u => u.Text.StartsWith("o"), 1), Throws.TypeOf<NotSupportedException>());
    }

    [Test]
    public async Task Units_are_read_in_order_in_pages_and_newest_first()
    {
        RsuCollection ann = await Filled([.. Enumerable.Range(0, 300).Reverse().Select(i => Unit($"n{i}", ordinal: i))]);
        Assert.That(await Texts(ann.ReadAsync(new RsuFilter("ann"), 2, skip: 255)), Is.EqualTo(new[] { "n255", "n256" }));
        Assert.That(await Texts(ann.ReadAsync(new RsuFilter("ann"), 2, newestFirst: true)), Is.EqualTo(new[] { "n299", "n298" }));
        Assert.That(await ann.ReadAsync(new RsuFilter("ann"), int.MaxValue).CountAsync(), Is.EqualTo(300));
    }

    [Test]
    public async Task Words_are_found_by_stem_and_by_the_question_before_them()
    {
        RsuCollection ann = await Filled(
            Unit("Good morning!", ordinal: 0),
            Unit("Where do you keep the spare bicycle?", ordinal: 1) with { Kinds = RsuKinds.Question },
            Unit("Behind the green shed.", ordinal: 2, speaker: "Ben"),
            Unit("I see.", ordinal: 3),
            Unit("The soup was cold today.", session: "s2", ordinal: 9));

        var found = await ann.RankAsync("spare bicycles", null, new RsuFilter("ann"), 2);

        Assert.That(found.Select(f => f.Record.Text), Is.EquivalentTo(new[] { "Where do you keep the spare bicycle?", "Behind the green shed." }));
    }

    [Test]
    public async Task A_named_speaker_comes_first()
    {
        RsuCollection ann = await Filled(
            Unit("I like tulips very much.", session: "s1", speaker: "Ben"), Unit("I like tulips very much, too.", session: "s2", speaker: "Cleo"),
            Unit("It may rain.", session: "s3", speaker: "Ben"), Unit("It may snow.", session: "s4", speaker: "Cleo"));
        Assert.That((await ann.RankAsync("What does Cleo like? tulips", null, new RsuFilter("ann"), 1))[0].Record.Speaker, Is.EqualTo("Cleo"));
        Assert.That((await ann.RankAsync("What does Ben like? tulips", null, new RsuFilter("ann"), 1))[0].Record.Speaker, Is.EqualTo("Ben"));
    }

    [Test]
    public async Task A_vector_finds_its_nearest_by_cosine()
    {
        RsuCollection ann = await Filled(Unit("The kettle is blue.", session: "a"), Unit("Rain falls on the harbour.", session: "b"), Unit("Numbers add up.", session: "c"));
        float[] query = Embedder.Embed("kettles bluish");

        var found = await ann.SearchAsync(new ReadOnlyMemory<float>(query), 3).ToArrayAsync();

        Assert.That(found[0].Record.Text, Is.EqualTo("The kettle is blue."));
        double exact = System.Numerics.Tensors.TensorPrimitives.CosineSimilarity(query, Embedder.Embed("The kettle is blue."));
        Assert.That(found[0].Score, Is.EqualTo(exact).Within(1e-4));
    }

    [Test]
    public async Task Hybrid_search_is_that_of_the_interface()
    {
        RsuCollection ann = await Filled(Unit("The kettle is blue.", session: "a"), Unit("Rain falls on the harbour.", session: "b"), Unit("Numbers add up.", session: "c"));
        IKeywordHybridSearchable<Rsu> hybrid = ann;
        var found = await hybrid.HybridSearchAsync(
            Embedder.Embed("harbour"), ["harbour", "rain"], 1, new HybridSearchOptions<Rsu> { Filter = u => u.Session == "b" }).ToArrayAsync();
        Assert.That(found.Single().Record.Text, Is.EqualTo("Rain falls on the harbour."));
    }

    [Test]
    public async Task What_was_superseded_or_has_expired_is_not_live()
    {
        RsuCollection ann = await Filled(
            Unit("The door code is 12.", ordinal: 1) with { ValidTo = Day.AddDays(1) }, Unit("The door code is 34.", ordinal: 2) with { ExpiresAt = Day.AddDays(5) },
            Unit("The door code is 56.", ordinal: 3) with { ExpiresAt = Day.AddDays(20) });
        var live = new RsuFilter("ann") { LiveAt = Day.AddDays(10) };
        Assert.That((await ann.RankAsync("door code", null, live, 9)).Select(f => f.Record.Text), Is.EqualTo(new[] { "The door code is 56." }));
        Assert.That(await ann.CountAsync(live), Is.EqualTo(1));
        Assert.That(await ann.CountAsync(new RsuFilter("ann") { ExpiredAt = Day.AddDays(10) }), Is.EqualTo(1));
        Assert.That(await ann.RankAsync("door code", null, new RsuFilter("ann"), 9), Has.Count.EqualTo(3));
    }

    [Test]
    public async Task Deleted_units_are_gone_from_reading_counting_and_ranking()
    {
        RsuCollection ann = await Filled(Unit("The kettle is blue.", session: "a"), Unit("The kettle is old.", session: "b"));
        _ = await ann.RankAsync("kettle", null, new RsuFilter("ann"), 9);

        Assert.That(await ann.DeleteAsync(new RsuFilter("ann") { Session = "a" }), Is.EqualTo(1));

        Assert.That((await ann.RankAsync("kettle", null, new RsuFilter("ann"), 9)).Select(f => f.Record.Session), Is.EqualTo(new[] { "b" }));
        Assert.That(await ann.CountAsync(new RsuFilter("ann")), Is.EqualTo(1));
    }

    [Test]
    public async Task Writing_an_id_again_replaces_text_and_marks()
    {
        Rsu unit = Unit("The kettle is blue.");
        RsuCollection ann = await Filled(unit);
        _ = await ann.RankAsync("kettle", null, new RsuFilter("ann"), 9);
        await ann.UpsertAsync(unit with { Seen = 2 });
        await ann.UpsertAsync(unit with { Text = "The teapot is brown.", Seen = 5, Embedding = Embedder.Embed("The teapot is brown.") });

        Assert.That(await ann.CountAsync(new RsuFilter("ann")), Is.EqualTo(1));
        Assert.That(await ann.RankAsync("kettle", null, new RsuFilter("ann"), 9), Is.Empty);
        Assert.That((await ann.RankAsync("teapot", null, new RsuFilter("ann"), 9)).Single().Record.Seen, Is.EqualTo(5));
    }

    [Test]
    public async Task The_stores_tenants_are_listed()
    {
        await Filled(Unit("x"), Unit("y", tenant: "bob"));
        Assert.That(await _store.TenantsAsync(), Is.EqualTo(new[] { "ann", "bob" }));
    }

    [Test]
    public async Task A_store_keeps_its_embedder_and_refuses_vectors_of_another()
    {
        RsuCollection ann = await Filled(Unit("x"));
        using RsuStore other = Open("other@2");
        await other.OpenAsync();
        Assert.That(other.Embedder, Is.EqualTo(EmbedderId));
        Assert.That(
            () => ann.UpsertAsync(Unit("y") with { Embedder = "other@2" }),
            Throws.TypeOf<EmbedderMismatchException>().With.Message.Contains(EmbedderId).And.Message.Contains("other@2"));
        Assert.That(() => ann.AddVectorsAsync([Unit("x") with { Embedder = "other@2" }]), Throws.TypeOf<EmbedderMismatchException>());
        Assert.That(() => _store.TrySwitchAsync("other@2"), Throws.TypeOf<EmbedderMismatchException>());
    }

    private RsuMemory Opened(MemoryModels models) => new(Open(models.EmbedderId), new MemoryOptions(), models);

    private static StoreRequest Said(string text) => new() { Session = "s", Items = [new Utterance { Text = text, Speaker = "Ann" }] };

    private async Task<Rsu[]> WithVectors(RsuStore store, string tenant = "ann") =>
        await store.ForTenant(tenant).ReadAsync(new RsuFilter(tenant), int.MaxValue, vectors: true).ToArrayAsync();

    [Test]
    public async Task Changing_the_embedder_keeps_recall_going_until_the_new_vectors_are_complete()
    {
        await Filled([.. Enumerable.Range(0, 70).Select(i => Unit($"item{i} is in box {i}", ordinal: i)), Unit("item7 is Bob's", tenant: "bob")]);
        var embedder = new GatedEmbedder(64);
        using RsuMemory memory = Opened(new MemoryModels { Embedder = embedder });
        await memory.OpenAsync();
        Assert.That(memory.NeedsReembedding, Is.True);
        Assert.That((await memory.StatsAsync("ann")).Change, Is.Null);

        embedder.Let(1);
        Task<long> change = memory.ReembedAsync();
        await embedder.Asked(2);
        MemoryStats during = await memory.StatsAsync("ann");
        Assert.That((during.Embedder, during.Change), Is.EqualTo((EmbedderId, new EmbedderChange("hash-64@1", 32, 70))));
        Assert.That((await memory.SearchAsync("ann", new RecallRequest { Query = "item7 box" }))[0].Record.Text, Does.StartWith("item7 "));
        await memory.StoreAsync("ann", Said("item99 was stored while the change was under way"));
        await memory.ForgetAsync("ann", new ForgetRequest { Ids = [Unit("item0 is in box 0").Id], DryRun = false });
        Assert.That((await WithVectors(memory.Store)).Select(u => u.Embedder), Is.All.EqualTo(EmbedderId));

        embedder.Let(int.MaxValue / 2);
        Assert.That(await change, Is.GreaterThanOrEqualTo(70));
        Assert.That(memory.NeedsReembedding, Is.False);
        Assert.That(await memory.StatsAsync("ann"), Is.EqualTo(new MemoryStats(70, 70, "hash-64@1")));
        foreach (string tenant in (string[])["ann", "bob"])
        {
            Rsu[] units = await WithVectors(memory.Store, tenant);
            Assert.That(units.Select(u => (u.Embedder, u.Embedding?.Length)), Is.All.EqualTo(("hash-64@1", (int?)64)));
            Assert.That(units[0].Embedding!.Value.ToArray(), Is.EqualTo(embedder.Inner.Embed(units[0].Text)).Within(1e-5f));
        }

        Assert.That((await memory.SearchAsync("ann", new RecallRequest { Query = "item99" }))[0].Record.Text, Does.StartWith("item99 "));
        var near = await memory.Store.ForTenant("ann").SearchAsync(new ReadOnlyMemory<float>(embedder.Inner.Embed("item9 is in box 9")), 1).ToArrayAsync();
        Assert.That(near[0].Score, Is.EqualTo(1).Within(1e-3));
        AssertOneVectorEach();
    }

    /// <summary>Looks beneath the store: each unit has the vector of one embedder.</summary>
    protected virtual void AssertOneVectorEach()
    {
    }

    [Test]
    public async Task A_change_goes_on_where_it_was_interrupted_and_another_choice_drops_it()
    {
        await Filled([.. Enumerable.Range(0, 70).Select(i => Unit($"item{i} is in box {i}", ordinal: i))]);
        var first = new GatedEmbedder(64);
        using (RsuMemory memory = Opened(new MemoryModels { Embedder = first }))
        {
            using var stop = new CancellationTokenSource();
            first.Let(1);
            Task<long> change = memory.ReembedAsync(cancellationToken: stop.Token);
            await first.Asked(2);
            await stop.CancelAsync();
            Assert.That(async () => await change, Throws.InstanceOf<OperationCanceledException>());
        }

        var again = new GatedEmbedder(64);
        again.Let(int.MaxValue / 2);
        using RsuMemory resumed = Opened(new MemoryModels { Embedder = again });
        await resumed.OpenAsync();
        Assert.That((await resumed.StatsAsync("ann")).Change, Is.EqualTo(new EmbedderChange("hash-64@1", 32, 70)));

        using (RsuMemory third = Opened(new MemoryModels { Embedder = new HashEmbedder(128) }))
        {
            await third.OpenAsync();
            await third.Store.BeginEmbedderAsync("hash-128@1", 128);
            Assert.That((await third.StatsAsync("ann")).Change, Is.EqualTo(new EmbedderChange("hash-128@1", 0, 70)));
            Assert.That(() => third.Store.ForTenant("ann").AddVectorsAsync([Unit("item1 is in box 1") with { Embedder = "hash-64@1" }]), Throws.TypeOf<EmbedderMismatchException>());
        }

        await resumed.Store.BeginEmbedderAsync("hash-64@1", 64);
        await resumed.ReembedAsync();
        Assert.That(again.Embedded, Is.EqualTo(70));
        using RsuMemory back = Opened(new MemoryModels());
        await back.ReembedAsync();
        Assert.That((await WithVectors(back.Store)).Select(u => (u.Embedder, u.Embedding?.Length)), Is.All.EqualTo((EmbedderId, (int?)256)));
        Assert.That((await back.StatsAsync("ann")).Change, Is.Null);
        AssertOneVectorEach();
    }

    [Test]
    public async Task What_was_made_before_an_interruption_is_not_made_again()
    {
        await Filled([.. Enumerable.Range(0, 70).Select(i => Unit($"item{i} is in box {i}", ordinal: i))]);
        Rsu made = Unit("item3 is in box 3", ordinal: 3) with { Embedder = "hash-64@1", Embedding = new HashEmbedder(64).Embed("item3 is in box 3") };
        await _store.BeginEmbedderAsync("hash-64@1", 64);
        await _store.ForTenant("ann").AddVectorsAsync([made]);
        var embedder = new GatedEmbedder(64);
        embedder.Let(int.MaxValue / 2);
        using RsuMemory memory = Opened(new MemoryModels { Embedder = embedder });

        Assert.That(await _store.TrySwitchAsync("hash-64@1"), Is.False, "units lack their vector");
        Assert.That(await memory.ReembedAsync(), Is.EqualTo(69));

        Assert.That(embedder.Embedded, Is.EqualTo(69));
    }

    [Test]
    public async Task Others_who_have_the_memory_open_follow_a_switch()
    {
        await Filled(Unit("The kettle is blue."), Unit("The harbour lies still.", ordinal: 1));
        using RsuMemory other = Opened(new MemoryModels());
        await other.OpenAsync();
        Assert.That(await other.SearchAsync("ann", new RecallRequest { Query = "kettle" }), Is.Not.Empty);
        using (RsuMemory memory = Opened(new MemoryModels { Embedder = new HashEmbedder(64) }))
        {
            await memory.ReembedAsync();
        }

        Assert.That((await other.SearchAsync("ann", new RecallRequest { Query = "kettle" }))[0].Record.Text, Is.EqualTo("The kettle is blue."));
        Assert.That(other.Store.Embedder, Is.EqualTo("hash-64@1"));
        await other.StoreAsync("ann", Said("The teapot is brown and stands on the shelf."));
        Assert.That((await WithVectors(other.Store)).Select(u => (u.Embedder, u.Embedding?.Length)), Is.All.EqualTo(("hash-64@1", (int?)64)));

        await _store.ForTenant("ann").UpsertAsync(Unit("A third one", ordinal: 5) with { Embedding = null, Embedder = "" });
        Assert.That(await _store.ForTenant("ann").CountAsync(new RsuFilter("ann")), Is.EqualTo(4));
    }

    [Test]
    public async Task A_query_is_embedded_by_the_embedder_that_the_store_has_then()
    {
        await Filled(Unit("The kettle is blue."));
        var trained = new GatedEmbedder(64, "trained@1");
        trained.Let(int.MaxValue / 2);
        using RsuMemory other = Opened(new MemoryModels { FormerEmbedder = id => id == "trained@1" ? trained : null });
        await other.OpenAsync();
        await other.SearchAsync("ann", new RecallRequest { Query = "kettle" });
        Assert.That(trained.Embedded, Is.Zero);
        using (var memory = new RsuMemory(Open("hash-64@1"), new MemoryOptions { SecondHop = 0 }, new MemoryModels { Embedder = trained }))
        {
            await memory.ReembedAsync();
        }

        int before = trained.Embedded;
        await other.SearchAsync("ann", new RecallRequest { Query = "kettle" });
        Assert.That(trained.Embedded, Is.GreaterThan(before), "the query was embedded by the former embedder of the store");
    }

    [Test]
    public async Task An_embedder_that_is_not_there_any_more_leaves_recall_by_words()
    {
        await _store.BeginEmbedderAsync("gone@1", 8);
        Assert.That(await _store.TrySwitchAsync("gone@1"), Is.True, "an empty store switches at once");
        using RsuMemory memory = Opened(new MemoryModels());
        await memory.StoreAsync("ann", Said("The teapot is brown and stands on the shelf."));
        Assert.That((await memory.SearchAsync("ann", new RecallRequest { Query = "brown teapot" })).Single().Record.Text, Does.Contain("teapot"));
        Assert.That((await WithVectors(memory.Store)).Single().Embedding, Is.Null);

        await memory.ReembedAsync();

        Assert.That((await WithVectors(memory.Store)).Single().Embedding!.Value.Length, Is.EqualTo(256));
    }

    [Test]
    public async Task A_query_of_stop_words_finds_nothing_rather_than_filler()
    {
        RsuCollection ann = await Filled(Unit("The kettle is blue."), Unit("Rain again.", ordinal: 1));
        Assert.That(await ann.RankAsync("what is the", null, new RsuFilter("ann"), 9), Is.Empty);
        Assert.That(await ann.RankAsync("zeppelin", null, new RsuFilter("ann"), 9), Is.Empty);
    }
}
