using System.Diagnostics;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace RyzenLlm.Mcp.Tests.Http;

/// <summary>The status page and what it asks the server; the built program serves.</summary>
public sealed partial class PageTests
{
    private HttpProgram _program = null!;

    [OneTimeSetUp]
    public async Task Start() => _program = await HttpProgram.StartAsync(
        $"Models:Folders:1={Path.GetDirectoryName(Repository.EndlessModel)}", "Models:Default=endless", "Server:Limits:RequestsPerMinute=0");

    [OneTimeTearDown]
    public async Task Stop() => await _program.DisposeAsync();

    /// <summary>Needs Node.js, Chromium and the packages of test/Page (npm ci there).</summary>
    [Test]
    public async Task APersonUsesItInABrowser()
    {
        var folder = Path.Combine(Repository.Root, "test", "Page");
        if (!Directory.Exists(Path.Combine(folder, "node_modules")) || !File.Exists(Environment.GetEnvironmentVariable("CHROMIUM") ?? "/usr/bin/chromium"))
        {
            const string missing = "There is no Chromium, or the packages of test/Page are not installed (npm ci).";
            if (Environment.GetEnvironmentVariable("RYZENLLM_REQUIRE_BROWSER") == "1")
            {
                Assert.Fail(missing);
            }

            Assert.Ignore(missing);
        }

        await using (var client = await _program.ConnectAsync("2026-07-28"))
        {
            foreach (var text in new[] { "The harbour master keeps a grey heron.", "The form of customer 4711 held <script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">." })
            {
                Assert.That((await client.CallToolAsync("store-context", new Dictionary<string, object?> { ["text"] = text })).IsError, Is.Not.True);
            }
        }

        var shots = Directory.CreateTempSubdirectory("ryzenllm-page-").FullName;
        var start = new ProcessStartInfo("node", ["page.mjs", _program.Address.GetLeftPart(UriPartial.Authority), HttpProgram.Owner, shots])
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Process.Start(start)!;
        var said = await Task.WhenAll(process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await BuiltProgram.WaitAsync(process);
        Assert.That(process.ExitCode, Is.Zero, string.Concat(said));
        Assert.That(Directory.GetFiles(shots, "*.png"), Is.Not.Empty);
        Directory.Delete(shots, recursive: true);
    }

    [Test]
    public async Task TheFilesAreServedUnderAStrictPolicyAndHoldNothingOfAnybodys()
    {
        foreach (var (path, type) in new[] { ("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript"), ("/icon.svg", "image/svg+xml") })
        {
            using var answer = await _program.Http.GetAsync(path);
            Assert.That(answer.StatusCode, Is.EqualTo(HttpStatusCode.OK), path);
            Assert.That(answer.Content.Headers.ContentType!.MediaType, Is.EqualTo(type));
            Assert.That(answer.Headers.GetValues("Content-Security-Policy").Single(), Does.StartWith("default-src 'none'").And.Not.Contain("unsafe"));
            Assert.That(answer.Headers.GetValues("X-Content-Type-Options").Single(), Is.EqualTo("nosniff"));
            var content = await answer.Content.ReadAsStringAsync();
            Assert.That(OtherSite().Matches(content).Select(m => m.Value).Where(url => url != "http://www.w3.org/2000/svg"), Is.Empty, path);
            Assert.That(Unsafe().IsMatch(content), Is.False, path);
        }
    }

    [Test]
    public async Task NothingIsToldWithoutAToken()
    {
        foreach (var path in new[] { "/api/status", "/api/memory", "/api/memory/map", "/metrics" })
        {
            using var answer = await _program.Http.GetAsync(path);
            Assert.That(answer.StatusCode, Is.EqualTo(HttpStatusCode.Unauthorized), path);
        }

        using var generated = await _program.Http.SendAsync(HttpProgram.Post(new StringContent("{}", Encoding.UTF8, "application/json"), token: null, path: "/api/generate"));
        Assert.That(generated.StatusCode, Is.EqualTo(HttpStatusCode.Unauthorized));
    }

    [Test]
    public async Task ATokenShowsWhatItsScopesAndTenantAllow()
    {
        string id;
        await using (var client = await _program.ConnectAsync("2026-07-28"))
        {
            var stored = await client.CallToolAsync("store-context", new Dictionary<string, object?> { ["text"] = "The lighthouse at Brimhaven is striped.", ["session"] = "page" });
            id = stored.StructuredContent!.Value.GetProperty("ids")[0].GetString()!;
        }

        var (found, units) = await AskAsync(HttpMethod.Get, "/api/memory?query=lighthouse", HttpProgram.Reader);
        Assert.That(found, Is.EqualTo(HttpStatusCode.OK));
        Assert.That(units.GetProperty("units")[0].GetProperty("id").GetString(), Is.EqualTo(id));
        Assert.That((await AskAsync(HttpMethod.Get, $"/api/memory/{id}", HttpProgram.Reader)).Code, Is.EqualTo(HttpStatusCode.OK));
        Assert.That((await AskAsync(HttpMethod.Delete, $"/api/memory/{id}", HttpProgram.Reader)).Code, Is.EqualTo(HttpStatusCode.Forbidden), "no scope forget");
        Assert.That((await AskAsync(HttpMethod.Get, $"/api/memory/{id}", HttpProgram.Guest)).Code, Is.EqualTo(HttpStatusCode.NotFound), "another tenant");
        Assert.That((await AskAsync(HttpMethod.Delete, $"/api/memory/{id}", HttpProgram.Guest)).Answer.GetProperty("deleted").GetInt32(), Is.Zero, "another tenant");
        Assert.That((await AskAsync(HttpMethod.Get, "/api/memory/map", HttpProgram.Guest)).Answer.GetArrayLength(), Is.Zero, "another tenant");
        var (_, forgotten) = await AskAsync(HttpMethod.Delete, $"/api/memory/{id}", HttpProgram.Owner);
        Assert.That(forgotten.GetProperty("deleted").GetInt32(), Is.EqualTo(1));
        Assert.That((await _program.StatusAsync(HttpProgram.Reader)).GetProperty("scopes").EnumerateArray().Select(s => s.GetString()), Is.EqualTo(new[] { "recall", "models" }));
    }

    [TestCase("/api/memory?skip=x", "skip must be a whole number")]
    [TestCase("/api/memory/no-id", "whole id")]
    public async Task WhatCannotBeAnsweredIsSaid(string path, string message)
    {
        var (code, answer) = await AskAsync(HttpMethod.Get, path, HttpProgram.Owner);
        Assert.That(code, Is.EqualTo(HttpStatusCode.BadRequest));
        Assert.That(answer.GetProperty("error").GetString(), Does.Contain(message));
    }

    [TestCase("""{"prompt":""}""", "prompt must be")]
    [TestCase("""{"prompt":"x","model":"/etc/passwd"}""", "no model named")]
    [TestCase("""{"prompt":"x","max_tokens":0}""", "max_tokens must be")]
    [TestCase("""{"prompt":"x","surprise":1}""", "not the JSON")]
    [TestCase("""{"prompt":""", "not the JSON")]
    public async Task AQuestionThatCannotBeAnsweredIsRefusedBeforeAStreamBegins(string question, string message)
    {
        using var answer = await _program.Http.SendAsync(HttpProgram.Post(new StringContent(question, Encoding.UTF8, "application/json"), path: "/api/generate"));
        Assert.That(answer.StatusCode, Is.EqualTo(HttpStatusCode.BadRequest));
        Assert.That(JsonDocument.Parse(await answer.Content.ReadAsStringAsync()).RootElement.GetProperty("error").GetString(), Does.Contain(message));
    }

    [Test]
    public async Task TheModelMayBeChosenForTheQuestion()
    {
        var question = new StringContent("""{"prompt":"The wheel","max_tokens":3,"model":"auto"}""", Encoding.UTF8, "application/json");
        using var answer = await _program.Http.SendAsync(HttpProgram.Post(question, path: "/api/generate"));
        var said = await answer.EnsureSuccessStatusCode().Content.ReadAsStringAsync();
        var done = JsonDocument.Parse(said[(said.IndexOf("event: done\ndata: ") + "event: done\ndata: ".Length)..]).RootElement;
        Assert.That(done.GetProperty("completion_tokens").GetInt32(), Is.EqualTo(3));
        Assert.That(done.GetProperty("model_reason").GetString(), Does.StartWith(done.GetProperty("model").GetString()!));
        Assert.That(await _program.Http.GetStringAsync("/page.js"), Does.Contain("names.push('auto')"));
    }

    private async Task<(HttpStatusCode Code, JsonElement Answer)> AskAsync(HttpMethod method, string path, string token)
    {
        var request = new HttpRequestMessage(method, path);
        request.Headers.Authorization = new("Bearer", token);
        using var answer = await _program.Http.SendAsync(request);
        return (answer.StatusCode, JsonDocument.Parse(await answer.Content.ReadAsStringAsync()).RootElement);
    }

    [GeneratedRegex("""https?://[^"'\s]+""")]
    private static partial Regex OtherSite();

    [GeneratedRegex("""innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\son\w+="|\sstyle=""")]
    private static partial Regex Unsafe();
}
