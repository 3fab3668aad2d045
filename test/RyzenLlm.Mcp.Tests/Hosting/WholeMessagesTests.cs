using System.Text;
using System.Text.Json;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Tests.Hosting;

public sealed class WholeMessagesTests
{
    [Test]
    public async Task AMessageIsWholeThoughItsCallIsCancelledWhileItIsWritten()
    {
        using var cancel = new CancellationTokenSource();
        var written = new CancellingStream(cancel);
        await using var transport = new StreamServerTransport(new EndlessInput(), new WholeMessages(written));
        await Send("first", cancel.Token);
        await Send("second", CancellationToken.None);
        var lines = Encoding.UTF8.GetString(written.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.That(cancel.IsCancellationRequested, "the first write cancels");
        Assert.That(lines.Select(l => JsonElement.Parse(l).GetProperty("method").GetString()), Is.EqualTo(new[] { "first", "second" }));

        async Task Send(string method, CancellationToken token)
        {
            try
            {
                await transport.SendMessageAsync(new JsonRpcNotification { Method = method }, token);
            }
            catch (Exception e) when (e is OperationCanceledException or IOException)
            {
                // What matters is what the reader sees.
            }
        }
    }

    /// <summary>Cancels after the first write, and honours the token as a pipe does.</summary>
    private sealed class CancellingStream(CancellationTokenSource cancel) : MemoryStream
    {
        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Write(buffer.Span);
            await cancel.CancelAsync();
        }
    }

    /// <summary>Input on which nothing ever comes.</summary>
    private sealed class EndlessInput : MemoryStream
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await Task.Delay(Timeout.Infinite, cancellationToken);
            return 0;
        }
    }
}
