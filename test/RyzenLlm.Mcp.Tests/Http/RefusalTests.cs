using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;

namespace RyzenLlm.Mcp.Tests.Http;

/// <summary>What an HTTP server must not let in, with the built program.</summary>
public sealed class RefusalTests
{
    private const string Initialize =
        """{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}""";

    private HttpProgram _program = null!;

    [OneTimeSetUp]
    public async Task Start() => _program = await HttpProgram.StartAsync("Server:Limits:RequestBytes=20000", "Server:AllowedOrigins:0=https://app.example", "Server:AllowedHosts:0=ryzen.example");

    [OneTimeTearDown]
    public async Task Stop() => await _program.DisposeAsync();

    [TearDown]
    public async Task TheServerIsAlive()
    {
        using var answer = await _program.Http.SendAsync(HttpProgram.Post(Json(Initialize)));
        Assert.That(answer.StatusCode, Is.EqualTo(HttpStatusCode.OK));
    }

    [TestCase("evil.example", ExpectedResult = HttpStatusCode.BadRequest)]
    [TestCase("localhost.evil.example", ExpectedResult = HttpStatusCode.BadRequest)]
    [TestCase("169.254.1.1", ExpectedResult = HttpStatusCode.BadRequest)]
    [TestCase("ryzen.example", ExpectedResult = HttpStatusCode.OK)]
    [TestCase("localhost", ExpectedResult = HttpStatusCode.OK)]
    public async Task<HttpStatusCode> HostsAreFiltered(string host)
    {
        var request = HttpProgram.Post(Json(Initialize));
        request.Headers.Host = $"{host}:{_program.Address.Port}";
        using var answer = await _program.Http.SendAsync(request);
        return answer.StatusCode;
    }

    [TestCase("http://evil.example", ExpectedResult = HttpStatusCode.Forbidden)]
    [TestCase("null", ExpectedResult = HttpStatusCode.Forbidden)]
    [TestCase("http://127.0.0.1:1", ExpectedResult = HttpStatusCode.Forbidden)]
    [TestCase("https://app.example.evil.example", ExpectedResult = HttpStatusCode.Forbidden)]
    [TestCase("https://app.example", ExpectedResult = HttpStatusCode.OK)]
    [TestCase("own", ExpectedResult = HttpStatusCode.OK)]
    public async Task<HttpStatusCode> OriginsAreChecked(string origin)
    {
        var request = HttpProgram.Post(Json(Initialize));
        request.Headers.TryAddWithoutValidation("Origin", origin == "own" ? _program.Address.GetLeftPart(UriPartial.Authority) : origin);
        using var answer = await _program.Http.SendAsync(request);
        if (answer.StatusCode == HttpStatusCode.Forbidden)
        {
            await AssertErrorAsync(answer, "origin");
        }

        return answer.StatusCode;
    }

    [Test]
    public async Task OnlyAllowedPagesMayReadAnswers()
    {
        foreach (var (origin, allowed) in new[] { ("https://app.example", true), (_program.Address.GetLeftPart(UriPartial.Authority), false) })
        {
            var request = new HttpRequestMessage(HttpMethod.Options, "/mcp");
            request.Headers.TryAddWithoutValidation("Origin", origin);
            request.Headers.TryAddWithoutValidation("Access-Control-Request-Method", "POST");
            using var answer = await _program.Http.SendAsync(request);
            Assert.That(answer.Headers.Contains("Access-Control-Allow-Origin"), Is.EqualTo(allowed), origin);
        }
    }

    [TestCase("/mcp")]
    [TestCase("/mcp/message")]
    public async Task WithoutATokenOrWithAWrongOneNobodyGetsIn(string path)
    {
        using var without = await _program.Http.SendAsync(HttpProgram.Post(Json(Initialize), token: null, path));
        Assert.That(without.StatusCode, Is.EqualTo(HttpStatusCode.Unauthorized));
        Assert.That(without.Headers.WwwAuthenticate.ToString(), Does.StartWith("Bearer").And.Not.Contain("invalid_token"));
        await AssertErrorAsync(without, "Authorization: Bearer");
        foreach (var wrong in new[] { HttpProgram.Owner[..^1], HttpProgram.Owner + "0", HttpProgram.Owner.ToUpperInvariant(), "x" })
        {
            using var answer = await _program.Http.SendAsync(HttpProgram.Post(Json(Initialize), wrong, path));
            Assert.That(answer.StatusCode, Is.EqualTo(HttpStatusCode.Unauthorized));
            Assert.That(answer.Headers.WwwAuthenticate.ToString(), Does.Contain("invalid_token"));
        }

        using var sse = await _program.Http.GetAsync("/mcp/sse");
        Assert.That(sse.StatusCode, Is.EqualTo(HttpStatusCode.Unauthorized));
    }

    [TestCase(true)]
    [TestCase(false)]
    public async Task AnOversizedBodyIsRefused(bool announced)
    {
        var content = Json(Initialize.Replace("\"name\":\"test\"", $"\"name\":\"{new string('x', 30_000)}\""));
        var request = HttpProgram.Post(content);
        if (!announced)
        {
            request.Headers.TransferEncodingChunked = true;
        }

        using var answer = await _program.Http.SendAsync(request);
        Assert.That(answer.StatusCode, Is.EqualTo(HttpStatusCode.RequestEntityTooLarge));
        await AssertErrorAsync(answer, "20000 bytes");
    }

    [Test]
    public async Task TooManyHeadersAreRefused()
    {
        var request = HttpProgram.Post(Json(Initialize));
        request.Headers.Add("X-Long", new string('x', 17_000));
        using var answer = await _program.Http.SendAsync(request);
        Assert.That(answer.StatusCode, Is.EqualTo(HttpStatusCode.RequestHeaderFieldsTooLarge));
    }

    [Test]
    public async Task HealthIsOpenAndSaysNothingElse()
    {
        Assert.That(await _program.Http.GetStringAsync("/health/live"), Is.EqualTo("live"));
        Assert.That(await _program.Http.GetStringAsync("/health/ready"), Is.EqualTo("ready"));
    }

    private static StringContent Json(string text) => new(text, Encoding.UTF8, new MediaTypeHeaderValue("application/json"));

    private static async Task AssertErrorAsync(HttpResponseMessage answer, string message)
    {
        var error = JsonDocument.Parse(await answer.Content.ReadAsStringAsync()).RootElement;
        Assert.That(error.GetProperty("jsonrpc").GetString(), Is.EqualTo("2.0"));
        Assert.That(error.GetProperty("error").GetProperty("message").GetString(), Does.Contain(message));
    }
}
