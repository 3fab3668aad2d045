using System.Text;
using RyzenLlm.Mcp.Downloads;

namespace RyzenLlm.Mcp.Tests.Downloads;

public sealed class ModelHubTests
{
    private const string Listing = """
        [{"type":"directory","path":"sub"},
         {"type":"file","path":"README.md","size":10},
         {"type":"file","path":"sub/Net-Q8_0.gguf","size":134,"lfs":{"oid":"00ff","size":5000,"pointerSize":134}},
         {"type":"file","path":"net-q4_0.gguf","size":134,"lfs":{"oid":"11ff","size":3000,"pointerSize":134}}]
        """;

    private readonly HttpClient _http = new();

    [OneTimeTearDown]
    public void CloseClient() => _http.Dispose();

    [Test]
    public async Task A_file_of_a_repository_comes_with_its_exact_size_and_digest()
    {
        using var server = Serve(Listing);
        var (name, file) = await new ModelHub(_http, server.Base).ResolveAsync("hf:me/nets/sub/Net-Q8_0.gguf");
        Assert.That(name, Is.EqualTo("net-q8_0"));
        Assert.That(file, Is.EqualTo(new RemoteFile(new(server.Base, "/me/nets/resolve/main/sub/Net-Q8_0.gguf"), "Net-Q8_0.gguf", 5000, "00ff")));
        Assert.That(server.Requests[0], Does.StartWith("GET /api/models/me/nets/tree/main?recursive=true "));
    }

    [Test]
    public async Task A_known_name_finds_its_file_by_pattern()
    {
        using var server = Serve(Listing.Replace("sub/Net-Q8_0", "rwkv7-1.5B-world-q8_0", StringComparison.Ordinal));
        var (name, file) = await new ModelHub(_http, server.Base).ResolveAsync("rwkv7-1.5b");
        Assert.Multiple(() =>
        {
            Assert.That(name, Is.EqualTo("rwkv7-1.5b"));
            Assert.That(file.FileName, Is.EqualTo("rwkv7-1.5B-world-q8_0.gguf"));
            Assert.That(file.Licence, Is.EqualTo("Apache-2.0"));
        });
    }

    [Test]
    public void A_missing_file_lists_what_there_is()
    {
        using var server = Serve(Listing);
        Assert.That(
            async () => await new ModelHub(_http, server.Base).ResolveAsync("hf:me/nets/other.gguf"),
            Throws.TypeOf<DownloadException>().With.Message.Contain("net-q4_0.gguf"));
    }

    [Test]
    public void A_missing_repository_is_named()
    {
        using var server = new FaultyServer((_, _) => new("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close", default));
        Assert.That(
            async () => await new ModelHub(_http, server.Base).ResolveAsync("hf:me/nets/other.gguf"),
            Throws.TypeOf<DownloadException>().With.Message.Contain("me/nets"));
    }

    [TestCase("nonsense")]
    [TestCase("hf:me/nets")]
    [TestCase("hf:me/nets/readme.md")]
    [TestCase("https://example.org/model.bin")]
    [TestCase("ftp://example.org/model.gguf")]
    public void Other_references_are_refused_before_any_request(string reference) =>
        Assert.That(
            async () => await new ModelHub(_http, new("http://127.0.0.1:1/")).ResolveAsync(reference),
            Throws.TypeOf<DownloadException>().With.Message.Contain(reference));

    [Test]
    public async Task A_plain_address_is_taken_as_it_is()
    {
        var (name, file) = await new ModelHub(_http, new("http://127.0.0.1:1/")).ResolveAsync("https://example.org/a/My%20Net.gguf?x=1");
        Assert.That((name, file.FileName), Is.EqualTo(("my net", "My Net.gguf")));
    }

    [Test]
    public void Known_names_are_unique_and_complete() => Assert.Multiple(() =>
    {
        Assert.That(KnownModels.All.Select(m => m.Name), Is.Unique);
        Assert.That(KnownModels.All, Has.All.Matches<KnownModel>(m => m!.Repository.Split('/').Length == 2 && m.FilePattern.EndsWith(".gguf", StringComparison.Ordinal) && m.Licence.Length > 0));
    });

    private static FaultyServer Serve(string json) =>
        new((_, _) => new($"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {Encoding.UTF8.GetByteCount(json)}\r\nConnection: close", Encoding.UTF8.GetBytes(json)));
}
