using System.Net;
using System.Net.Sockets;
using System.Text;

namespace RyzenLlm.Mcp.Tests.Http;

/// <summary>Nonsense over the wire, the same every time; the built program serves, and goes on serving.</summary>
public sealed class MalformedTests
{
    private const int Messages = 4_000;
    private const int RawRequests = 1_000;

    private HttpProgram _program = null!;

    [OneTimeSetUp]
    public async Task Start() => _program = await HttpProgram.StartAsync("Server:Limits:RequestsPerMinute=0");

    [OneTimeTearDown]
    public async Task Stop() => await _program.DisposeAsync();

    [TearDown]
    public async Task TheServerIsAliveAndNothingUnforeseenHappened()
    {
        await using var client = await _program.ConnectAsync("2025-11-25");
        Assert.That((await client.CallToolAsync("model-select")).IsError, Is.Not.True);
        Assert.That(_program.Errors.Where(line => line.Contains("Unhandled") || line.Contains("NullReference") || line.Contains("at RyzenLlm")), Is.Empty);
    }

    [Test]
    public async Task MalformedMessagesAreAnsweredAsSuch()
    {
        var random = new Random(20260728);
        var codes = new Dictionary<HttpStatusCode, int>();
        for (var i = 0; i < Messages; i++)
        {
            var request = HttpProgram.Post(new ByteArrayContent(Malformed.Message(random)));
            request.Content!.Headers.TryAddWithoutValidation("Content-Type", random.Next(50) == 0 ? "text/plain" : "application/json");
            if (random.Next(3) == 0)
            {
                request.Headers.TryAddWithoutValidation("MCP-Protocol-Version", random.Next(2) == 0 ? "2026-07-28" : "1999-01-01");
                request.Headers.TryAddWithoutValidation("Mcp-Method", random.Next(2) == 0 ? "tools/call" : "tools/%ff");
            }

            if (random.Next(5) == 0)
            {
                request.Headers.TryAddWithoutValidation("Mcp-Session-Id", "no-such-session");
            }

            using var answer = await _program.Http.SendAsync(request, HttpCompletionOption.ResponseContentRead);
            codes[answer.StatusCode] = codes.GetValueOrDefault(answer.StatusCode) + 1;
        }

        TestContext.Out.WriteLine(string.Join(", ", codes.Select(c => $"{(int)c.Key}: {c.Value}")));
        Assert.That(codes.Keys.Where(code => (int)code >= 500), Is.Empty);
    }

    [Test]
    public async Task MalformedRequestsEndTheirConnectionOnly()
    {
        var random = new Random(20260729);
        var whole = Encoding.ASCII.GetBytes(
            $"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {HttpProgram.Owner}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {Malformed.Seeds[1].Length}\r\nConnection: close\r\n\r\n{Malformed.Seeds[1]}");
        for (var i = 0; i < RawRequests; i++)
        {
            using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
            await socket.ConnectAsync(IPAddress.Loopback, _program.Address.Port);
            try
            {
                await socket.SendAsync(Malformed.Mutated(random, whole));
                socket.Shutdown(SocketShutdown.Send);
                if (random.Next(2) == 0)
                {
                    var buffer = new byte[4096];
                    while (await socket.ReceiveAsync(buffer) > 0)
                    {
                    }
                }
            }
            catch (SocketException)
            {
                // The server has closed the connection, as it may.
            }
        }
    }
}
