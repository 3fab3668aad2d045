using System.Runtime.InteropServices;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>Standard input and output kept for the protocol alone.</summary>
internal static partial class StandardStreams
{
    private const int StandardOutput = 1;
    private const int StandardError = 2;

    /// <summary>
    /// The protocol's streams. From now on anything else written to standard output, by managed or native code, goes to standard error.
    /// </summary>
    public static (WatchedInput Input, Stream Output) Claim()
    {
        var input = new WatchedInput(Console.OpenStandardInput());
        var output = Console.OpenStandardOutput(); // holds its own duplicate of the descriptor
        if (!OperatingSystem.IsWindows())
        {
            _ = dup2(StandardError, StandardOutput);
        }

        Console.SetOut(Console.Error);
        return (input, output);
    }

    [LibraryImport("libc")]
    private static partial int dup2(int from, int to);
}

/// <summary>Standard input that tells when the other side has hung up.</summary>
internal sealed class WatchedInput(Stream inner) : Stream
{
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes at the end of the stream, or when reading fails.</summary>
    public Task Ended => _ended.Task;

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => false;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            return Note(await inner.ReadAsync(buffer, cancellationToken).ConfigureAwait(false));
        }
        catch (IOException)
        {
            Note(0);
            throw;
        }
    }

    /// <inheritdoc/>
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => Note(inner.Read(buffer, offset, count));

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    private int Note(int read)
    {
        if (read == 0)
        {
            _ended.TrySetResult();
        }

        return read;
    }
}
