using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;

namespace RyzenLlm.Mcp.Tests.Http;

/// <summary>Clients that go away in the middle of a generation that would take an hour; the built program serves.</summary>
public sealed class DisconnectTests
{
    private HttpProgram _program = null!;

    [OneTimeSetUp]
    public async Task Start() => _program = await HttpProgram.StartAsync(
        $"Models:Folders:1={Path.GetDirectoryName(Repository.EndlessModel)}", "Server:Limits:RequestsPerMinute=0", "Server:Limits:ConcurrentCalls=4");

    [OneTimeTearDown]
    public async Task Stop() => await _program.DisposeAsync();

    [TestCase("2025-11-25", false)]
    [TestCase("2026-07-28", false)]
    [TestCase("2025-11-25", true)]
    public async Task TheGenerationOfAClientWhoseConnectionsBreakEnds(string era, bool sse)
    {
        // A client that dies says nothing more: its connections just end.
        var sockets = new ConcurrentBag<Socket>();
        var connections = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (context, cancel) =>
        {
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            sockets.Add(socket);
            await socket.ConnectAsync(context.DnsEndPoint, cancel);
            return new NetworkStream(socket, ownsSocket: true);
        }
        });
        await using var client = await _program.ConnectAsync(era, sse: sse, connections: connections);
        var call = client.CallToolAsync("generate", Endless()).AsTask();
        await _program.WaitForPendingAsync(1);
        var broke = Stopwatch.GetTimestamp();
        foreach (var socket in sockets)
        {
            socket.Close(0);
        }

        await _program.WaitForPendingAsync(0);
        TestContext.Out.WriteLine($"{era}{(sse ? " SSE" : "")}: cancelled {Stopwatch.GetElapsedTime(broke).TotalMilliseconds:0} ms after the connection broke");
        Assert.That(async () => await call, Throws.Exception);
    }

    [TestCase("2025-11-25")]
    [TestCase("2026-07-28")]
    public async Task TheGenerationOfACancelledCallEnds(string era)
    {
        await using var client = await _program.ConnectAsync(era);
        using var cancel = new CancellationTokenSource();
        var call = client.CallToolAsync("generate", Endless(), cancellationToken: cancel.Token).AsTask();
        await _program.WaitForPendingAsync(1);
        await cancel.CancelAsync();
        await _program.WaitForPendingAsync(0);
        Assert.That(async () => await call, Throws.InstanceOf<OperationCanceledException>());
    }

    [Test]
    public async Task TheGenerationOfACallThatTheOlderTransportCancelsEnds()
    {
        await using var client = await _program.ConnectAsync("2025-11-25", sse: true);
        _ = client.CallToolAsync("generate", Endless()).AsTask();
        await _program.WaitForPendingAsync(1);
        await client.SendNotificationAsync(NotificationMethods.CancelledNotification, new CancelledNotificationParams { RequestId = new(2L) }); // the first was initialize
        await _program.WaitForPendingAsync(0);
    }

    [Test]
    public async Task TheGenerationOfAClosedSessionEnds()
    {
        var client = await _program.ConnectAsync("2025-11-25");
        var call = client.CallToolAsync("generate", Endless()).AsTask();
        await _program.WaitForPendingAsync(1);
        await client.DisposeAsync();
        await _program.WaitForPendingAsync(0);
        Assert.That(async () => await call, Throws.Exception);
    }

    [Test]
    public async Task TheGenerationOfAPageThatIsClosedEnds()
    {
        using var connections = new HttpClient { BaseAddress = _program.Address };
        var request = HttpProgram.Post(
            new StringContent("""{"prompt":"The wheel","max_tokens":1000000,"model":"endless"}""", Encoding.UTF8, "application/json"), path: "/api/generate");
        var answer = await connections.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        using var reader = new StreamReader(await answer.EnsureSuccessStatusCode().Content.ReadAsStreamAsync());
        Assert.That(await reader.ReadLineAsync(), Is.EqualTo("event: text"));
        Assert.That(JsonSerializer.Deserialize<string>((await reader.ReadLineAsync())!["data: ".Length..]), Is.Not.Empty);
        await _program.WaitForPendingAsync(1);
        answer.Dispose();
        await _program.WaitForPendingAsync(0);
    }

    [Test]
    public async Task ATenantHasOnlySoManyCallsInWorkAtOnce()
    {
        await using var client = await _program.ConnectAsync("2026-07-28");
        await using var other = await _program.ConnectAsync("2026-07-28", HttpProgram.Guest);
        using var cancel = new CancellationTokenSource();
        var calls = Enumerable.Range(0, 4).Select(_ => client.CallToolAsync("generate", Endless(), cancellationToken: cancel.Token).AsTask()).ToArray();
        await _program.WaitForPendingAsync(4);
        var refused = await client.CallToolAsync("model-select");
        Assert.That(refused.IsError, Is.True);
        Assert.That(JsonSerializer.Serialize(refused.Content), Does.Contain("Server:Limits:ConcurrentCalls"));
        Assert.That((await other.CallToolAsync("model-select")).IsError, Is.Not.True, "the limit is the tenant's own");
        await cancel.CancelAsync();
        await _program.WaitForPendingAsync(0);
        Assert.That(async () => await Task.WhenAll(calls), Throws.InstanceOf<OperationCanceledException>());
    }

    private static Dictionary<string, object?> Endless() => new()
    {
        ["prompt"] = "The wheel",
        ["max_tokens"] = 1_000_000,
        ["deadline_seconds"] = 3600,
        ["model"] = "endless",
    };
}
