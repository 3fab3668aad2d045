using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.RegularExpressions;
using ModelContextProtocol;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;
using RyzenLlm.Mcp.Tests.Http;

namespace RyzenLlm.Mcp.Tests.Reliability;

/// <summary>
/// One row for each way into the server: a guest who knows the owner's ids, sessions and words tries it, and gets nothing of the owner's.
/// A way in without a row fails the test.
/// </summary>
public sealed partial class IsolationMatrixTests
{
    private const string Word = "marigold7431";
    private const string Session = "cellar-talks";
    private const string Scope = "heron-shelf";

    private HttpProgram _program = null!;
    private McpClient _owner = null!;
    private McpClient _guest = null!;
    private string _id = null!;
    private string _handle = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        _program = await HttpProgram.StartAsync($"Models:Folders:1={Path.GetDirectoryName(Repository.EndlessModel)}", "Server:Limits:RequestsPerMinute=0");
        _owner = await _program.ConnectAsync("2025-11-25");
        _guest = await _program.ConnectAsync("2025-11-25", HttpProgram.Guest);
        var stored = await _owner.CallToolAsync("store-context", new Dictionary<string, object?>
        {
            ["text"] = $"The safe opens with {Word}.",
            ["session"] = Session,
            ["scope"] = Scope,
        });
        _id = stored.StructuredContent!.Value.GetProperty("ids")[0].GetString()!;
        var part = await _owner.CallToolAsync("generate", new Dictionary<string, object?>
        {
            ["prompt"] = $"The {Word}",
            ["model"] = "endless",
            ["max_tokens"] = 100_000,
            ["deadline_seconds"] = 0.2,
            ["memory"] = "true",
            ["session"] = Session,
        });
        _handle = part.StructuredContent!.Value.GetProperty("continue_from").GetString()!;
    }

    [OneTimeTearDown]
    public async Task Stop()
    {
        await _guest.DisposeAsync();
        await _owner.DisposeAsync();
        await _program.DisposeAsync();
    }

    /// <summary>Whatever happens in the rows, the owner's things are still there.</summary>
    [TearDown]
    public async Task TheOwnerHasLostNothing()
    {
        var found = await _owner.CallToolAsync("recall-context", new Dictionary<string, object?> { ["query"] = $"safe {Word}", ["session"] = Session });
        Assert.That(TextOf(found), Does.Contain(Word));
        var models = await _owner.CallToolAsync("model-select", new Dictionary<string, object?>());
        Assert.That(models.StructuredContent!.Value.GetProperty("default").GetString(), Is.EqualTo("mamba-f32"), "another tenant's choice is not ours");
    }

    [Test]
    public async Task EveryToolHasItsRows()
    {
        var rows = new Dictionary<string, Dictionary<string, object?>[]>
        {
            ["generate"] = [new() { ["prompt"] = "What opens the safe?", ["max_tokens"] = 2, ["memory"] = "true", ["session"] = "of the guest" }, new() { ["continue"] = _handle }],
            ["model-select"] = [new() { ["action"] = "choose", ["model"] = "rwkv7-f32" }, new() { ["action"] = "show", ["model"] = "/etc/passwd" }, new()],
            ["recall-context"] = [new() { ["query"] = "how does the safe open" }, new() { ["query"] = "safe", ["session"] = Session, ["scope"] = Scope, ["include_past"] = true, ["format"] = "full" }],
            ["store-context"] = [new() { ["text"] = "The safe is open.", ["supersedes"] = _id }, new() { ["text"] = "The safe is open.", ["supersedes"] = _id[..8] }],
            ["forget-context"] =
            [
                new() { ["ids"] = new[] { _id }, ["dry_run"] = false, ["confirm"] = 1 }, new() { ["session"] = Session, ["dry_run"] = false, ["confirm"] = 1 },
                new() { ["scope"] = Scope }, new() { ["everything"] = true },
            ],
            ["share-context"] =
            [
                new() { ["ids"] = new[] { _id } }, new() { ["ids"] = new[] { _id[..8] } }, new() { ["session"] = Session, ["with"] = "third" },
                new() { ["scope"] = Scope }, new() { ["session"] = Session, ["stop"] = true },
            ],
        };
        Assert.That((await _guest.ListToolsAsync()).Select(t => t.Name), Is.EquivalentTo(rows.Keys), "a tool without a row");
        foreach (var (tool, calls) in rows)
        {
            foreach (var call in calls)
            {
                var result = await _guest.CallToolAsync(tool, call);
                var text = JsonSerializer.Serialize(result, McpJsonUtilities.DefaultOptions);
                Assert.That(Without(text, call), Does.Not.Contain(Word).And.Not.Contain(Session).And.Not.Contain("root:"), $"{tool}: {text}");
                if (tool == "forget-context")
                {
                    Assert.That(result.IsError == true || result.StructuredContent!.Value.GetProperty("deleted").GetInt32() == 0, text);
                }

                if (tool == "share-context")
                {
                    Assert.That(result.IsError == true || result.StructuredContent!.Value.GetProperty("units").GetInt32() == 0, text);
                }

                if (call.ContainsKey("supersedes") || call.ContainsKey("continue") || call.GetValueOrDefault("model") is "/etc/passwd")
                {
                    Assert.That(result.IsError, Is.True, text);
                }
            }
        }
    }

    [Test]
    public async Task AStoreOfTheSameTextTellsNothingAboutOthers()
    {
        var stored = await _guest.CallToolAsync("store-context", new Dictionary<string, object?> { ["text"] = $"The safe opens with {Word}.", ["session"] = Session, ["scope"] = Scope });
        Assert.That(stored.StructuredContent!.Value.GetProperty("stored").GetInt32(), Is.EqualTo(1), "not known already");
        Assert.That(stored.StructuredContent!.Value.GetProperty("ids")[0].GetString(), Is.Not.EqualTo(_id));
        await _guest.CallToolAsync("forget-context", new Dictionary<string, object?> { ["session"] = Session, ["dry_run"] = false, ["confirm"] = 1 });
    }

    /// <summary>What is shared shows through the ways that are there for it, and no other; and through none when sharing has ended.</summary>
    [Test]
    public async Task WhatIsSharedIsReadMarkedAndNothingElse()
    {
        const string said = "The lantern marigold7432 hangs in the boat house.";
        var stored = await _owner.CallToolAsync("store-context", new Dictionary<string, object?> { ["text"] = said, ["session"] = "boat-talks" });
        var id = stored.StructuredContent!.Value.GetProperty("ids")[0].GetString()!;
        var question = new Dictionary<string, object?> { ["query"] = "where does the lantern hang" };
        await _owner.CallToolAsync("share-context", new Dictionary<string, object?> { ["ids"] = new[] { id }, ["with"] = "guests" });
        var found = await _guest.CallToolAsync("recall-context", question);
        Assert.That(TextOf(found), Does.Contain("[shared by home]").And.Contain(said).And.Not.Contain(Word + "."));
        Assert.That(found.StructuredContent!.Value.GetProperty("units")[0].GetProperty("shared_by").GetString(), Is.EqualTo("home"));
        Assert.That(await ReadAsync($"rsu://{id}"), Does.Contain(said));
        var written = await _guest.CallToolAsync("generate", new Dictionary<string, object?> { ["prompt"] = "Where does the lantern hang?", ["max_tokens"] = 2, ["memory"] = "true", ["session"] = "of the guest" });
        Assert.That(JsonSerializer.Serialize(written, McpJsonUtilities.DefaultOptions), Does.Not.Contain(id), "prompts hold nothing of others unasked");
        var listed = await GuestAsync(HttpMethod.Get, "/api/memory?query=lantern");
        Assert.That(listed, Does.Not.Contain("marigold"), "the page shows the guest's own");
        var forgotten = await _guest.CallToolAsync("forget-context", new Dictionary<string, object?> { ["ids"] = new[] { id }, ["dry_run"] = false, ["confirm"] = 1 });
        Assert.That(forgotten.IsError == true || forgotten.StructuredContent!.Value.GetProperty("deleted").GetInt32() == 0);
        await GuestAsync(HttpMethod.Delete, $"/api/memory/{id}");
        Assert.That(TextOf(await _guest.CallToolAsync("recall-context", question)), Does.Contain(said), "it is not the guest's to delete");

        await _owner.CallToolAsync("share-context", new Dictionary<string, object?> { ["ids"] = new[] { id }, ["stop"] = true });
        Assert.That(TextOf(await _guest.CallToolAsync("recall-context", question)), Does.Not.Contain("marigold"));
        Assert.That(await ReadAsync($"rsu://{id}"), Is.EqualTo(await ReadAsync($"rsu://{Guid.NewGuid()}")));
        var audit = await File.ReadAllLinesAsync(_program.AuditLog);
        Assert.That(audit.Count(l => l.Contains("\"read\"", StringComparison.Ordinal) && l.Contains("\"tenant\":\"guests\"", StringComparison.Ordinal) && l.Contains(id, StringComparison.Ordinal)), Is.EqualTo(3));
        Assert.That(audit.Count(l => l.Contains("share\"", StringComparison.Ordinal) && l.Contains(id, StringComparison.Ordinal)), Is.EqualTo(2));
    }

    [Test]
    public async Task EveryResourceHasItsRow()
    {
        var rows = new Dictionary<string, string> { ["model://{name}"] = "model://mamba-f32", ["rsu://{id}"] = $"rsu://{_id}", ["result://{name}"] = $"result://{_handle}" };
        var templates = (await _guest.ListResourceTemplatesAsync()).Select(t => t.UriTemplate).ToList();
        Assert.That(templates, Is.EquivalentTo(rows.Keys), "a template without a row");
        var listed = (await _guest.ListResourcesAsync()).Select(r => r.Uri).ToList();
        foreach (var uri in rows.Values.Concat(listed))
        {
            Assert.That(await ReadAsync(uri), Does.Not.Contain(Word).And.Not.Contain(Session), uri);
        }

        Assert.That(await ReadAsync($"rsu://{_id}"), Is.EqualTo(await ReadAsync($"rsu://{Guid.NewGuid()}")), "another's unit is like one that never was");
    }

    [Test]
    public async Task CompletionsKnowTheCallersOwn()
    {
        Assert.That((await _owner.CompleteAsync(new ResourceTemplateReference { Uri = "rsu://{id}" }, "id", _id[..4])).Completion.Values, Does.Contain(_id));
        Assert.That((await _guest.CompleteAsync(new ResourceTemplateReference { Uri = "rsu://{id}" }, "id", "")).Completion.Values, Does.Not.Contain(_id));
        foreach (var prompt in await _guest.ListPromptsAsync())
        {
            foreach (var argument in prompt.ProtocolPrompt.Arguments ?? [])
            {
                var values = (await _guest.CompleteAsync(new PromptReference { Name = prompt.Name }, argument.Name, "")).Completion.Values;
                Assert.That(values, Does.Not.Contain(Scope).And.Not.Contain(_id), $"{prompt.Name} {argument.Name}");
            }

            var given = (prompt.ProtocolPrompt.Arguments ?? []).ToDictionary(a => a.Name, _ => (object?)"safe");
            var text = JsonSerializer.Serialize(await _guest.GetPromptAsync(prompt.Name, given), McpJsonUtilities.DefaultOptions);
            Assert.That(text, Does.Not.Contain(Word).And.Not.Contain(Session), prompt.Name);
        }
    }

    [Test]
    public async Task EveryAddressHasItsRow()
    {
        var rows = new Dictionary<string, (HttpMethod Method, string Path, object? Body)>
        {
            ["/health/live"] = (HttpMethod.Get, "/health/live", null),
            ["/health/ready"] = (HttpMethod.Get, "/health/ready", null),
            ["/api/status"] = (HttpMethod.Get, "/api/status", null),
            ["/api/generate"] = (HttpMethod.Post, "/api/generate", new { prompt = "The safe", max_tokens = 2 }),
            ["/api/memory"] = (HttpMethod.Get, $"/api/memory?query=safe&session={Session}&scope={Scope}", null),
            ["/api/memory/map"] = (HttpMethod.Get, "/api/memory/map", null),
            ["/api/memory/{id}"] = (HttpMethod.Get, $"/api/memory/{_id}", null),
            ["DELETE /api/memory/{id}"] = (HttpMethod.Delete, $"/api/memory/{_id}", null),
        };
        Assert.That(Addresses(), Is.EquivalentTo(rows.Keys), "an address without a row");
        foreach (var (address, (method, path, body)) in rows)
        {
            using var request = new HttpRequestMessage(method, path) { Content = body is null ? null : JsonContent.Create(body) };
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", HttpProgram.Guest);
            using var answer = await _program.Http.SendAsync(request);
            var text = await answer.Content.ReadAsStringAsync();
            Assert.That(text, Does.Not.Contain(Word).And.Not.Contain(Session).And.Not.Contain(Scope), address);
            if (!address.StartsWith("/health", StringComparison.Ordinal))
            {
                using var anonymous = await _program.Http.SendAsync(new HttpRequestMessage(method, path) { Content = body is null ? null : JsonContent.Create(body) });
                Assert.That((int)anonymous.StatusCode, Is.EqualTo(401), $"{address} without credentials");
            }
        }
    }

    [Test]
    public async Task ASessionOfTheProtocolIsNoKeyToAnothersThings()
    {
        Assert.That(_owner.SessionId, Is.Not.Null);
        var call = """{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"recall-context","arguments":{"query":"how does the safe open"}}}""";
        using var request = HttpProgram.Post(new StringContent(call, System.Text.Encoding.UTF8, "application/json"), HttpProgram.Guest);
        request.Headers.Add("Mcp-Session-Id", _owner.SessionId);
        using var answer = await _program.Http.SendAsync(request);
        Assert.That(answer.IsSuccessStatusCode, Is.False);
        Assert.That(await answer.Content.ReadAsStringAsync(), Does.Not.Contain(Word));
    }

    // Every route that the sources map; those of the page itself serve the same files to everybody.
    private static IEnumerable<string> Addresses() => Directory.EnumerateFiles(Path.Combine(Repository.Root, "src", "RyzenLlm.Mcp", "Http"), "*.cs", SearchOption.AllDirectories)
        .SelectMany(file => Route().Matches(File.ReadAllText(file)))
        .Select(m => $"{(m.Groups["verb"].Value == "Delete" ? "DELETE " : "")}{(m.Groups["owner"].Value == "api" ? "/api" : "")}{m.Groups["path"].Value}");

    private async Task<string> GuestAsync(HttpMethod method, string path)
    {
        using var request = new HttpRequestMessage(method, path);
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", HttpProgram.Guest);
        using var answer = await _program.Http.SendAsync(request);
        return await answer.Content.ReadAsStringAsync();
    }

    private async Task<string> ReadAsync(string uri)
    {
        try
        {
            return string.Concat((await _guest.ReadResourceAsync(uri)).Contents.OfType<TextResourceContents>().Select(c => c.Text));
        }
        catch (McpException e)
        {
            return MyIds().Replace(e.Message, "").Replace(uri, "", StringComparison.Ordinal);
        }
    }

    // What the guest said itself may come back.
    private static string Without(string text, Dictionary<string, object?> call) =>
        call.Values.OfType<string>().Aggregate(text, (left, said) => left.Replace(said, "", StringComparison.Ordinal));

    private static string TextOf(CallToolResult result) => string.Concat(result.Content.OfType<TextContentBlock>().Select(t => t.Text));

    [GeneratedRegex(@"(?<owner>\w+)\.Map(?<verb>Get|Post|Delete|Put)\(.(?<path>/[\w/{}]*)")]
    private static partial Regex Route();

    [GeneratedRegex("[0-9a-f]{8}-[0-9a-f-]{27}")]
    private static partial Regex MyIds();
}
