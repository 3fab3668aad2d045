using System.Globalization;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting.Shared;

/// <summary>
/// The server behind all bridges: over a socket, each connection is what standard input and output are to a server of its own. A bridge starts it; it ends when no
/// bridge has been there for a while.
/// </summary>
internal sealed partial class SharedServer(IServiceProvider services, TimeSpan idle, IHostApplicationLifetime lifetime)
{
    /// <summary>What a new server says on standard output: it listens, or (<see cref="Taken"/>) another one holds the place.</summary>
    public const string Ready = "ready";

    /// <inheritdoc cref="Ready"/>
    public const string Taken = "taken";

    private readonly Lock _lock = new();
    private readonly Workload _work = services.GetRequiredService<LoadedModels>().Work;
    private int _open;
    private bool _ended;
    private Timer? _idle;

    /// <summary>First line of each connection: whoever reads it is served.</summary>
    public static string Greeting { get; } = $"{ProductInfo.Name} {ProductInfo.Version}";

    /// <summary>Serves until nobody has been there for a while, or the process is told to stop.</summary>
    public static async Task<int> RunAsync(AppSettings settings, CancellationToken cancel)
    {
        var (_, output) = StandardStreams.Claim();
        var place = SharedPlace.Of(settings, ProductInfo.Build);
        using var alone = place.TryLock();
        if (alone is null)
        {
            Say(output, Taken);
            return 0;
        }

        if (!OperatingSystem.IsWindows())
        {
            _ = setsid(); // signals for the client that happened to start it are not for it
        }

        using var host = StdioServer.Build(settings, _ => { });
        await host.StartAsync(cancel).ConfigureAwait(false);
        var server = new SharedServer(host.Services, TimeSpan.FromMinutes(settings.Server.Shared.IdleMinutes), host.Services.GetRequiredService<IHostApplicationLifetime>());
        using (var listener = place.Listen())
        {
            await Console.Error.WriteLineAsync(string.Create(
                CultureInfo.InvariantCulture,
                $"ryzenllm: {ProductInfo.Version}, process {Environment.ProcessId}, shared at {place.Socket}; ends {settings.Server.Shared.IdleMinutes} minutes after its last client.")).ConfigureAwait(false);
            Say(output, Ready);
            await server.AcceptAsync(listener, cancel).ConfigureAwait(false);
        }

        await Task.WhenAny(host.StopAsync(CancellationToken.None), Task.Delay(StdioServer.LastMoment, CancellationToken.None)).ConfigureAwait(false);
        Environment.Exit(0); // a step of a large model cannot be interrupted, and nobody waits for it
        return 0;
    }

    private async Task AcceptAsync(Socket listener, CancellationToken cancel)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancel, lifetime.ApplicationStopping);
        await using var timer = _idle = new Timer(_ => EndIfIdle());
        _idle.Change(idle, Timeout.InfiniteTimeSpan);
        try
        {
            while (true)
            {
                var socket = await listener.AcceptAsync(either.Token).ConfigureAwait(false);
                if (!Enter())
                {
                    socket.Dispose(); // without a greeting: its bridge starts the next server
                    return;
                }

                _ = ServeAsync(socket);
            }
        }
        catch (OperationCanceledException)
        {
            // It ends.
        }
    }

    private async Task ServeAsync(Socket socket)
    {
        var loggers = services.GetRequiredService<ILoggerFactory>();
        try
        {
            await using var stream = new NetworkStream(socket, ownsSocket: true);
            await stream.WriteAsync(Encoding.ASCII.GetBytes(Greeting + "\n")).ConfigureAwait(false);
            using var gone = CancellationTokenSource.CreateLinkedTokenSource(lifetime.ApplicationStopping);
            var input = new WatchedInput(stream, grace: null); // a bridge hangs up when nobody wants an answer any more
            await using var transport = new StreamServerTransport(input, new WholeMessages(stream), ProductInfo.Name, loggers);
            await using var session = McpServer.Create(transport, services.GetRequiredService<IOptionsFactory<McpServerOptions>>().Create(Options.DefaultName), loggers, services);
            var running = session.RunAsync(gone.Token);
            if (await Task.WhenAny(running, input.Ended).ConfigureAwait(false) != running)
            {
                await gone.CancelAsync().ConfigureAwait(false); // the SDK waits for calls in work without cancelling them
            }

            await running.ConfigureAwait(false);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or SocketException or ObjectDisposedException)
        {
            // Its bridge is gone.
        }
        catch (Exception e)
        {
            loggers.CreateLogger<SharedServer>().LogError(e, "A connection failed");
        }
        finally
        {
            Leave();
        }
    }

    private bool Enter()
    {
        lock (_lock)
        {
            if (_ended)
            {
                return false;
            }

            _open++;
            _idle!.Change(Timeout.Infinite, Timeout.Infinite);
            return true;
        }
    }

    private void Leave()
    {
        lock (_lock)
        {
            if (--_open == 0 && !_ended)
            {
                _idle!.Change(idle, Timeout.InfiniteTimeSpan);
            }
        }
    }

    private void EndIfIdle()
    {
        lock (_lock)
        {
            if (_open > 0)
            {
                return;
            }

            if (_work.IsBusy) // a task, for a client that comes back for it
            {
                _idle!.Change(idle, Timeout.InfiniteTimeSpan);
                return;
            }

            _ended = true;
        }

        lifetime.StopApplication();
    }

    // The reader may be gone, and then nobody needs to know.
    private static void Say(Stream output, string line)
    {
        try
        {
            output.Write(Encoding.ASCII.GetBytes(line + "\n"));
        }
        catch (IOException)
        {
        }

        output.Dispose();
    }

    [LibraryImport("libc")]
    private static partial int setsid();
}
