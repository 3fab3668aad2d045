using System.Text;
using System.Text.Json;
using ModelContextProtocol.Protocol;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>Answers that came too early or too long, and what a client makes of them.</summary>
[TestFixture("2025-11-25")]
[TestFixture("2026-07-28")]
public sealed class ContinuationTests(string era)
{
    private const int Tokens = 6000;

    private InProcessServer _server = null!;

    [SetUp]
    public async Task Start() => _server = await InProcessServer.StartAsync(era, s => s with { Server = s.Server with { InlineCharacters = 4_000 } });

    [TearDown]
    public async Task Stop() => await _server.DisposeAsync();

    [Test]
    public async Task CallsThatContinueGiveTheTextOfOneLongCall()
    {
        var whole = await TextOfAsync(await Call(("prompt", "The wheel"), ("model", Repository.EndlessModel), ("max_tokens", Tokens), ("seed", 5), ("temperature", 1), ("deadline_seconds", 600)));
        var text = new StringBuilder();
        var part = await Call(
            ("prompt", "The wheel"), ("model", Repository.EndlessModel), ("max_tokens", Tokens), ("seed", 5), ("temperature", 1), ("deadline_seconds", 0.05));
        text.Append(await TextOfAsync(part));
        var (calls, tokens) = (1, Count(part));
        while (Member(part, "continue_from") is { } handle)
        {
            Assert.That(Member(part, "stop_reason"), Is.EqualTo("deadline"));
            Assert.That(part.Content.OfType<TextContentBlock>().Last().Text, Does.Contain($"continue \"{handle}\""), "also for models that see the text only");

            // The same name may be used again, as by a client that lost an answer: here for an answer at once.
            var retried = await Call(("continue", handle), ("deadline_seconds", 0.05));
            Assert.That(retried.IsError, Is.Not.True);
            part = await Call(("continue", handle), ("deadline_seconds", calls++ < 3 ? 0.05 : 600));
            text.Append(await TextOfAsync(part));
            tokens += Count(part);
        }

        Assert.That(calls, Is.GreaterThan(2), "it was cut");
        Assert.That(Member(part, "stop_reason"), Is.EqualTo("length"));
        Assert.That(text.ToString(), Is.EqualTo(whole));
        Assert.That(tokens, Is.EqualTo(Tokens));
    }

    [Test]
    public async Task ANameContinuesOnlyWhatItNames()
    {
        var unknown = await Call(("continue", "AAAAAAAAAAAAAAAAAAAAAAAA"));
        Assert.That(unknown.IsError, Is.True);
        Assert.That(Text(unknown), Does.Contain("nothing to continue"));
        var mixed = await Call(("continue", "x"), ("prompt", "y"), ("seed", 2));
        Assert.That(Text(mixed), Does.Contain("leave out prompt, seed"));
    }

    [Test]
    public async Task ALongTextIsShownByItsBeginningAndReadAsAResource()
    {
        var answer = await Call(("prompt", "The wheel"), ("model", Repository.EndlessModel), ("max_tokens", Tokens), ("deadline_seconds", 600));
        var link = answer.Content.OfType<ResourceLinkBlock>().Single();
        Assert.That(Member(answer, "text_uri"), Is.EqualTo(link.Uri));
        Assert.That(Member(answer, "text"), Has.Length.LessThanOrEqualTo(2000));
        var whole = await TextOfAsync(answer);
        Assert.That(whole, Has.Length.GreaterThan(4000).And.StartsWith(Member(answer, "text")!));
        Assert.That(link.Size, Is.EqualTo(Encoding.UTF8.GetByteCount(whole)));
        Assert.That(async () => await _server.Client.ReadResourceAsync("result://AAAAAAAAAAAAAAAAAAAAAAAA"), Throws.InstanceOf<ModelContextProtocol.McpProtocolException>());
    }

    private async Task<CallToolResult> Call(params (string Name, object? Value)[] arguments) =>
        await _server.Client.CallToolAsync("generate", arguments.ToDictionary(a => a.Name, a => a.Value));

    private async Task<string> TextOfAsync(CallToolResult answer)
    {
        Assert.That(answer.IsError, Is.Not.True, Text(answer));
        return Member(answer, "text_uri") is { } uri
            ? ((TextResourceContents)(await _server.Client.ReadResourceAsync(uri)).Contents.Single()).Text
            : Member(answer, "text")!;
    }

    private static int Count(CallToolResult answer) => answer.StructuredContent!.Value.GetProperty("completion_tokens").GetInt32();

    private static string? Member(CallToolResult answer, string name) =>
        answer.StructuredContent!.Value.TryGetProperty(name, out JsonElement value) ? value.GetString() : null;

    private static string Text(CallToolResult result) => string.Concat(result.Content.OfType<TextContentBlock>().Select(block => block.Text));
}
