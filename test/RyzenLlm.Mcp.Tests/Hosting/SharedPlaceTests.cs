using System.Text;
using RyzenLlm.Mcp.Hosting.Shared;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Hosting;

/// <summary>Where bridges meet their server, and what they read of messages.</summary>
public sealed class SharedPlaceTests
{
    private string _folder = null!;

    [SetUp]
    public void Create() => _folder = Repository.Scratch("place");

    [TearDown]
    public void Delete() => Directory.Delete(_folder, recursive: true);

    [Test]
    public void TheNameStandsForTheBuildAndEverySetting()
    {
        var settings = Settings();
        var name = SharedPlace.Of(settings, "1.0.0+a").Name;
        Assert.That(SharedPlace.Of(Settings(), "1.0.0+a").Name, Is.EqualTo(name));
        Assert.That(SharedPlace.Of(settings, "1.0.1+a").Name, Is.Not.EqualTo(name), "a newer version");
        Assert.That(SharedPlace.Of(settings, "1.0.0+b").Name, Is.Not.EqualTo(name), "another source");
        Assert.That(SharedPlace.Of(settings with { Memory = settings.Memory with { Tenant = "ann" } }, "1.0.0+a").Name, Is.Not.EqualTo(name));
        Assert.That(SharedPlace.Of(settings with { Models = new() { Folders = ["/a", "/b"] } }, "1.0.0+a").Name, Is.Not.EqualTo(name));
    }

    [Test]
    public void TheFolderCountsWherePathsDependOnIt()
    {
        var relative = Settings() with { Models = new() { Folders = ["models"] } };
        var before = Environment.CurrentDirectory;
        var (name, relativeName) = (SharedPlace.Of(Settings(), "1").Name, SharedPlace.Of(relative, "1").Name);
        try
        {
            Environment.CurrentDirectory = _folder;
            Assert.That(SharedPlace.Of(Settings(), "1").Name, Is.EqualTo(name));
            Assert.That(SharedPlace.Of(relative, "1").Name, Is.Not.EqualTo(relativeName));
        }
        finally
        {
            Environment.CurrentDirectory = before;
        }
    }

    [Test]
    [Platform(Exclude = "Win", Reason = "Folders have no modes there.")]
    public void AFolderThatOthersMayEnterIsRefused()
    {
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(_folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.OtherExecute);
        }

        Assert.That(() => SharedPlace.Of(Settings(), "1"), Throws.InstanceOf<SettingsException>().With.Message.Contains("chmod 700"));
    }

    [Test]
    public void APathThatIsTooLongForASocketIsRefused()
    {
        var settings = Settings(Path.Combine(_folder, new string('x', 100)));
        Assert.That(() => SharedPlace.Of(settings, "1"), Throws.InstanceOf<SettingsException>().With.Message.Contains("shorter path in Server:Shared:Folder"));
    }

    [Test]
    public void OneProcessHoldsTheLock()
    {
        var place = SharedPlace.Of(Settings(), "1");
        using (var first = place.TryLock())
        {
            Assert.That(first, Is.Not.Null);
            Assert.That(place.TryLock(), Is.Null);
        }

        using var next = place.TryLock();
        Assert.That(next, Is.Not.Null);
    }

    [Test]
    public void AServerThatListensButDoesNotGreetIsNamed()
    {
        var place = SharedPlace.Of(Settings(), "1");
        using var held = place.TryLock();
        using var listener = place.Listen();
        var start = new SharedStart(place, [], TimeSpan.FromMilliseconds(50));
        Assert.That(async () => await start.ConnectAsync(CancellationToken.None), Throws.InstanceOf<IOException>().With.Message.Contains("does not answer: end that process"));
    }

    [TestCase("""{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"id":8,"method":"x"}}""", "7", "tools/list", null)]
    [TestCase("""{"params":{"requestId":"a\u0022"},"method":"notifications/cancelled"}""", null, "notifications/cancelled", "\"a\\u0022\"")]
    [TestCase("""{"method":"other","params":{"requestId":3}}""", null, "other", null)]
    [TestCase("""{"result":{"id":1,"deep":[[{"id":2}]]},"id":"x"}""", "\"x\"", null, null)]
    [TestCase("""{"id":null,"method":["a"],"params":[1]}""", null, null, null)]
    [TestCase("""[{"id":1,"method":"ping"}]""", null, null, null)]
    [TestCase("""{"id":"\ud83d","method":"ping"}""", null, null, null)]
    [TestCase("""{"id":1""", null, null, null)]
    [TestCase("", null, null, null)]
    public void TheHeadOfAMessageIsRead(string message, string? id, string? method, string? cancels)
    {
        var head = MessageHead.Read(Encoding.UTF8.GetBytes(message));
        Assert.That(head, Is.EqualTo(new MessageHead(id, method, cancels)));
    }

    private AppSettings Settings(string? folder = null) => new() { Server = new() { Shared = new() { Folder = folder ?? _folder } } };
}
