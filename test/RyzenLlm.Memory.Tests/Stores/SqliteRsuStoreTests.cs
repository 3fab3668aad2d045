using System.Text;
using RyzenLlm.Memory.Stores;
using RyzenLlm.Memory.Stores.Sqlite;

namespace RyzenLlm.Memory.Tests.Stores;

[TestFixture]
internal sealed class SqliteRsuStoreTests : RsuStoreContract
{
    private string _folder = "";

    private string File => Path.Combine(_folder, "memory.db");

    [TearDown]
    public void DeleteFolder()
    {
        Directory.Delete(_folder, recursive: true);
        _folder = "";
    }

    protected override RsuStore Open(string embedder)
    {
        if (_folder.Length == 0)
        {
            _folder = Directory.CreateTempSubdirectory("rsu-test-").FullName;
        }

        return new SqliteRsuStore(File, embedder);
    }

    protected override void AssertOneVectorEach()
    {
        using var connection = new Microsoft.Data.Sqlite.SqliteConnection($"Data Source={File};Pooling=False");
        connection.Open();
        using var command = connection.CreateCommand();
        command.CommandText = "SELECT (SELECT COUNT(*) FROM vectors) = (SELECT COUNT(*) FROM units), (SELECT COUNT(DISTINCT embedder) FROM vectors)";
        using var reader = command.ExecuteReader();
        reader.Read();
        Assert.That((reader.GetInt64(0), reader.GetInt64(1)), Is.EqualTo((1L, 1L)));
    }

    private RsuMemory Memory() => new(Open(EmbedderId), new MemoryOptions(), new MemoryModels());

    private static StoreRequest Said(string text, string session = "s") => new() { Session = session, Items = [new Utterance { Text = text, Speaker = "Ann" }] };

    [Test]
    public async Task What_one_process_stores_and_forgets_another_sees_at_once()
    {
        using RsuMemory one = Memory(), two = Memory();
        await one.StoreAsync("t", Said("The spare key hangs behind the clock."));
        var seen = await two.SearchAsync("t", new RecallRequest { Query = "spare key" });
        Assert.That(seen.Single().Record.Text, Does.Contain("behind the clock"));

        await two.StoreAsync("t", Said("The spare key went to Zoe."));
        Assert.That(await one.SearchAsync("t", new RecallRequest { Query = "spare key" }), Has.Count.EqualTo(2));

        await one.ForgetAsync("t", new ForgetRequest { Everything = true, DryRun = false });
        Assert.That(await two.SearchAsync("t", new RecallRequest { Query = "spare key" }), Is.Empty);
    }

    [Test]
    public async Task Five_writers_at_once_lose_nothing_and_none_sees_a_locked_file()
    {
        const int writers = 5, turns = 40;
        await Task.WhenAll(Enumerable.Range(0, writers).Select(w => Task.Run(async () =>
        {
            using RsuMemory memory = Memory();
            for (int i = 0; i < turns; i++)
            {
                await memory.StoreAsync("t", Said($"Writer number {w} notes fact item{w}x{i} about harbour traffic.", $"s{w}"));
                var found = await memory.SearchAsync("t", new RecallRequest { Query = $"item{w}x{i}" });
                Assert.That(found[0].Record.Text, Does.Contain($"item{w}x{i} "));
            }
        })));

        using RsuMemory all = Memory();
        Assert.That((await all.StatsAsync("t")).Units, Is.EqualTo(writers * turns));
        for (int w = 0; w < writers; w++)
        {
            Assert.That(await all.ListAsync("t", $"s{w}").CountAsync(), Is.EqualTo(turns));
        }
    }

    [Test]
    public async Task Forgotten_text_is_gone_from_the_bytes_of_the_file()
    {
        const string secret = "quokkamarmalade";
        using (RsuMemory memory = Memory())
        {
            await memory.StoreAsync("t", Said($"My pet name is {secret}, tell nobody about it."));
            await memory.StoreAsync("t", Said("Something quite different is kept here."));
            Assert.That(Bytes(), Does.Contain(secret));
            ForgetResult result = await memory.ForgetAsync("t", new ForgetRequest { Ids = [(await memory.SearchAsync("t", new RecallRequest { Query = secret }))[0].Record.Id], DryRun = false });
            Assert.That(result, Has.Property(nameof(ForgetResult.Deleted)).EqualTo(1).And.Property(nameof(ForgetResult.Remaining)).EqualTo(0));
            Assert.That(Bytes(), Does.Not.Contain(secret));
        }

        string Bytes() => string.Concat(Directory.GetFiles(_folder).Select(f =>
        {
            using var stream = new FileStream(f, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
            using var reader = new StreamReader(stream, Encoding.Latin1);
            return reader.ReadToEnd();
        }));
    }

    [Test]
    public void A_file_of_another_kind_is_refused_and_left_alone()
    {
        using RsuStore first = Open(EmbedderId);
        string path = Path.Combine(_folder, "notes.txt");
        System.IO.File.WriteAllText(path, new string('x', 5000));
        using var store = new SqliteRsuStore(path, EmbedderId);
        Assert.That(() => store.OpenAsync(), Throws.TypeOf<InvalidDataException>().With.Message.Contains("not a memory file"));
        Assert.That(System.IO.File.ReadAllText(path), Is.EqualTo(new string('x', 5000)));
    }

    [Test]
    public async Task Copying_to_another_store_takes_every_unit_once()
    {
        using RsuMemory source = Memory();
        await source.StoreAsync("t", Said("The kettle is blue."));
        await source.StoreAsync("u", Said("The kettle is red."));
        using var target = new SqliteRsuStore(Path.Combine(_folder, "copy.db"), EmbedderId);

        Assert.That(await Migration.CopyAsync(source.Store, target), Is.EqualTo(2));
        Assert.That(await Migration.CopyAsync(source.Store, target), Is.EqualTo(2));

        Assert.That(await target.ForTenant("t").CountAsync(new RsuFilter("t")), Is.EqualTo(1));
        Rsu copy = await target.ForTenant("u").ReadAsync(new RsuFilter("u"), 1, vectors: true).SingleAsync();
        Assert.That(copy.Text, Is.EqualTo("The kettle is red."));
        Assert.That(copy.Embedding, Is.Not.Null);
    }

    [Test]
    public async Task Copying_to_another_embedder_makes_new_vectors()
    {
        using RsuMemory source = Memory();
        await source.StoreAsync("t", Said("The kettle is blue."));
        var models = new MemoryModels { Embedder = new Embedders.HashEmbedder(64) };
        using var target = new SqliteRsuStore(Path.Combine(_folder, "copy.db"), models.EmbedderId);

        Assert.That(() => Migration.CopyAsync(source.Store, target), Throws.TypeOf<EmbedderMismatchException>());
        await Migration.CopyAsync(source.Store, target, models);

        Rsu copy = await target.ForTenant("t").ReadAsync(new RsuFilter("t"), 1, vectors: true).SingleAsync();
        Assert.That((copy.Embedder, copy.Embedding!.Value.Length), Is.EqualTo(("hash-64@1", 64)));
    }
}
