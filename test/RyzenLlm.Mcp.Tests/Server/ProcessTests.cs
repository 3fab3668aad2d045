using System.Diagnostics;
using System.Text.Json;
using ModelContextProtocol.Client;
using ModelContextProtocol.Protocol;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>The built program as a server over standard input and output.</summary>
public sealed class ProcessTests
{
    [TestCase("2025-11-25")]
    [TestCase("2026-07-28")]
    public async Task AClientOfEitherEraGeneratesText(string era)
    {
        var transport = new StdioClientTransport(new StdioClientTransportOptions
        {
            Command = BuiltProgram.Path,
            Arguments = ["serve"],
            EnvironmentVariables = BuiltProgram.Environment(),
        });
        await using var client = await McpClient.CreateAsync(transport, new McpClientOptions { ProtocolVersion = era });
        Assert.That(client.NegotiatedProtocolVersion, Is.EqualTo(era));
        Assert.That((await client.ListToolsAsync()).Select(t => t.Name), Is.EqualTo(ToolTests.Tools));
        var result = await client.CallToolAsync("generate", new Dictionary<string, object?> { ["prompt"] = "The wheel", ["max_tokens"] = 8 });
        Assert.That(result.IsError, Is.Not.True);
        Assert.That(result.Content.OfType<TextContentBlock>().Single().Text, Is.Not.Empty);
    }

    [Test]
    public async Task NothingButProtocolIsOnStandardOutputEvenWhenEverythingIsLogged()
    {
        var environment = BuiltProgram.Environment();
        environment["RYZENLLM__LOG__LEVEL"] = "trace";
        using var process = BuiltProgram.Start([], environment);
        var error = process.StandardError.ReadToEndAsync();
        await StdioSession.OpenAsync(process);
        await StdioSession.SendAsync(process, """{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"generate","arguments":{"prompt":"The","max_tokens":3}}}""");
        await StdioSession.ReadAnswerAsync(process, 2);
        process.StandardInput.Close();
        var rest = await process.StandardOutput.ReadToEndAsync();
        await BuiltProgram.WaitAsync(process);
        Assert.That(rest, Is.Empty);
        Assert.That(await error, Does.Contain("Application started"), "logging did happen, on the other stream");
        Assert.That(process.ExitCode, Is.Zero);
    }

    [Test]
    public async Task StandardOutputIsClaimedBeforeAnythingElseCanWriteToIt()
    {
        // A wrong line on the input makes the server complain; the complaint must not land on standard output either.
        using var process = BuiltProgram.Start([]);
        _ = process.StandardError.ReadToEndAsync();
        await StdioSession.SendAsync(process, "this is no JSON");
        await StdioSession.SendAsync(process, StdioSession.Initialize);
        await StdioSession.ReadAnswerAsync(process, 1);
        process.StandardInput.Close();
        await BuiltProgram.WaitAsync(process);
    }

    [Test]
    public async Task TheProcessEndsWhenTheClientHangsUpInTheMiddleOfAGeneration()
    {
        using var process = BuiltProgram.Start(["serve", "--set", "Server:ProgressSeconds=0.05"]);
        _ = process.StandardError.ReadToEndAsync();
        await StdioSession.OpenAsync(process);
        await StdioSession.SendAsync(process, StdioSession.Endless);
        List<double> progress = [];
        while (progress.Count < 5)
        {
            var line = await BuiltProgram.ReadLineAsync(process) ?? throw new EndOfStreamException("The server ended early.");
            var message = JsonDocument.Parse(line).RootElement;
            Assert.That(message.TryGetProperty("id", out _), Is.False, line);
            progress.Add(message.GetProperty("params").GetProperty("progress").GetDouble());
        }

        Assert.That(progress, Is.Ordered.Ascending);
        Assert.That(progress, Is.Unique);
        process.StandardInput.Close();
        await BuiltProgram.WaitAsync(process); // the generation itself would take an hour
        Assert.That(process.ExitCode, Is.Zero);
    }

    [TestCase(true)]
    [TestCase(false)]
    [Platform(Exclude = "Win", Reason = "A shell starts the server here.")]
    public async Task TheProcessEndsWhenOnlyItsParentDies(bool exit)
    {
        // The shell starts the server, says its number and stays until it is killed; standard input stays open, for this process holds it.
        var start = new ProcessStartInfo("/bin/sh", ["-c", $"exec 3<&0; \"$0\" serve --set Server:ExitWithParent={exit} <&3 & echo $!; wait", BuiltProgram.Path])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        foreach (var (name, value) in BuiltProgram.Environment())
        {
            start.Environment[name] = value;
        }

        using var shell = Process.Start(start)!;
        using var server = Process.GetProcessById(int.Parse((await BuiltProgram.ReadLineAsync(shell))!));
        await StdioSession.SendAsync(shell, StdioSession.Initialize);
        await StdioSession.ReadAnswerAsync(shell, 1);
        shell.Kill();
        if (exit)
        {
            await BuiltProgram.WaitAsync(server);
            return;
        }

        await StdioSession.SendAsync(shell, """{"jsonrpc":"2.0","id":2,"method":"ping"}""");
        await StdioSession.ReadAnswerAsync(shell, 2);
        shell.StandardInput.Close();
        await BuiltProgram.WaitAsync(server);
    }

    [Test]
    public async Task ACancelledCallEndsItsGenerationAndIsNotAnswered()
    {
        using var process = BuiltProgram.Start(["serve", "--set", "Server:ProgressSeconds=0.05"]);
        _ = process.StandardError.ReadToEndAsync();
        await StdioSession.OpenAsync(process);
        await StdioSession.SendAsync(process, StdioSession.Endless);
        Assert.That(await BuiltProgram.ReadLineAsync(process), Does.Contain("notifications/progress"));
        await StdioSession.SendAsync(process, """{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}""");

        // Calls of one model are served in turn: this one would wait for its deadline if the first still ran.
        await StdioSession.SendAsync(process, StdioSession.Endless.Replace("\"id\":3", "\"id\":4").Replace("1000000", "2").Replace("3600", "60"));
        var answer = await StdioSession.ReadAnswerAsync(process, 4, unexpected: 3);
        Assert.That(answer.GetProperty("result").GetProperty("structuredContent").GetProperty("stop_reason").GetString(), Is.EqualTo("length"));
        process.StandardInput.Close();
        await BuiltProgram.WaitAsync(process);
        Assert.That(process.ExitCode, Is.Zero);
    }

    [Test]
    public async Task QuickCallsAreAnsweredEvenIfTheInputEndsAtOnce()
    {
        var (code, output, _) = await BuiltProgram.RunAsync(
            [], $"{StdioSession.Initialize}\n{StdioSession.Initialized}\n{"""{"jsonrpc":"2.0","id":2,"method":"tools/list"}"""}\n");
        Assert.That(code, Is.Zero);
        var ids = output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement.GetProperty("id").GetInt32());
        Assert.That(ids, Is.EquivalentTo(new[] { 1, 2 }));
    }

    [Test]
    public async Task WrongSettingsEndItAtOnceNamingTheKeyAndWhatIsAllowed()
    {
        var environment = BuiltProgram.Environment();
        environment["RYZENLLM__ENGINE__KERNELS"] = "sse";
        var (code, output, error) = await BuiltProgram.RunAsync(["serve"], "", environment);
        Assert.That(code, Is.EqualTo(1));
        Assert.That(output, Is.Empty);
        Assert.That(error, Does.Contain("RYZENLLM__ENGINE__KERNELS").And.Contain("one of: auto, portable, avx2, avx512"));
    }
}
