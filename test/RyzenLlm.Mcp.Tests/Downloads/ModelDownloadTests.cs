using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using RyzenLlm.Mcp.Downloads;

namespace RyzenLlm.Mcp.Tests.Downloads;

public sealed class ModelDownloadTests
{
    private static readonly byte[] Content = [.. Enumerable.Range(0, 300_000).Select(i => (byte)((i * 31) ^ (i >> 8)))];
    private static readonly string Digest = Convert.ToHexStringLower(SHA256.HashData(Content));
    private static readonly string[] OnlyTheModel = ["m.gguf"];

    private readonly HttpClient _http = new() { Timeout = Timeout.InfiniteTimeSpan };
    private string _folder = "";

    [SetUp]
    public void CreateFolder() => _folder = Directory.CreateTempSubdirectory("pull-").FullName;

    [TearDown]
    public void DeleteFolder() => Directory.Delete(_folder, recursive: true);

    [OneTimeTearDown]
    public void CloseClient() => _http.Dispose();

    [Test]
    public async Task Whole_file_arrives_and_nothing_else_stays()
    {
        using var server = new FaultyServer((request, _) => FaultyServer.Honest(request, Content));
        var path = await FetchAsync(server, Content.Length, Digest);
        Assert.That(await File.ReadAllBytesAsync(path), Is.EqualTo(Content));
        Assert.That(Left(), Is.EquivalentTo(OnlyTheModel));
    }

    [Test]
    public async Task Cut_connections_are_continued_where_they_ended()
    {
        using var server = new FaultyServer((request, _) => FaultyServer.Cut(request, Content, 70_000));
        var path = await FetchAsync(server, Content.Length, Digest);
        Assert.That(await File.ReadAllBytesAsync(path), Is.EqualTo(Content));
        Assert.That(server.Requests.Select(FaultyServer.RangeStart), Is.EqualTo(new int?[] { null, 70_000, 140_000, 210_000, 280_000 }));
    }

    [Test]
    public async Task A_later_run_goes_on_with_the_part_of_an_earlier_one()
    {
        using (var dying = new FaultyServer((request, n) => n == 0 ? FaultyServer.Cut(request, Content, 100_000) : new("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close", default)))
        {
            Assert.That(async () => await FetchAsync(dying, Content.Length, Digest), Throws.TypeOf<DownloadException>().With.Message.Contain("100,000"));
        }

        Assert.That(File.Exists(Path.Combine(_folder, "m.gguf")), Is.False);
        using var server = new FaultyServer((request, _) => FaultyServer.Honest(request, Content));
        RetargetPart(server.Base);
        var path = await FetchAsync(server, Content.Length, Digest);
        Assert.That(await File.ReadAllBytesAsync(path), Is.EqualTo(Content));
        Assert.That(FaultyServer.RangeStart(server.Requests[0]), Is.EqualTo(100_000));
    }

    [Test]
    public async Task A_server_without_ranges_starts_over_cleanly()
    {
        using var server = new FaultyServer((request, n) =>
            new($"HTTP/1.1 200 OK\r\nContent-Length: {Content.Length}\r\nConnection: close", n == 0 ? Content.AsMemory(0, 50_000) : Content));
        var path = await FetchAsync(server, Content.Length, Digest);
        Assert.That(await File.ReadAllBytesAsync(path), Is.EqualTo(Content));
    }

    [Test]
    public void Wrong_bytes_never_become_a_model()
    {
        var wrong = (byte[])Content.Clone();
        wrong[1234] ^= 1;
        using var server = new FaultyServer((request, _) => FaultyServer.Honest(request, wrong));
        Assert.That(async () => await FetchAsync(server, Content.Length, Digest), Throws.TypeOf<DownloadException>().With.Message.Contain("SHA-256"));
        Assert.That(Left(), Is.Empty);
    }

    [Test]
    public void A_file_that_is_no_model_is_deleted_even_without_a_digest()
    {
        using var server = new FaultyServer((request, _) => FaultyServer.Honest(request, Encoding.ASCII.GetBytes("<html>log in first</html>")));
        Assert.That(
            async () => await FetchAsync(server, null, null, _ => throw new InvalidDataException("wrong magic")),
            Throws.TypeOf<DownloadException>().With.Message.Contain("wrong magic"));
        Assert.That(Left(), Is.Empty);
    }

    [Test]
    public void A_length_that_contradicts_the_announced_one_is_refused_at_once()
    {
        using var server = new FaultyServer((request, _) => FaultyServer.Honest(request, Content[..1000]));
        Assert.That(async () => await FetchAsync(server, Content.Length, Digest), Throws.TypeOf<DownloadException>().With.Message.Contain("1,000"));
        Assert.That(server.Connections, Is.EqualTo(1));
        Assert.That(File.Exists(Path.Combine(_folder, "m.gguf")), Is.False);
    }

    [Test]
    public void A_length_header_larger_than_the_body_is_no_success()
    {
        using var server = new FaultyServer((_, _) => new($"HTTP/1.1 200 OK\r\nContent-Length: {Content.Length + 10}\r\nConnection: close", Content));
        Assert.That(async () => await FetchAsync(server, null, null), Throws.TypeOf<DownloadException>());
        Assert.That(File.Exists(Path.Combine(_folder, "m.gguf")), Is.False);
    }

    [Test]
    public async Task A_range_answer_for_other_bytes_is_not_appended()
    {
        using var server = new FaultyServer((request, n) => n switch
        {
            0 => FaultyServer.Cut(request, Content, 60_000),
            1 => new($"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 10-{Content.Length - 1}/{Content.Length}\r\nContent-Length: {Content.Length - 10}\r\nConnection: close", Content.AsMemory(10)),
            _ => FaultyServer.Honest(request, Content),
        });
        var path = await FetchAsync(server, Content.Length, Digest);
        Assert.That(await File.ReadAllBytesAsync(path), Is.EqualTo(Content));
    }

    [Test]
    public async Task A_silent_server_counts_as_a_lost_connection()
    {
        using var server = new FaultyServer((request, n) => n == 0 ? FaultyServer.Cut(request, Content, 10_000) with { Hang = true } : FaultyServer.Honest(request, Content));
        var path = await FetchAsync(server, Content.Length, Digest);
        Assert.That(await File.ReadAllBytesAsync(path), Is.EqualTo(Content));
        Assert.That(FaultyServer.RangeStart(server.Requests[1]), Is.EqualTo(10_000));
    }

    [Test]
    public async Task A_complete_file_is_not_fetched_again_but_a_damaged_one_is()
    {
        using var server = new FaultyServer((request, _) => FaultyServer.Honest(request, Content));
        await FetchAsync(server, Content.Length, Digest);
        var path = await FetchAsync(server, Content.Length, Digest);
        Assert.That(server.Connections, Is.EqualTo(1));
        await File.WriteAllBytesAsync(path, new byte[Content.Length]);
        await FetchAsync(server, Content.Length, Digest);
        Assert.That(await File.ReadAllBytesAsync(path), Is.EqualTo(Content));
    }

    [Test]
    public void Two_downloads_of_one_file_do_not_mix()
    {
        using var held = new FileStream(Path.Combine(_folder, "m.gguf.part.lock"), FileMode.Create, FileAccess.ReadWrite, FileShare.None);
        using var server = new FaultyServer((request, _) => FaultyServer.Honest(request, Content));
        Assert.That(async () => await FetchAsync(server, Content.Length, Digest), Throws.TypeOf<DownloadException>().With.Message.Contain("another process"));
    }

    [Test]
    public void Server_errors_end_with_the_status_and_what_to_do()
    {
        using var server = new FaultyServer((_, _) => new("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close", default));
        Assert.That(async () => await FetchAsync(server, Content.Length, Digest), Throws.TypeOf<DownloadException>().With.Message.Contain("503").And.Message.Contain("again"));
        Assert.That(server.Connections, Is.EqualTo(7));
    }

    private Task<string> FetchAsync(FaultyServer server, long? bytes, string? digest, Action<string>? validate = null) =>
        new ModelDownload(_http, validate ?? (_ => { }), TimeSpan.FromMilliseconds(1)) { StallTimeout = TimeSpan.FromMilliseconds(300) }
            .FetchAsync(new(new(server.Base, "m.gguf"), "m.gguf", bytes, digest), _folder);

    private IEnumerable<string?> Left() => Directory.EnumerateFiles(_folder).Select(Path.GetFileName);

    // The second server listens on another port; the note about the part must still name its address.
    private void RetargetPart(Uri address)
    {
        var note = Path.Combine(_folder, "m.gguf.part.json");
        File.WriteAllText(note, Regex.Replace(File.ReadAllText(note), "http://127\\.0\\.0\\.1:\\d+/", address.ToString()));
    }
}
