using System.Text.Json;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>Nonsense on standard input, the same every time, to a server of its own and through a bridge; both go on serving.</summary>
public sealed class MalformedFrameTests
{
    [TestCase(false, 5_000)]
    [TestCase(true, 1_000)]
    public async Task MalformedFramesAreRefusedAndTheNextCallIsAnswered(bool shared, int frames)
    {
        await using var place = new SharedProgram();
        using var process = BuiltProgram.Start(shared ? ["serve", "--shared"] : ["serve"], place.Environment());
        var error = process.StandardError.ReadToEndAsync();
        await StdioSession.OpenAsync(process);
        var answers = ReadAsync();
        var random = new Random(20260730);
        var input = process.StandardInput.BaseStream;
        for (var i = 0; i < frames; i++)
        {
            var frame = Malformed.Message(random);
            frame.AsSpan().Replace((byte)'\n', (byte)' ');
            await input.WriteAsync(frame);
            input.WriteByte((byte)'\n');
        }

        await input.FlushAsync();
        await StdioSession.SendAsync(process, """{"jsonrpc":"2.0","id":"last","method":"tools/call","params":{"name":"model-select"}}""");
        var (refused, last) = await answers;
        TestContext.Out.WriteLine($"{frames} frames, {refused} of them answered with an error");
        Assert.That(refused, Is.GreaterThan(frames / 10));
        Assert.That(last.GetProperty("result").TryGetProperty("isError", out var failed) && failed.GetBoolean(), Is.False);
        process.StandardInput.Close();
        await BuiltProgram.WaitAsync(process);
        Assert.That(process.ExitCode, Is.Zero);
        var log = await error + string.Concat(Directory.GetFiles(place.Folder, "*.log").Select(File.ReadAllText));
        Assert.That(log, Does.Not.Contain("Unhandled").And.Not.Contain("NullReference").And.Not.Contain("at RyzenLlm"));

        // Whatever comes is a message of the protocol, up to the answer to the last request.
        async Task<(int Refused, JsonElement Last)> ReadAsync()
        {
            for (var refused = 0; ;)
            {
                var line = await BuiltProgram.ReadLineAsync(process) ?? throw new EndOfStreamException("The server ended.");
                JsonElement message = default;
                Assert.That(() => message = JsonElement.Parse(line), Throws.Nothing, line);
                Assert.That(message.GetProperty("jsonrpc").GetString(), Is.EqualTo("2.0"));
                refused += message.TryGetProperty("error", out _) ? 1 : 0;
                if (message.TryGetProperty("id", out var id) && id.ValueKind == JsonValueKind.String && id.GetString() == "last")
                {
                    return (refused, message);
                }
            }
        }
    }
}
