using System.Diagnostics;
using System.Text;
using System.Text.Json;
using ModelContextProtocol.Client;
using RyzenLlm.Mcp.Tests.Http;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>
/// Client processes that are killed, as by SIGKILL, in the middle of a generation that would take an hour. Shells are the clients: they say nothing more, their ends
/// of pipes and connections just close. How long it took is in the output of the tests.
/// </summary>
[Platform(Exclude = "Win", Reason = "Shells are the clients here.")]
public sealed class KilledClientTests
{
    private const string StdioClient =
        """
        folder=$(mktemp -d); mkfifo "$folder/in" "$folder/out"
        "$@" <"$folder/in" >"$folder/out" &
        echo $!
        exec 3>"$folder/in" 4<"$folder/out"; rm -r "$folder"
        printf '%s\n' "$REQUESTS" >&3
        exec cat <&4
        """;

    // The request is on standard input; the answer is read until the client is killed.
    private const string HttpClient = """exec 3<>"/dev/tcp/127.0.0.1/$1"; cat >&3; exec cat <&3""";

    [Test]
    public async Task OverStandardInputTheServerEnds()
    {
        using var client = Start("serve", BuiltProgram.Environment());
        var server = await ServerOfAsync(client);
        await WaitForProgressAsync(client);
        var killed = Kill(client);
        await WaitUntilGoneAsync(server);
        Said("stdio: process gone", killed);
    }

    [Test]
    public async Task OverABridgeItEndsAndTheSharedServerCancels()
    {
        await using var shared = new SharedProgram();
        await using var other = await shared.ConnectAsync("2026-07-28");
        using var client = Start("serve --shared", shared.Environment());
        var bridge = await ServerOfAsync(client);
        await WaitForProgressAsync(client);
        await SharedProgram.WaitForPendingAsync(other, 1);
        var killed = Kill(client);
        await SharedProgram.WaitForPendingAsync(other, 0);
        Said("shared: cancelled", killed);
        await WaitUntilGoneAsync(bridge);
        Said("shared: bridge gone", killed);
        Assert.That((await other.CallToolAsync("model-select")).IsError, Is.Not.True);
    }

    [Test]
    public async Task WhenOnlyTheBridgeIsKilledTheSharedServerCancels()
    {
        await using var shared = new SharedProgram();
        await using var other = await shared.ConnectAsync("2026-07-28");
        using var bridge = shared.Start();
        await StdioSession.OpenAsync(bridge);
        await StdioSession.SendAsync(bridge, StdioSession.Endless);
        await SharedProgram.WaitForPendingAsync(other, 1);
        var killed = Kill(bridge);
        await SharedProgram.WaitForPendingAsync(other, 0);
        Said("shared, bridge killed: cancelled", killed);
        Assert.That((await other.CallToolAsync("model-select")).IsError, Is.Not.True);
    }

    [TestCase("2026-07-28")]
    [TestCase("2025-11-25")]
    public async Task OverHttpTheRequestIsCancelled(string era)
    {
        await using var program = await StartHttpAsync();
        string headers = $"MCP-Protocol-Version: {era}\r\nMcp-Method: tools/call\r\nMcp-Name: generate\r\n", call = Modern();
        if (era == "2025-11-25")
        {
            using var opened = await program.Http.SendAsync(HttpProgram.Post(Json(StdioSession.Initialize)), HttpCompletionOption.ResponseHeadersRead);
            var session = opened.Headers.GetValues("Mcp-Session-Id").Single();
            (headers, call) = ($"MCP-Protocol-Version: {era}\r\nMcp-Session-Id: {session}\r\n", ByName);
        }

        using var client = StartHttpClient(program, $"POST /mcp HTTP/1.1\r\nContent-Length: {Encoding.UTF8.GetByteCount(call)}\r\n{headers}", call);
        await program.WaitForPendingAsync(1);
        var killed = Kill(client);
        await program.WaitForPendingAsync(0);
        Said($"HTTP {era}: cancelled", killed);
    }

    [Test]
    public async Task OverTheOlderTransportTheRequestIsCancelled()
    {
        await using var program = await StartHttpAsync();
        using var client = StartHttpClient(program, "GET /mcp/sse HTTP/1.1\r\n", "");
        string? line;
        while ((line = await BuiltProgram.ReadLineAsync(client))?.StartsWith("data: ", StringComparison.Ordinal) == false)
        {
        }

        var address = new Uri(new Uri(program.Address, "/mcp/sse"), line!["data: ".Length..].Trim()).PathAndQuery;
        foreach (var message in new[] { StdioSession.Initialize, StdioSession.Initialized, ByName })
        {
            using var taken = await program.Http.SendAsync(HttpProgram.Post(Json(message), path: address));
            taken.EnsureSuccessStatusCode();
        }

        await program.WaitForPendingAsync(1);
        var killed = Kill(client);
        await program.WaitForPendingAsync(0);
        Said("SSE: cancelled", killed);
    }

    private static Task<HttpProgram> StartHttpAsync() => HttpProgram.StartAsync(
        $"Models:Folders:1={Path.GetDirectoryName(Repository.EndlessModel)}", "Models:Default=endless", "Server:Limits:RequestsPerMinute=0");

    // Callers with tokens name models, not files.
    private static string ByName => StdioSession.Endless.Replace(JsonSerializer.Serialize(Repository.EndlessModel), "\"endless\"", StringComparison.Ordinal);

    private static string Modern() => JsonSerializer.Serialize(new Dictionary<string, object?>
    {
        ["jsonrpc"] = "2.0",
        ["id"] = 3,
        ["method"] = "tools/call",
        ["params"] = new Dictionary<string, object?>
        {
            ["name"] = "generate",
            ["arguments"] = new { prompt = "The wheel", max_tokens = 1_000_000, deadline_seconds = 3600 },
            ["_meta"] = new Dictionary<string, object?>
            {
                ["io.modelcontextprotocol/protocolVersion"] = "2026-07-28",
                ["io.modelcontextprotocol/clientInfo"] = new { name = "test", version = "1" },
                ["io.modelcontextprotocol/clientCapabilities"] = new { },
            },
        },
    });

    private static StringContent Json(string text) => new(text, Encoding.UTF8, "application/json");

    private static Process StartHttpClient(HttpProgram program, string head, string body)
    {
        var client = Process.Start(new ProcessStartInfo("bash", ["-c", HttpClient, "bash", $"{program.Address.Port}"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
        client.StandardInput.Write(
            $"{head}Host: localhost\r\nAuthorization: Bearer {HttpProgram.Owner}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\r\n{body}");
        client.StandardInput.Close();
        return client;
    }

    private static Process Start(string arguments, Dictionary<string, string?> environment)
    {
        var start = new ProcessStartInfo("/bin/sh", ["-c", StdioClient, "sh", BuiltProgram.Path, .. arguments.Split(' '), "--set", "Server:ProgressSeconds=0.05"])
        {
            RedirectStandardOutput = true,
        };
        foreach (var (name, value) in environment)
        {
            start.Environment[name] = value;
        }

        start.Environment["REQUESTS"] = string.Join('\n', StdioSession.Initialize, StdioSession.Initialized, StdioSession.Endless);
        return Process.Start(start)!;
    }

    private static async Task<Process> ServerOfAsync(Process client) => Process.GetProcessById(int.Parse((await BuiltProgram.ReadLineAsync(client))!));

    private static async Task WaitForProgressAsync(Process client)
    {
        while (await BuiltProgram.ReadLineAsync(client) is { } line && !line.Contains("notifications/progress", StringComparison.Ordinal))
        {
        }
    }

    // What has ended may wait for its new parent to notice.
    private static async Task WaitUntilGoneAsync(Process process)
    {
        using var hang = new CancellationTokenSource(SharedProgram.Hang);
        while (!process.HasExited && !IsZombie(process.Id))
        {
            await Task.Delay(5, hang.Token);
        }
    }

    private static bool IsZombie(int process)
    {
        try
        {
            return File.ReadAllText($"/proc/{process}/status").Contains("State:\tZ", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false; // no such system, or no such process any more
        }
    }

    private static long Kill(Process process)
    {
        process.Kill();
        return Stopwatch.GetTimestamp();
    }

    private static void Said(string what, long killed) => TestContext.Out.WriteLine($"{what} {Stopwatch.GetElapsedTime(killed).TotalMilliseconds:0} ms after the kill");
}
