using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;
using RyzenLlm.Engine.Telemetry;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Decoding;

public sealed class TelemetryTests
{
    private static readonly GenerationRequest Story = new()
    {
        Turns = [new("user", "The state of the machine")],
        MaxTokens = 12,
        Speculation = SpeculationMode.Off,
        Sampling = new SamplingOptions { Seed = 7, Temperature = 1 },
    };

    [Test]
    public async Task ARequestIsMeasuredUnderTheNamesOfTheConventions()
    {
        using var scheduler = Open();
        using var measured = new Measured();
        var result = await scheduler.GenerateAsync(Story);
        var model = scheduler.Model.Info.Name;
        Assert.That(measured.Of("gen_ai.client.token.usage", ("gen_ai.token.type", "input")), Is.EqualTo(new double[] { result.PromptTokens }));
        Assert.That(measured.Of("gen_ai.client.token.usage", ("gen_ai.token.type", "output")), Is.EqualTo(new double[] { 12 }));
        Assert.That(measured.Of("gen_ai.server.time_to_first_token", ("gen_ai.request.model", model)), Is.EqualTo(new[] { result.TimeToFirstToken!.Value.TotalSeconds }));
        Assert.That(measured.Of("gen_ai.server.time_per_output_token", ("gen_ai.provider.name", "ryzenllm")).Single(), Is.EqualTo(result.DecodeTime.TotalSeconds / 11).Within(1e-12));
        Assert.That(measured.Of("gen_ai.server.request.duration", ("gen_ai.operation.name", "text_completion")).Single(), Is.GreaterThan(0));
        Assert.That(measured.Of("ryzenllm.request.queue.duration").Single(), Is.EqualTo(result.QueueTime.TotalSeconds));
        Assert.That(measured.Of("ryzenllm.requests.pending"), Is.EqualTo(new double[] { 1, -1 }));
        Assert.That(measured.Of("ryzenllm.batch.sequences"), Is.EqualTo(Enumerable.Repeat(1.0, 12)));
        Assert.That(measured.Of("ryzenllm.batch.rows").Sum(), Is.EqualTo(result.PromptTokens + 11));
    }

    [Test]
    public async Task GuessesThatWereVerifiedAreCounted()
    {
        using var scheduler = Open("bitnet-b158-tq2_0");
        using var measured = new Measured();
        SpeculationReport? report = null;
        for (var i = 0; i < 20 && report is not { Drafted: > 0 }; i++)
        {
            report = (await scheduler.GenerateAsync(Story with { MaxTokens = 200, Speculation = SpeculationMode.Lookup, Sampling = new() { Temperature = 0 } })).Speculation;
        }

        Assert.That(report?.Drafted, Is.GreaterThan(0), "a greedy text of a small model repeats itself");
        Assert.That(measured.Of("ryzenllm.speculation.drafted").Sum(), Is.EqualTo(report!.Drafted));
        Assert.That(measured.Of("ryzenllm.speculation.accepted").Sum(), Is.EqualTo(report.Accepted));
    }

    [Test]
    public async Task ARequestThatFailsIsMeasuredWithItsErrorAndLeavesNothingPending()
    {
        using var scheduler = Open("rwkv4-random"); // it has no vocabulary
        using var measured = new Measured();
        Assert.That(async () => await scheduler.GenerateAsync(Story), Throws.ArgumentException);
        Assert.That(measured.Of("gen_ai.server.request.duration", ("error.type", "ArgumentException")), Has.Length.EqualTo(1));
        Assert.That(measured.Of("ryzenllm.requests.pending").Sum(), Is.Zero);
        Assert.That(measured.Of("gen_ai.client.token.usage"), Is.Empty);
        await Task.CompletedTask;
    }

    [Test]
    public void LoadingAndUnloadingBalanceAndAFailedLoadIsNamed()
    {
        using var measured = new Measured();
        Golden.Open("mamba-f32").Load().Dispose();
        Assert.That(measured.Of("ryzenllm.model.load.duration", ("gen_ai.request.model", null!)), Has.Length.EqualTo(1));
        Assert.That(measured.Of("ryzenllm.models.loaded"), Is.EqualTo(new double[] { 1, -1 }));
        Assert.That(measured.Of("ryzenllm.models.size").Sum(), Is.Zero);
        Assert.That(measured.Of("ryzenllm.models.size")[0], Is.GreaterThan(1000));
        Assert.That(() => ModelLoader.Load(Fixtures.File("absent.gguf")), Throws.InstanceOf<FileNotFoundException>());
        Assert.That(measured.Of("ryzenllm.model.load.duration", ("error.type", "FileNotFoundException")), Has.Length.EqualTo(1));
    }

    [Test]
    public void KeptStatesAreCountedFromLookupToEviction()
    {
        using var model = Golden.Open("mamba-f32").Load();
        using var states = new PrefixStates(model, new ReuseOptions(Shortest: 4));
        using var measured = new Measured();
        int[] prompt = [.. Enumerable.Range(1, 12)];
        for (var i = 0; i < 2; i++)
        {
            using var batch = new Batch();
            var reuse = states.Begin("ann", prompt);
            foreach (var token in prompt[reuse.ReusedTokens..^1])
            {
                batch.Add(reuse.Session, token);
            }

            model.Forward(batch);
            batch.Clear();
            reuse.Keep(prompt);
            reuse.Session.Dispose();
        }

        Assert.That(measured.Of("ryzenllm.cache.lookups"), Has.Length.EqualTo(2));
        Assert.That(measured.Of("ryzenllm.cache.reused"), Is.EqualTo(new double[] { 0, 11 }));
        Assert.That(measured.Of("ryzenllm.cache.size").Sum(), Is.EqualTo(states.Bytes).And.GreaterThan(0));
        states.Evict(long.MaxValue);
        Assert.That(measured.Of("ryzenllm.cache.evictions").Sum(), Is.GreaterThanOrEqualTo(1));
        Assert.That(measured.Of("ryzenllm.cache.size").Sum(), Is.Zero);
    }

    [Test]
    public async Task OneTraceHoldsTheRequestAndItsPhasesInOrder()
    {
        using var scheduler = Open();
        using var spans = new Spans();
        using var tool = new Activity("tool").Start();
        var result = await scheduler.GenerateAsync(Story);
        Assert.That(Activity.Current, Is.SameAs(tool), "the span of the request is not left current");
        tool.Stop();
        var mine = spans.Ended.Where(s => s.TraceId == tool.TraceId).ToList();
        var request = mine.Single(s => s.OperationName.StartsWith("text_completion ", StringComparison.Ordinal));
        Assert.That(request.ParentSpanId, Is.EqualTo(tool.SpanId));
        Assert.That(request.GetTagItem("gen_ai.usage.input_tokens"), Is.EqualTo(result.PromptTokens));
        Assert.That(request.GetTagItem("gen_ai.response.finish_reasons"), Is.EqualTo(new[] { "length" }));
        var phases = mine.Where(s => s.ParentSpanId == request.SpanId).ToList();
        Assert.That(phases.Select(s => s.OperationName), Is.EqualTo(new[] { "queue", "prompt", "decode" }));
        Assert.That(phases[0].StartTimeUtc, Is.EqualTo(request.StartTimeUtc));
        Assert.That(phases[1].StartTimeUtc, Is.EqualTo(phases[0].StartTimeUtc + phases[0].Duration));
        Assert.That(phases[2].StartTimeUtc, Is.EqualTo(phases[1].StartTimeUtc + phases[1].Duration));
        Assert.That(phases[2].Duration, Is.EqualTo(result.DecodeTime));
        Assert.That(phases[2].GetTagItem("gen_ai.usage.output_tokens"), Is.EqualTo(12));
    }

    [TestCase(false)]
    [TestCase(true)]
    public void AStepAllocatesNothingForItsMetrics(bool listening)
    {
        using var model = Golden.Open("mamba-f32").Load();
        using var session = model.CreateSession();
        using var batch = new Batch();
        batch.Add(session, 1);
        using var listener = new MeterListener();
        if (listening)
        {
            listener.InstrumentPublished = (instrument, l) => l.EnableMeasurementEvents(instrument);
            listener.SetMeasurementEventCallback<int>(static (_, _, _, _) => { });
            listener.Start();
        }

        Instruments.Step(model.Info, batch);
        Assert.That(Allocations.Of(() => Repeat(model.Info, batch)), Is.Zero);

        static void Repeat(ModelInfo info, Batch batch)
        {
            for (var i = 0; i < 100; i++)
            {
                Instruments.Step(info, batch);
            }
        }
    }

    private static Scheduler Open(string model = "mamba-f32") => new(Golden.Open(model).Load());

    /// <summary>All measurements while it lives.</summary>
    private sealed class Measured : IDisposable
    {
        private readonly MeterListener _listener = new();
        private readonly ConcurrentQueue<(string Name, double Value, Dictionary<string, object?> Tags)> _values = new();

        public Measured()
        {
            _listener.InstrumentPublished = (instrument, listener) =>
            {
                if (instrument.Meter.Name == Instruments.Name)
                {
                    listener.EnableMeasurementEvents(instrument);
                }
            };
            _listener.SetMeasurementEventCallback<int>((i, v, tags, _) => Add(i, v, tags));
            _listener.SetMeasurementEventCallback<long>((i, v, tags, _) => Add(i, v, tags));
            _listener.SetMeasurementEventCallback<double>((i, v, tags, _) => Add(i, v, tags));
            _listener.Start();
        }

        /// <summary>Values of an instrument with this tag; a null value means any.</summary>
        public double[] Of(string name, (string Key, string Value)? tag = null) =>
            [.. _values.Where(v => v.Name == name && (tag is not { } t || (v.Tags.TryGetValue(t.Key, out var found) && (t.Value is null || t.Value.Equals(found))))).Select(v => v.Value)];

        public void Dispose() => _listener.Dispose();

        private void Add(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags) =>
            _values.Enqueue((instrument.Name, value, new Dictionary<string, object?>(tags.ToArray())));
    }

    /// <summary>All spans that ended while it lives.</summary>
    private sealed class Spans : IDisposable
    {
        private readonly ActivityListener _listener;

        public Spans()
        {
            _listener = new()
            {
                ShouldListenTo = source => source.Name == Instruments.Name,
                Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
                ActivityStopped = Ended.Enqueue,
            };
            ActivitySource.AddActivityListener(_listener);
        }

        public ConcurrentQueue<Activity> Ended { get; } = new();

        public void Dispose() => _listener.Dispose();
    }
}
