using System.Diagnostics;
using System.Text.Json;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary><c>serve --shared</c>: the built program as bridges and the one server behind them.</summary>
[Platform(Exclude = "Win", Reason = "Processes are killed and started by a shell here.")]
public sealed class SharedServerTests
{
    private SharedProgram _shared = null!;

    [SetUp]
    public void Create() => _shared = new();

    [TearDown]
    public async Task Delete() => await _shared.DisposeAsync();

    [Test]
    public async Task ClientsOfBothErasShareOneServerAndOneModel()
    {
        await using var older = await _shared.ConnectAsync("2025-11-25");
        await using var newer = await _shared.ConnectAsync("2026-07-28");
        foreach (var client in new[] { older, newer })
        {
            Assert.That((await client.ListToolsAsync()).Select(t => t.Name), Is.EqualTo(ToolTests.Tools));
            var result = await client.CallToolAsync("generate", new Dictionary<string, object?> { ["prompt"] = "The wheel", ["max_tokens"] = 8 });
            Assert.That(result.IsError, Is.Not.True);
        }

        var now = await SharedProgram.MetricsAsync(older);
        Assert.That(now.GetProperty("calls").GetInt32(), Is.EqualTo(2), "those of both clients");
        Assert.That(now.GetProperty("models").GetArrayLength(), Is.EqualTo(1));
        Assert.That(OperatingSystem.IsWindows() ? default : File.GetUnixFileMode(Directory.GetFiles(_shared.Folder, "*.sock").Single()), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
    }

    [Test]
    public async Task FiveBridgesAtOnceStartOneServer()
    {
        var bridges = Enumerable.Range(0, 5).Select(_ => _shared.Start()).ToArray();
        await Task.WhenAll(bridges.Select(StdioSession.OpenAsync));
        var log = await File.ReadAllLinesAsync(Directory.GetFiles(_shared.Folder, "*.log").Single());
        Assert.That(log, Has.Length.EqualTo(1).And.One.Contains($"process {_shared.ServerId()}, shared at"));
        foreach (var bridge in bridges)
        {
            bridge.StandardInput.Close();
            await BuiltProgram.WaitAsync(bridge);
            Assert.That(bridge.ExitCode, Is.Zero);
            bridge.Dispose();
        }
    }

    [Test]
    public async Task AClientGetsProgressQuestionsAndTasksThroughTheBridge()
    {
        var asked = 0;
        await using var client = await _shared.ConnectAsync("2025-11-25", new McpClientOptions
        {
            Handlers = new()
            {
                ElicitationHandler = (_, _) =>
                {
                    asked++;
                    return ValueTask.FromResult(new ElicitResult { Action = "decline" });
                },
            },
        });
        var progress = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var cancel = new CancellationTokenSource();
        var call = client.CallToolAsync("generate", Endless(), new Progress(_ => progress.TrySetResult()), cancellationToken: cancel.Token).AsTask();
        await progress.Task.WaitAsync(SharedProgram.Hang);
        await cancel.CancelAsync();
        Assert.That(async () => await call, Throws.InstanceOf<OperationCanceledException>());
        await SharedProgram.WaitForPendingAsync(client, 0);
        await client.CallToolAsync("store-context", new Dictionary<string, object?> { ["text"] = "The ferry leaves at noon." });
        await client.CallToolAsync("forget-context", new Dictionary<string, object?> { ["everything"] = true, ["dry_run"] = false });
        Assert.That(asked, Is.EqualTo(1));
    }

    [Test]
    public async Task WhenTheServerIsKilledOpenRequestsFailAndTheNextOneWorks()
    {
        using var bridge = _shared.Start();
        await StdioSession.OpenAsync(bridge);
        await StdioSession.SendAsync(bridge, StdioSession.Endless);
        await using var other = await _shared.ConnectAsync("2026-07-28");
        await SharedProgram.WaitForPendingAsync(other, 1);
        var killed = _shared.ServerId();
        Process.GetProcessById(killed).Kill();
        var error = (await StdioSession.ReadAnswerAsync(bridge, 3)).GetProperty("error");
        Assert.That(error.GetProperty("message").GetString(), Does.Contain("The shared server ended while it worked on this").And.Contain(".log"));

        // Neither client begins anew, and what the killed server left (lock, socket) is in nobody's way.
        await StdioSession.SendAsync(bridge, StdioSession.Endless.Replace("\"id\":3", "\"id\":4").Replace("1000000", "2"));
        Assert.That((await StdioSession.ReadAnswerAsync(bridge, 4)).GetProperty("result").TryGetProperty("isError", out var failed) && failed.GetBoolean(), Is.False);
        Assert.That((await other.CallToolAsync("model-select")).IsError, Is.Not.True);
        Assert.That(_shared.ServerId(), Is.Not.EqualTo(killed));
        bridge.StandardInput.Close();
        await BuiltProgram.WaitAsync(bridge);
        Assert.That(bridge.ExitCode, Is.Zero);
    }

    [Test]
    public async Task WhatLiesInThePlaceOfSocketAndLockIsReplaced()
    {
        await using (await _shared.ConnectAsync("2026-07-28"))
        {
        }

        var server = Process.GetProcessById(_shared.ServerId());
        server.Kill();
        await BuiltProgram.WaitAsync(server);
        var socket = Directory.GetFiles(_shared.Folder, "*.sock").Single();
        File.Delete(socket);
        await File.WriteAllTextAsync(socket, "no socket");
        await using var client = await _shared.ConnectAsync("2026-07-28");
        Assert.That((await client.CallToolAsync("model-select")).IsError, Is.Not.True);
    }

    [Test]
    public async Task AServerThatCannotStartIsExplained()
    {
        await using (await _shared.ConnectAsync("2026-07-28"))
        {
        }

        var server = Process.GetProcessById(_shared.ServerId());
        server.Kill();
        await BuiltProgram.WaitAsync(server);
        var socket = Directory.GetFiles(_shared.Folder, "*.sock").Single();
        File.Delete(socket);
        Directory.CreateDirectory(socket);
        var (code, output, error) = await BuiltProgram.RunAsync(["serve", "--shared"], "", _shared.Environment());
        Assert.That((code, output), Is.EqualTo((1, "")));
        Assert.That(error, Does.Contain("The shared server does not start").And.Contain(".log ends with: ryzenllm: ").And.Contain(socket));
    }

    [Test]
    public async Task ItEndsWhenNobodyHasBeenThereForAWhileButNotBefore()
    {
        _shared.IdleMinutes = 0.01;
        Process server;
        await using (var client = await _shared.ConnectAsync("2025-11-25"))
        {
            server = Process.GetProcessById(_shared.ServerId());
            await Task.Delay(TimeSpan.FromMinutes(0.02));
            Assert.That((await client.CallToolAsync("model-select")).IsError, Is.Not.True);
            Assert.That(_shared.ServerId(), Is.EqualTo(server.Id), "the same one still");
        }

        await BuiltProgram.WaitAsync(server);
        Assert.That(Directory.GetFiles(_shared.Folder, "*.sock"), Is.Empty);
        await using var later = await _shared.ConnectAsync("2025-11-25");
        Assert.That((await later.CallToolAsync("model-select")).IsError, Is.Not.True);
        Assert.That(_shared.ServerId(), Is.Not.EqualTo(server.Id));
    }

    [Test]
    public async Task ClientsWithOtherSettingsHaveAServerOfTheirOwn()
    {
        await using var one = await _shared.ConnectAsync("2026-07-28");
        await using var two = await _shared.ConnectAsync("2026-07-28", arguments: ["--set", "Memory:Tenant=ann"]);
        await one.CallToolAsync("model-select");
        Assert.That((await SharedProgram.MetricsAsync(one)).GetProperty("calls").GetInt32(), Is.EqualTo(1));
        Assert.That((await SharedProgram.MetricsAsync(two)).GetProperty("calls").GetInt32(), Is.Zero);
        Assert.That(Directory.GetFiles(_shared.Folder, "*.sock"), Has.Length.EqualTo(2));
    }

    [Test]
    public async Task QuickCallsAreAnsweredEvenIfTheInputEndsAtOnce()
    {
        var (code, output, error) = await BuiltProgram.RunAsync(
            ["serve", "--shared"], $"{StdioSession.Initialize}\n{StdioSession.Initialized}\n{"""{"jsonrpc":"2.0","id":2,"method":"tools/list"}"""}\n", _shared.Environment());
        Assert.That(code, Is.Zero, error);
        var ids = output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement.GetProperty("id").GetInt32());
        Assert.That(ids, Is.EquivalentTo(new[] { 1, 2 }));
    }

    [TestCase("--http")]
    [TestCase("--urls=http://127.0.0.1:0")]
    public async Task ABridgeIsNoHttpServer(string option)
    {
        var (code, _, error) = await BuiltProgram.RunAsync(["serve", "--shared", option]);
        Assert.That(code, Is.EqualTo(2));
        Assert.That(error, Does.Contain("--shared serves standard input and output"));
    }

    private static Dictionary<string, object?> Endless() => new()
    {
        ["prompt"] = "The wheel",
        ["max_tokens"] = 1_000_000,
        ["deadline_seconds"] = 3600,
        ["model"] = Repository.EndlessModel,
    };

    private sealed class Progress(Action<ModelContextProtocol.ProgressNotificationValue> report) : IProgress<ModelContextProtocol.ProgressNotificationValue>
    {
        public void Report(ModelContextProtocol.ProgressNotificationValue value) => report(value);
    }
}
