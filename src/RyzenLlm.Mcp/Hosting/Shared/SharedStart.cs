using System.Diagnostics;
using System.Net.Sockets;

namespace RyzenLlm.Mcp.Hosting.Shared;

/// <summary>The way to the shared server, which is started where there is none.</summary>
/// <param name="place">Where it is.</param>
/// <param name="arguments">Command line that starts it.</param>
/// <param name="hang">A server that listens greets at once: one that takes this long hangs.</param>
internal sealed class SharedStart(SharedPlace place, IReadOnlyList<string> arguments, TimeSpan hang)
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>A connection whose greeting has been read.</summary>
    /// <exception cref="IOException">The server does not start, or does not answer; the message says where to look.</exception>
    public async Task<NetworkStream> ConnectAsync(CancellationToken cancel)
    {
        for (var began = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(began) < Patience; await Task.Delay(Pause, cancel).ConfigureAwait(false))
        {
            if (await TryConnectAsync(cancel).ConfigureAwait(false) is { } stream)
            {
                return stream;
            }

            // Of several bridges one starts the server, and the others find it.
            using var turn = SharedPlace.TryLock(place.StartLock);
            if (turn is null)
            {
                continue;
            }

            if ((stream = await TryConnectAsync(cancel).ConfigureAwait(false)) is not null)
            {
                return stream;
            }

            if (!await StartAsync(cancel).ConfigureAwait(false))
            {
                throw new IOException($"The shared server does not start. {LastWords()}");
            }
        }

        throw new IOException($"The shared server (process {place.LastHolder()}) holds {place.Lock} but does not listen: end that process. {LastWords()}");
    }

    private async Task<NetworkStream?> TryConnectAsync(CancellationToken cancel)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        patience.CancelAfter(hang);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(place.Socket), patience.Token).ConfigureAwait(false);
            var letter = new byte[1];
            while (await socket.ReceiveAsync(letter, patience.Token).ConfigureAwait(false) > 0)
            {
                if (letter[0] == '\n')
                {
                    return new NetworkStream(socket, ownsSocket: true);
                }
            }
        }
        catch (SocketException)
        {
            // Nobody listens, or not any more.
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            socket.Dispose();
            throw new IOException($"The shared server (process {place.LastHolder()}) does not answer: end that process. {LastWords()}");
        }

        socket.Dispose();
        return null;
    }

    // False if it ended before it was ready.
    private async Task<bool> StartAsync(CancellationToken cancel)
    {
        string[] program = Path.GetFileNameWithoutExtension(Environment.ProcessPath!) == "dotnet"
            ? [Environment.ProcessPath!, Environment.GetCommandLineArgs()[0], .. arguments]
            : [Environment.ProcessPath!, .. arguments];
        if (OperatingSystem.IsWindows())
        {
            // Through the shell, so that it does not inherit the streams of the protocol. It cannot be heard then, only found.
            using var window = Process.Start(new ProcessStartInfo(program[0], program[1..]) { UseShellExecute = true, WindowStyle = ProcessWindowStyle.Hidden });
            return true;
        }

        // The shell ends at once, so the server is nobody's child: clients that end all that they started leave it alone.
        const string script = """umask 077; log=$1; shift; "$@" </dev/null 2>>"$log" &""";
        using var shell = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", script, "sh", place.Log, .. program]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        shell.StandardInput.Close();
        return await shell.StandardOutput.ReadLineAsync(cancel).ConfigureAwait(false) is SharedServer.Ready or SharedServer.Taken;
    }

    private string LastWords()
    {
        try
        {
            return $"{place.Log} ends with: {File.ReadLines(place.Log).LastOrDefault(line => line.Length > 0) ?? "(nothing)"}";
        }
        catch (IOException)
        {
            return $"See {place.Log}.";
        }
    }
}
