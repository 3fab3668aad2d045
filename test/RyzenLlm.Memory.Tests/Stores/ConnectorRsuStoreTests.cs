using System.Linq.Expressions;
using System.Numerics.Tensors;
using Microsoft.Extensions.VectorData;
using RyzenLlm.Memory.Stores;

namespace RyzenLlm.Memory.Tests.Stores;

[TestFixture]
internal sealed class ConnectorRsuStoreTests
{
    private readonly ListCollection _connector = new();

    private RsuMemory Memory()
    {
        _connector.Units.Clear();
        return new RsuMemory(new ConnectorRsuStore(_connector, ["t"]), new MemoryOptions(), new MemoryModels());
    }

    [Test]
    public async Task A_connector_stores_recalls_and_forgets_for_one_tenant_at_a_time()
    {
        using RsuMemory memory = Memory();
        await memory.OpenAsync();
        foreach (string tenant in new[] { "t", "other" })
        {
            await memory.StoreAsync(tenant, new StoreRequest { Session = "s", Items = [new Utterance { Text = $"The kettle of {tenant} is blue." }, new Utterance { Text = "Rain falls on the harbour." }] });
        }

        var found = await memory.SearchAsync("t", new RecallRequest { Query = "blue kettles" });
        Assert.That(found[0].Record.Text, Is.EqualTo("The kettle of t is blue."));
        Assert.That(found.Select(f => f.Record.Tenant), Has.All.EqualTo("t"));
        Assert.That((await memory.StatsAsync("t")).Live, Is.EqualTo(2));

        ForgetResult forgotten = await memory.ForgetAsync("t", new ForgetRequest { Session = "s", DryRun = false });
        Assert.That((forgotten.Deleted, forgotten.Remaining), Is.EqualTo((2L, 0L)));
        Assert.That(_connector.Units.Values.Select(u => u.Tenant), Is.EqualTo(new[] { "other", "other" }));
    }

    [Test]
    public async Task A_connector_that_ignores_the_filter_is_caught()
    {
        using RsuMemory memory = Memory();
        await memory.StoreAsync("other", new StoreRequest { Items = [new Utterance { Text = "The kettle is blue." }] });
        _connector.IgnoresFilters = true;
        Assert.That(() => memory.SearchAsync("t", new RecallRequest { Query = "blue kettle" }), Throws.ArgumentException.With.Message.Contains("another tenant"));
    }

    /// <summary>A connector over a dictionary: vector search and filters by running the expressions.</summary>
    private sealed class ListCollection : VectorStoreCollection<Guid, Rsu>
    {
        public Dictionary<Guid, Rsu> Units { get; } = [];

        public bool IgnoresFilters { get; set; }

        public override string Name => "list";

        private IEnumerable<Rsu> Where(Expression<Func<Rsu, bool>>? filter) => filter is null || IgnoresFilters ? Units.Values : Units.Values.Where(filter.Compile());

        public override Task<bool> CollectionExistsAsync(CancellationToken cancellationToken = default) => Task.FromResult(true);

        public override Task EnsureCollectionExistsAsync(CancellationToken cancellationToken = default) => Task.CompletedTask;

        public override Task EnsureCollectionDeletedAsync(CancellationToken cancellationToken = default)
        {
            Units.Clear();
            return Task.CompletedTask;
        }

        public override Task<Rsu?> GetAsync(Guid key, RecordRetrievalOptions? options = null, CancellationToken cancellationToken = default) =>
            Task.FromResult(Units.GetValueOrDefault(key));

        public override IAsyncEnumerable<Rsu> GetAsync(
            Expression<Func<Rsu, bool>> filter, int top, FilteredRecordRetrievalOptions<Rsu>? options = null, CancellationToken cancellationToken = default) =>
            Where(filter).OrderBy(u => u.Session).ThenBy(u => u.Ordinal).Skip(options?.Skip ?? 0).Take(top).ToAsyncEnumerable();

        public override Task DeleteAsync(Guid key, CancellationToken cancellationToken = default)
        {
            Units.Remove(key);
            return Task.CompletedTask;
        }

        public override Task UpsertAsync(Rsu record, CancellationToken cancellationToken = default)
        {
            Units[record.Id] = record;
            return Task.CompletedTask;
        }

        public override async Task UpsertAsync(IEnumerable<Rsu> records, CancellationToken cancellationToken = default)
        {
            foreach (Rsu record in records)
            {
                await UpsertAsync(record, cancellationToken);
            }
        }

        public override IAsyncEnumerable<VectorSearchResult<Rsu>> SearchAsync<TInput>(
            TInput searchValue, int top, VectorSearchOptions<Rsu>? options = null, CancellationToken cancellationToken = default)
        {
            float[] query = ((ReadOnlyMemory<float>)(object)searchValue).ToArray();
            return Where(options?.Filter).Where(u => u.Embedding is not null)
                .Select(u => new VectorSearchResult<Rsu>(u, TensorPrimitives.CosineSimilarity(query, u.Embedding!.Value.Span)))
                .OrderByDescending(r => r.Score).Take(top).ToAsyncEnumerable();
        }

        public override object? GetService(Type serviceType, object? serviceKey = null) => null;
    }
}
