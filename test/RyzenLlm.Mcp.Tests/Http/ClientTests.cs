using System.Text.Json;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;
using RyzenLlm.Mcp.Tests.Server;

namespace RyzenLlm.Mcp.Tests.Http;

/// <summary>Clients of both eras and of the older transport, with the built program.</summary>
public sealed class ClientTests
{
    private HttpProgram _program = null!;

    [OneTimeSetUp]
    public async Task Start() => _program = await HttpProgram.StartAsync();

    [OneTimeTearDown]
    public async Task Stop() => await _program.DisposeAsync();

    [TestCase("2025-11-25", false)]
    [TestCase("2026-07-28", false)]
    [TestCase("2025-11-25", true)]
    public async Task AClientGeneratesStoresRecallsAndForgets(string era, bool sse)
    {
        await using var client = await _program.ConnectAsync(era, sse: sse);
        Assert.That(client.NegotiatedProtocolVersion, Is.EqualTo(era));
        Assert.That((await client.ListToolsAsync()).Select(t => t.Name), Is.EqualTo(ToolTests.Tools));
        var generated = await CallAsync(client, "generate", new() { ["prompt"] = "The wheel", ["max_tokens"] = 8 });
        Assert.That(generated.GetProperty("text").GetString(), Is.Not.Empty);
        var session = $"{era} {sse}";
        await CallAsync(client, "store-context", new() { ["text"] = $"The harbour master of {session} keeps a heron.", ["session"] = session });
        var recalled = await CallAsync(client, "recall-context", new() { ["query"] = "harbour master heron", ["session"] = session });
        Assert.That(recalled.GetProperty("text").GetString(), Does.Contain("heron"));
        var forgotten = await CallAsync(client, "forget-context", new() { ["session"] = session, ["dry_run"] = false, ["confirm"] = 1 });
        Assert.That(forgotten.GetProperty("remaining").GetInt32(), Is.Zero);
    }

    [TestCase("2025-11-25", false)]
    [TestCase("2026-07-28", false)]
    [TestCase("2025-11-25", true)]
    public async Task EachTenantSeesItsOwnMemoryOnly(string era, bool sse)
    {
        await using var owner = await _program.ConnectAsync(era, HttpProgram.Owner, sse);
        await using var guest = await _program.ConnectAsync(era, HttpProgram.Guest, sse);
        await CallAsync(owner, "store-context", new() { ["text"] = $"The safe opens with marigold, {era} {sse}.", ["session"] = "tenants" });
        var query = new Dictionary<string, object?> { ["query"] = "how does the safe open", ["session"] = "tenants" };
        Assert.That((await CallAsync(owner, "recall-context", query)).GetProperty("text").GetString(), Does.Contain("marigold"));
        Assert.That((await CallAsync(guest, "recall-context", query)).GetProperty("text").GetString(), Is.Empty);
        var everything = await CallAsync(guest, "forget-context", new() { ["everything"] = true });
        Assert.That(everything.GetProperty("matched").GetInt32(), Is.Zero);
    }

    [TestCase("2025-11-25", false)]
    [TestCase("2026-07-28", false)]
    [TestCase("2025-11-25", true)]
    public async Task WhatATokenDoesNotAllowIsNeitherListedNorDone(string era, bool sse)
    {
        await using var reader = await _program.ConnectAsync(era, HttpProgram.Reader, sse);
        Assert.That((await reader.ListToolsAsync()).Select(t => t.Name), Is.EquivalentTo(new[] { "recall-context", "model-select" }));
        await CallAsync(reader, "recall-context", new() { ["query"] = "anything" });
        foreach (var (tool, scope) in new[] { ("generate", "generate"), ("store-context", "store"), ("forget_context", "forget"), ("share-context", "share") })
        {
            if (!sse)
            {
                // This client names the tool in headers, so the transport refuses before the protocol sees the call.
                Assert.That(
                    async () => await reader.CallToolAsync(tool, new Dictionary<string, object?> { ["prompt"] = "x", ["text"] = "x", ["everything"] = true }),
                    Throws.InstanceOf<HttpRequestException>().With.Message.Contains("403"));
                continue;
            }

            var refused = await reader.CallToolAsync(tool, new Dictionary<string, object?> { ["prompt"] = "x", ["text"] = "x", ["everything"] = true });
            Assert.That(refused.IsError, Is.True);
            Assert.That(refused.Content.OfType<TextContentBlock>().Single().Text, Does.Contain($"needs the scope '{scope}'"));
        }
    }

    private static async Task<JsonElement> CallAsync(McpClient client, string tool, Dictionary<string, object?> arguments)
    {
        var result = await client.CallToolAsync(tool, arguments);
        Assert.That(result.IsError, Is.Not.True, () => string.Join('\n', result.Content.OfType<TextContentBlock>().Select(t => t.Text)));
        return result.StructuredContent!.Value;
    }
}
