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
    public async Task Another_embedder_is_refused_on_opening_and_on_writing()
    {
        await Filled(Unit("x"));
        using RsuStore other = Open("other@2");
        Assert.That(() => other.OpenAsync(), Throws.TypeOf<EmbedderMismatchException>().With.Message.Contains(EmbedderId).And.Message.Contains("other@2"));
        Assert.That(() => _store.ForTenant("ann").UpsertAsync(Unit("y") with { Embedder = "other@2" }), Throws.TypeOf<EmbedderMismatchException>());
    }

    [Test]
    public async Task A_query_of_stop_words_finds_nothing_rather_than_filler()
    {
        RsuCollection ann = await Filled(Unit("The kettle is blue."), Unit("Rain again.", ordinal: 1));
        Assert.That(await ann.RankAsync("what is the", null, new RsuFilter("ann"), 9), Is.Empty);
        Assert.That(await ann.RankAsync("zeppelin", null, new RsuFilter("ann"), 9), Is.Empty);
    }

    [Test]
    public async Task A_shared_copy_is_ranked_for_its_readers_alone_and_only_when_asked_for()
    {
        Rsu unit = Unit("The kettle is blue.");
        RsuCollection ann = await Filled(unit, Unit("The kettle was a present.", ordinal: 1), Unit("Tea is ready.", tenant: "bob"), Unit("Rain again.", tenant: "cleo"));
        await ShareAsync(unit, "bob");

        Assert.That((await RankSharedAsync("bob", "kettle")).Select(u => (u.Id, u.Tenant, u.SharedBy, u.Text)), Is.EqualTo(new[] { (unit.Id, "ann", "ann", unit.Text) }));
        Assert.That((await _store.ForTenant("bob").RankAsync("kettle", null, new RsuFilter("bob"), 9)).Select(r => r.Record.Text), Is.Empty, "not asked for");
        Assert.That(await RankSharedAsync("cleo", "kettle"), Is.Empty, "not shared with cleo");
        Assert.That((await RankSharedAsync("ann", "kettle")).Select(u => u.SharedBy), Is.EqualTo(new string?[] { null, null }), "the owner sees its own units, once");
        Assert.That(await ann.CountAsync(new RsuFilter("ann")), Is.EqualTo(2));
        Assert.That(await _store.TenantsAsync(), Is.EqualTo(new[] { "ann", "bob", "cleo" }));
    }

    [Test]
    public async Task A_unit_shared_with_all_and_by_name_is_found_once()
    {
        Rsu unit = Unit("The kettle is blue.");
        await Filled(unit, Unit("Tea is ready.", tenant: "bob"));
        await ShareAsync(unit, "bob");
        await ShareAsync(unit, "all");
        Assert.That((await RankSharedAsync("bob", "kettle")).Select(u => u.Id), Is.EqualTo(new[] { unit.Id }));
        Assert.That((await RankSharedAsync("nobody yet", "kettle")).Select(u => u.Id), Is.EqualTo(new[] { unit.Id }));
    }

    [Test]
    public async Task A_reader_neither_counts_reads_nor_deletes_what_is_shared_with_it()
    {
        Rsu unit = Unit("The kettle is blue.");
        RsuCollection ann = await Filled(unit, Unit("Tea is ready.", tenant: "bob"));
        await ShareAsync(unit, "all");
        RsuCollection bob = _store.ForTenant("bob");
        Guid copy = SharedUnits.CopyId(SharedUnits.PlaceOf("all"), unit.Id);
        foreach (Guid id in (Guid[])[unit.Id, copy])
        {
            Assert.That(await bob.GetAsync(id), Is.Null);
            Assert.That(await bob.DeleteAsync(new RsuFilter("bob") { Ids = [id] }), Is.Zero);
        }

        Assert.That(await bob.DeleteAsync(new RsuFilter("bob")), Is.EqualTo(1));
        Assert.That(await ann.GetAsync(unit.Id), Is.Not.Null);
        Assert.That(await RankSharedAsync("bob", "kettle"), Has.Length.EqualTo(1));
    }

    [Test]
    public async Task Neighbours_that_are_not_shared_do_not_show_through()
    {
        Rsu unit = Unit("The kettle is blue.", ordinal: 1);
        await Filled(Unit("Where is the zeppelin?", ordinal: 0) with { Kinds = RsuKinds.Question }, unit, Unit("The zeppelin flies at nine.", ordinal: 2), Unit("Tea is ready.", tenant: "bob"));
        await ShareAsync(unit, "bob");
        Assert.That((await RankSharedAsync("ann", "zeppelin")).Select(u => u.Text), Does.Contain(unit.Text), "to its owner it is the answer");
        Assert.That(await RankSharedAsync("bob", "zeppelin"), Is.Empty);
    }

    [Test]
    public async Task Units_of_two_owners_are_no_neighbours()
    {
        Rsu ann = Unit("The kettle is blue.", ordinal: 1), cleo = Unit("The zeppelin flies at nine.", tenant: "cleo", ordinal: 2), bob = Unit("Tea is ready.", tenant: "bob", ordinal: 0);
        await Filled(ann, cleo, bob);
        await ShareAsync(ann, "all");
        await ShareAsync(cleo, "all");
        Assert.That((await RankSharedAsync("bob", "zeppelin")).Select(u => u.Text), Is.EqualTo(new[] { cleo.Text }), "the same session by name, but not the same session");
    }

    [Test]
    public async Task A_copy_that_is_removed_is_gone_at_once()
    {
        Rsu unit = Unit("The kettle is blue.");
        await Filled(unit, Unit("The kettle is hot.", tenant: "bob"));
        await ShareAsync(unit, "all");
        Assert.That(await RankSharedAsync("bob", "kettle"), Has.Length.EqualTo(2));
        string place = SharedUnits.PlaceOf("all");
        await _store.ForTenant(place).DeleteAsync(SharedUnits.CopyId(place, unit.Id));
        Assert.That((await RankSharedAsync("bob", "kettle")).Select(u => u.Tenant), Is.EqualTo(new[] { "bob" }));
    }

    private Task ShareAsync(Rsu unit, string reader)
    {
        string place = SharedUnits.PlaceOf(reader);
        return _store.ForTenant(place).UpsertAsync(SharedUnits.Copy(unit, place));
    }

    private async Task<Rsu[]> RankSharedAsync(string tenant, string text) =>
        [.. (await _store.ForTenant(tenant).RankAsync(text, null, new RsuFilter(tenant), 9, shared: true)).Select(r => r.Record)];
}
