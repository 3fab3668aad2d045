using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Tests.Hosting;

[NonParallelizable]
public sealed class RehearsalTests
{
    [Test]
    public async Task ItPlaysToTheEndAndIsNotCounted()
    {
        var measured = new ConcurrentBag<string>();
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, self) =>
            {
                if (instrument.Meter.Name.Contains("ModelContextProtocol", StringComparison.Ordinal))
                {
                    self.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<double>((instrument, _, _, _) => measured.Add(instrument.Name));
        listener.Start();
        await Rehearsal.PlayAsync();
        Assert.That(measured, Is.Empty);
    }
}
