using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Stores;
using RyzenLlm.Memory.Stores.Qdrant;
using RyzenLlm.Memory.Tests.Qdrant;

namespace RyzenLlm.Memory.Tests.Stores;

/// <summary>The contract against the server in this process, which checks every request.</summary>
[TestFixture]
internal sealed class QdrantRsuStoreTests : RsuStoreContract
{
    private FakeQdrant? _server;

    protected override void AssertOneVectorEach()
    {
        Assert.That(_server!.VectorNames, Has.Length.EqualTo(1));
        Assert.That(_server.VectorsOfPoints, Is.EqualTo((string[])["bm25", .. _server.VectorNames]));
    }

    [TearDown]
    public void StopServer()
    {
        string[] violations = [.. _server!.Violations];
        _server.Dispose();
        _server = null;
        Assert.That(violations, Is.Empty);
    }

    protected override RsuStore Open(string embedder)
    {
        _server ??= new FakeQdrant();
        return new QdrantRsuStore(new QdrantOptions { Url = _server.Url }, embedder, DimensionsOf(embedder));
    }
}

/// <summary>The contract against a real server, where <c>QDRANT_URL</c> names one.</summary>
[TestFixture]
internal sealed class RealQdrantRsuStoreTests : RsuStoreContract
{
    private string _collection = "";

    [OneTimeSetUp]
    public void RequireServer()
    {
        if (string.IsNullOrEmpty(Environment.GetEnvironmentVariable("QDRANT_URL")))
        {
            Assert.Ignore("QDRANT_URL names no server.");
        }
    }

    protected override RsuStore Open(string embedder)
    {
        _collection = _collection.Length == 0 ? $"rsu-test-{Guid.NewGuid():N}" : _collection;
        return new QdrantRsuStore(
            new QdrantOptions
            {
                Url = Environment.GetEnvironmentVariable("QDRANT_URL")!,
                ApiKey = Environment.GetEnvironmentVariable("QDRANT_API_KEY") ?? "",
                Collection = _collection,
            },
            embedder,
            DimensionsOf(embedder));
    }

    [TearDown]
    public async Task DropCollection()
    {
        if (_collection.Length > 0)
        {
            using var client = new HttpClient { BaseAddress = new Uri(Environment.GetEnvironmentVariable("QDRANT_URL")!) };
            client.DefaultRequestHeaders.Add("api-key", Environment.GetEnvironmentVariable("QDRANT_API_KEY") ?? "");
            await client.DeleteAsync($"/collections/{_collection}");
            _collection = "";
        }
    }
}

/// <summary>What goes wrong with a server.</summary>
[TestFixture]
internal sealed class QdrantFailureTests
{
    private FakeQdrant _server = null!;

    [SetUp]
    public void Start() => _server = new FakeQdrant();

    [TearDown]
    public void Stop() => _server.Dispose();

    private QdrantRsuStore Store(QdrantOptions? options = null) => new((options ?? new QdrantOptions()) with { Url = _server.Url }, "hash-256@1", 256);

    private static Rsu Unit => new() { Id = Guid.NewGuid(), Tenant = "t", Text = "x", CreatedAt = DateTimeOffset.UnixEpoch };

    [Test]
    public async Task The_collection_and_its_indexes_are_made_once_tenant_first()
    {
        using QdrantRsuStore store = Store(), again = Store();
        await store.OpenAsync();
        await again.OpenAsync();
        Assert.That(_server.Requests.Count(r => r == "PUT /collections/rsu"), Is.EqualTo(1));
        Assert.That(_server.Violations, Is.Empty);
        Assert.That(await store.IsReadyAsync(), Is.True);
    }

    [Test]
    public void A_missing_key_is_told_in_words()
    {
        _server.ApiKey = "k";
        using QdrantRsuStore store = Store();
        Assert.That(() => store.OpenAsync(), Throws.TypeOf<VectorStoreException>().With.Message.Contains("401").And.Message.Contains("Memory:Qdrant:ApiKey"));
    }

    [Test]
    public void The_right_key_opens()
    {
        _server.ApiKey = "k";
        using QdrantRsuStore store = Store(new QdrantOptions { ApiKey = "k" });
        Assert.That(() => store.OpenAsync(), Throws.Nothing);
    }

    [Test]
    public async Task A_write_that_did_not_finish_is_not_called_done()
    {
        using QdrantRsuStore store = Store();
        await store.OpenAsync();
        RsuCollection collection = store.ForTenant("t");
        foreach (int _ in Enumerable.Range(0, 3))
        {
            _server.Faults.Enqueue(null);
        }

        _server.Faults.Enqueue((200, """{"result":{"operation_id":4,"status":"wait_timeout"},"status":"ok","time":5}"""));
        Assert.That(() => collection.UpsertAsync(Unit), Throws.InstanceOf<VectorStoreException>().With.Message.Contains("queued"));
    }

    [Test]
    public async Task A_busy_server_is_asked_again()
    {
        using QdrantRsuStore store = Store();
        await store.OpenAsync();
        _server.Faults.Enqueue((503, "{}"));
        Assert.That(await store.ForTenant("t").CountAsync(new RsuFilter("t")), Is.Zero);
        Assert.That(_server.Requests.Count(r => r.EndsWith("/count", StringComparison.Ordinal)), Is.EqualTo(2));
    }

    [Test]
    public async Task A_full_server_is_told_in_words_and_not_asked_again()
    {
        using QdrantRsuStore store = Store();
        await store.OpenAsync();
        _server.Faults.Enqueue((507, """{"status":{"error":"quota"},"result":null,"time":0}"""));
        Assert.That(() => store.ForTenant("t").CountAsync(new RsuFilter("t")), Throws.InstanceOf<VectorStoreException>().With.Message.Contains("quota"));
        Assert.That(_server.Requests.Count(r => r.EndsWith("/count", StringComparison.Ordinal)), Is.EqualTo(1));
    }

    [TestCase("1.14.1", false, "Update it")]
    [TestCase("1.17.0", false, "AllowSharedIdf")]
    [TestCase("1.17.0", true, null)]
    [TestCase("1.20.0", false, null)]
    public void Old_servers_are_refused_unless_sharing_idf_is_allowed(string version, bool allow, string? message)
    {
        _server.ServerVersion = version;
        using QdrantRsuStore store = Store(new QdrantOptions { AllowSharedIdf = allow });
        if (message is null)
        {
            Assert.That(() => store.OpenAsync(), Throws.Nothing);
        }
        else
        {
            Assert.That(() => store.OpenAsync(), Throws.TypeOf<VectorStoreException>().With.Message.Contains(message));
        }
    }

    [Test]
    public async Task An_older_server_is_not_sent_what_it_does_not_know()
    {
        _server.ServerVersion = "1.17.0";
        using QdrantRsuStore store = Store(new QdrantOptions { AllowSharedIdf = true });
        await store.OpenAsync();
        await store.ForTenant("t").UpsertAsync(Unit with { Text = "red kettle" });
        Assert.That(await store.ForTenant("t").RankAsync("kettle", null, new RsuFilter("t"), 5), Has.Count.EqualTo(1));
        Assert.That(_server.Violations, Is.Empty);
    }

    [Test]
    public void No_server_is_told_in_words()
    {
        _server.Dispose();
        using QdrantRsuStore store = Store();
        Assert.That(() => store.OpenAsync(), Throws.InstanceOf<VectorStoreException>().With.Message.Contains("Is it running"));
    }

    [Test]
    public void An_address_that_is_none_is_refused() =>
        Assert.That(() => new QdrantRsuStore(new QdrantOptions { Url = "localhost" }, "e", 4), Throws.ArgumentException.With.Message.Contains("Memory:Qdrant:Url"));
}
