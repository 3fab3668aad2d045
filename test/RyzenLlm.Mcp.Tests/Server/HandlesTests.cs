using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>What the server keeps between calls.</summary>
public sealed class HandlesTests
{
    private static readonly Caller Ann = new("ann");
    private static readonly Caller Ben = new("ben");

    private readonly Clock _clock = new();

    [Test]
    public void ANameBelongsToItsTenant()
    {
        var handles = new Handles<string>(_clock, TimeSpan.FromMinutes(1), 10);
        var name = handles.Add(Ann, "x");
        Assert.That(name, Has.Length.EqualTo(24).And.Not.EqualTo(handles.Add(Ann, "x")));
        Assert.That(handles.Find(Ann, name), Is.EqualTo("x"));
        Assert.That(handles.Find(Ben, name), Is.Null);
        Assert.That(handles.Find(Ann, name.ToLowerInvariant()), Is.Null);
    }

    [Test]
    public void ItExpiresAfterItsLastUse()
    {
        var forgotten = new List<string>();
        var handles = new Handles<string>(_clock, TimeSpan.FromMinutes(1), 10, forgotten.Add);
        var name = handles.Add(Ann, "x");
        _clock.Now += TimeSpan.FromSeconds(59);
        Assert.That(handles.Find(Ann, name), Is.EqualTo("x"));
        _clock.Now += TimeSpan.FromSeconds(59);
        Assert.That(handles.Find(Ann, name), Is.EqualTo("x"));
        _clock.Now += TimeSpan.FromSeconds(61);
        Assert.That(handles.Find(Ann, name), Is.Null);
        handles.Add(Ben, "y");
        Assert.That((handles.Count, forgotten.Single()), Is.EqualTo((1, "x")));
    }

    [Test]
    public void ATenantThatTakesTooManyLosesItsOwnOldest()
    {
        var forgotten = new List<string>();
        var handles = new Handles<string>(_clock, TimeSpan.FromMinutes(1), 2, forgotten.Add);
        var other = handles.Add(Ben, "ben");
        var names = new List<string>();
        foreach (var value in new[] { "1", "2", "3", "4" })
        {
            names.Add(handles.Add(Ann, value));
            _clock.Now += TimeSpan.FromSeconds(1);
        }

        Assert.That(forgotten, Is.EqualTo(new[] { "1", "2" }));
        Assert.That(names.Select(n => handles.Find(Ann, n)), Is.EqualTo(new[] { null, null, "3", "4" }));
        Assert.That(handles.Find(Ben, other), Is.EqualTo("ben"));
    }

    private sealed class Clock : TimeProvider
    {
        public TimeSpan Now { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Now.Ticks;
    }
}
