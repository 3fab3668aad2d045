using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using System.Text;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting.Shared;

/// <summary>
/// The MCP server over standard input and output whose work another process does, the one shared by all clients. Messages pass unchanged. The bridge only knows which
/// requests are not answered yet: should the server die, it answers them, and goes on with the next server.
/// </summary>
internal sealed class Bridge(SharedStart start, string log, Stream output)
{
    private const int InternalError = -32603;

    private static readonly TimeSpan Hang = TimeSpan.FromSeconds(10);

    private readonly SemaphoreSlim _writing = new(1);
    private readonly TaskCompletionSource _deaf = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _heard = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Server? _server;

    // What opened the session, for the next server: older protocol versions keep it.
    private (string Id, byte[] Message)? _initialize;
    private byte[]? _initialized;

    /// <summary>Serves until the client hangs up or the process is told to stop.</summary>
    /// <exception cref="IOException">There is no shared server and none can be started.</exception>
    public static async Task<int> RunAsync(AppSettings settings, IReadOnlyList<string> arguments, CancellationToken cancel)
    {
        var place = SharedPlace.Of(settings, ProductInfo.Build);
        var (input, output) = StandardStreams.Claim();
        var bridge = new Bridge(new(place, arguments, Hang), place.Log, output);
        bridge._server = await bridge.ConnectAsync(cancel).ConfigureAwait(false);
        var forwarding = bridge.ForwardAsync(input, cancel);
        var orphaned = settings.Server.ExitWithParent ? ParentWatch.EndedAsync(cancel) : Task.Delay(Timeout.Infinite, cancel);
        if (await Task.WhenAny(forwarding, orphaned, bridge._deaf.Task).ConfigureAwait(false) == forwarding)
        {
            await forwarding.ConfigureAwait(false);
            await Task.WhenAny(bridge._server?.Answered() ?? Task.CompletedTask, bridge.GraceAsync(cancel)).ConfigureAwait(false);
        }

        Environment.Exit(0); // hangs up on the server, which cancels what is still in work
        return 0;
    }

    // As with a server of its own, the time that a busy machine takes to come to a first answer is not taken from the grace.
    private async Task GraceAsync(CancellationToken cancel)
    {
        await Task.WhenAny(_heard.Task, StandardStreams.UnreadAsync(WatchedInput.StartUp)).WaitAsync(cancel).ConfigureAwait(false);
        await StandardStreams.UnreadAsync(StdioServer.Grace).WaitAsync(cancel).ConfigureAwait(false);
    }

    private async Task ForwardAsync(Stream input, CancellationToken cancel)
    {
        await foreach (var message in Lines(input).ConfigureAwait(false))
        {
            var head = MessageHead.Read(message);
            try
            {
                Server server;
                do
                {
                    server = _server ??= await ConnectAsync(cancel).ConfigureAwait(false);
                }
                while (!server.TryExpect(head));
                Remember(head, message);
                await server.Stream.WriteAsync(message, cancel).ConfigureAwait(false);
            }
            catch (IOException e)
            {
                // Of a server that has just died, the other direction will say so.
                if (_server is null && head.IsRequest)
                {
                    await AnswerAsync(head.Id!, e.Message).ConfigureAwait(false);
                }
            }
        }
    }

    private async Task<Server> ConnectAsync(CancellationToken cancel)
    {
        var server = new Server(await start.ConnectAsync(cancel).ConfigureAwait(false));
        var answers = Lines(server.Stream).GetAsyncEnumerator(cancel);
        if (_initialize is { } initialize)
        {
            await server.Stream.WriteAsync(initialize.Message, cancel).ConfigureAwait(false);
            while (await answers.MoveNextAsync().ConfigureAwait(false) && MessageHead.Read(answers.Current) is var head && !(head.IsAnswer && head.Id == initialize.Id))
            {
                // The client has had its answer from an earlier server.
            }

            await server.Stream.WriteAsync(_initialized ?? [], cancel).ConfigureAwait(false);
        }

        _ = ReturnAsync(server, answers);
        return server;
    }

    private async Task ReturnAsync(Server server, IAsyncEnumerator<byte[]> answers)
    {
        try
        {
            while (await answers.MoveNextAsync().ConfigureAwait(false))
            {
                await WriteAsync(answers.Current).ConfigureAwait(false);
                server.Answer(MessageHead.Read(answers.Current));
                _heard.TrySetResult();
            }
        }
        catch (IOException)
        {
            // Its connection broke, which is its end as well.
        }

        var lost = server.Lose();
        Interlocked.CompareExchange(ref _server, null, server);
        server.Stream.Dispose();
        foreach (var id in lost)
        {
            await AnswerAsync(id, $"The shared server ended while it worked on this. The next request starts another one, so try again; {log} may say what happened.").ConfigureAwait(false);
        }
    }

    private void Remember(MessageHead head, byte[] message)
    {
        switch (head.Method)
        {
            case "initialize" when head.Id is { } id:
                (_initialize, _initialized) = ((id, message), null);
                break;
            case "notifications/initialized":
                _initialized = message;
                break;
        }
    }

    private Task AnswerAsync(string id, string message) => WriteAsync(Encoding.UTF8.GetBytes(
        $$$"""{"jsonrpc":"2.0","id":{{{id}}},"error":{"code":{{{InternalError}}},"message":"{{{System.Text.Json.JsonEncodedText.Encode(message)}}}"}}""" + "\n"));

    private async Task WriteAsync(byte[] message)
    {
        await _writing.WaitAsync().ConfigureAwait(false);
        try
        {
            await output.WriteAsync(message).ConfigureAwait(false);
            await output.FlushAsync().ConfigureAwait(false);
        }
        catch (IOException)
        {
            _deaf.TrySetResult(); // nobody reads any more
        }
        finally
        {
            _writing.Release();
        }
    }

    // Lines with their ends; what follows the last end is no message.
    private static async IAsyncEnumerable<byte[]> Lines(Stream stream, [EnumeratorCancellation] CancellationToken cancel = default)
    {
        var reader = PipeReader.Create(stream);
        while (true)
        {
            var read = await reader.ReadAsync(cancel).ConfigureAwait(false);
            var rest = read.Buffer;
            while (rest.PositionOf((byte)'\n') is { } end)
            {
                var next = rest.GetPosition(1, end);
                yield return rest.Slice(0, next).ToArray();
                rest = rest.Slice(next);
            }

            reader.AdvanceTo(rest.Start, rest.End);
            if (read.IsCompleted)
            {
                yield break;
            }
        }
    }

    /// <summary>A connection, and the requests that were sent over it and are not answered.</summary>
    private sealed class Server(Stream stream)
    {
        private readonly Lock _lock = new();
        private readonly HashSet<string> _open = [];
        private TaskCompletionSource? _answered;
        private bool _lost;

        public Stream Stream => stream;

        /// <summary>Notes what a message is about to ask for; false if the server is gone.</summary>
        public bool TryExpect(MessageHead head)
        {
            lock (_lock)
            {
                if (_lost)
                {
                    return false;
                }

                if (head.Cancels is { } cancelled)
                {
                    _open.Remove(cancelled); // it will not be answered
                }

                if (head.IsRequest)
                {
                    _open.Add(head.Id!);
                }

                return true;
            }
        }

        public void Answer(MessageHead head)
        {
            lock (_lock)
            {
                if (head.IsAnswer && _open.Remove(head.Id!) && _open.Count == 0)
                {
                    _answered?.TrySetResult();
                }
            }
        }

        /// <summary>The server is gone: ids of the requests that it leaves behind.</summary>
        public string[] Lose()
        {
            lock (_lock)
            {
                _lost = true;
                _answered?.TrySetResult();
                return [.. _open];
            }
        }

        /// <summary>Completes when nothing is open.</summary>
        public Task Answered()
        {
            lock (_lock)
            {
                _answered = new(TaskCreationOptions.RunContinuationsAsynchronously);
                if (_open.Count == 0 || _lost)
                {
                    _answered.SetResult();
                }

                return _answered.Task;
            }
        }
    }
}
