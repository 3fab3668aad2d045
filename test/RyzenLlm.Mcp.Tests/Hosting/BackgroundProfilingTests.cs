using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Hosting;

public sealed class BackgroundProfilingTests
{
    private static readonly TimeSpan Hang = TimeSpan.FromMinutes(2);

    private AppSettings _settings = new();

    [SetUp]
    public void Prepare() => _settings = new() { Engine = new() { Threads = 1 }, Models = new() { Folders = [Repository.Models], ProfileFolder = Repository.Scratch("profiles") } };

    [Test]
    public void AModelThatWasUsedIsMeasuredOnceNothingIsInUse()
    {
        var entry = new ModelLibrary(_settings.Models, []).Resolve("mamba-f32");
        using var models = new LoadedModels(_settings);
        var store = new ProfileStore(_settings);
        using var profiling = new BackgroundProfiling(_settings, models, store, pause: TimeSpan.Zero);
        profiling.Ask(entry);
        Assert.That(SpinWait.SpinUntil(() => store.Find(entry) is not null, Hang), Is.True);
        Assert.That(store.Find(entry)!.BitsPerByte, Is.GreaterThan(0));
    }

    [Test]
    public async Task NothingIsMeasuredWhileAModelIsInUse()
    {
        var entry = new ModelLibrary(_settings.Models, []).Resolve("mamba-f32");
        using var models = new LoadedModels(_settings);
        var store = new ProfileStore(_settings);
        var lease = await models.AcquireAsync(entry);
        using (var profiling = new BackgroundProfiling(_settings, models, store, pause: TimeSpan.Zero))
        {
            profiling.Ask(entry);
        } // disposing waits for the thread: it ends without having begun

        Assert.That(store.Find(entry), Is.Null);
        lease.Dispose();
    }

    [Test]
    public void NothingIsMeasuredWhereTheSettingsForbidIt()
    {
        var settings = _settings with { Models = _settings.Models with { MeasureInBackground = false } };
        var entry = new ModelLibrary(settings.Models, []).Resolve("mamba-f32");
        using var models = new LoadedModels(settings);
        var store = new ProfileStore(settings);
        using (var profiling = new BackgroundProfiling(settings, models, store, pause: TimeSpan.Zero))
        {
            profiling.Ask(entry);
        }

        Assert.That(store.Find(entry), Is.Null);
    }

    [Test]
    public void WhatRunsInAQuietTimeIsToldWhenItIsOver()
    {
        var work = new Workload();
        using var first = work.WaitForQuiet(TimeSpan.Zero, CancellationToken.None);
        Assert.That(first.Token.IsCancellationRequested, Is.False);
        work.Enter();
        Assert.That(first.Token.IsCancellationRequested, Is.True);
        using var stop = new CancellationTokenSource();
        var waiting = Task.Run(() => work.WaitForQuiet(TimeSpan.Zero, stop.Token));
        work.Enter();
        work.Leave();
        Assert.That(waiting.IsCompleted, Is.False, "one use is left");
        work.Leave();
        using var second = waiting.WaitAsync(Hang).GetAwaiter().GetResult();
        Assert.That(second.Token.IsCancellationRequested, Is.False);
        second.Dispose();
        Assert.That(work.Enter, Throws.Nothing, "an ended quiet time is not told again");
        stop.Cancel();
        Assert.That(() => work.WaitForQuiet(TimeSpan.Zero, stop.Token), Throws.InstanceOf<OperationCanceledException>());
    }
}
