using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace RyzenLlm.Mcp.Tests.Downloads;

/// <summary>What one connection is answered with: status line and headers are free, so that they may lie.</summary>
/// <param name="Head">Status line and headers, without the blank line.</param>
/// <param name="Body">Bytes sent after it.</param>
/// <param name="Hang">Keep the connection open and silent instead of closing it.</param>
internal sealed record Answer(string Head, ReadOnlyMemory<byte> Body, bool Hang = false);

/// <summary>A file server on a loopback port whose every connection is scripted, because a well-behaved HTTP stack cannot misbehave enough.</summary>
internal sealed class FaultyServer : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stop = new();
    private readonly Func<string, int, Answer> _script;
    private int _connections;

    /// <param name="script">Gets the request's text and the number of the connection, from 0.</param>
    public FaultyServer(Func<string, int, Answer> script)
    {
        _script = script;
        _listener.Start();
        Base = new Uri($"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}/");
        _ = AcceptAsync();
    }

    public Uri Base { get; }

    public int Connections => Volatile.Read(ref _connections);

    public List<string> Requests { get; } = [];

    /// <summary>An honest answer to a request for <paramref name="content"/>, range included.</summary>
    public static Answer Honest(string request, byte[] content, string tag = "\"v1\"")
    {
        var from = RangeStart(request);
        return from is { } start && start < content.Length
            ? new($"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{content.Length - 1}/{content.Length}\r\nContent-Length: {content.Length - start}\r\nETag: {tag}\r\nConnection: close", content.AsMemory(start))
            : new($"HTTP/1.1 200 OK\r\nContent-Length: {content.Length}\r\nETag: {tag}\r\nConnection: close", content);
    }

    /// <summary>The same answer with the connection cut after <paramref name="bytes"/> of the body.</summary>
    public static Answer Cut(string request, byte[] content, int bytes)
    {
        var whole = Honest(request, content);
        return whole with { Body = whole.Body[..Math.Min(bytes, whole.Body.Length)] };
    }

    public static int? RangeStart(string request)
    {
        var line = request.Split("\r\n").FirstOrDefault(l => l.StartsWith("Range:", StringComparison.OrdinalIgnoreCase));
        return line is null ? null : int.Parse(line[(line.IndexOf('=') + 1)..line.IndexOf('-')], CultureInfo.InvariantCulture);
    }

    public void Dispose()
    {
        _stop.Cancel();
        _listener.Stop();
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var client = await _listener.AcceptTcpClientAsync(_stop.Token);
                _ = ServeAsync(client, Interlocked.Increment(ref _connections) - 1);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
        }
    }

    private async Task ServeAsync(TcpClient client, int number)
    {
        using (client)
        {
            try
            {
                var stream = client.GetStream();
                var buffer = new byte[16384];
                var length = await stream.ReadAsync(buffer, _stop.Token);
                var request = Encoding.ASCII.GetString(buffer, 0, length);
                lock (Requests)
                {
                    Requests.Add(request);
                }

                var answer = _script(request, number);
                await stream.WriteAsync(Encoding.ASCII.GetBytes(answer.Head + "\r\n\r\n"), _stop.Token);
                await stream.WriteAsync(answer.Body, _stop.Token);
                await stream.FlushAsync(_stop.Token);
                if (answer.Hang)
                {
                    await Task.Delay(Timeout.Infinite, _stop.Token);
                }
            }
            catch (Exception e) when (e is OperationCanceledException or IOException or ObjectDisposedException)
            {
            }
        }
    }
}
