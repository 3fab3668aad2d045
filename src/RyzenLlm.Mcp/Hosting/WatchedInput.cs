namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// Input of the protocol, one message per line, that knows how many messages are still in work and tells when the other side has hung up.
/// The end is passed on only when every message has been dealt with, or the grace is over: the reader behind it drops open answers at the end.
/// </summary>
/// <param name="inner">The input.</param>
/// <param name="grace">Begins the grace and completes at its end; null for none.</param>
internal sealed class WatchedInput(Stream inner, Func<Task>? grace) : Stream
{
    /// <summary>Longest wait for a server that is not up yet.</summary>
    public static readonly TimeSpan StartUp = TimeSpan.FromSeconds(10);

    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _idle = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _taken = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _open;
    private volatile bool _hungUp;

    /// <summary>Completes when the end of the input has been passed on.</summary>
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

    /// <summary>A message has been taken in hand: the server is up.</summary>
    public void MessageTaken() => _taken.TrySetResult();

    /// <summary>A message has been dealt with, its answer written.</summary>
    public void MessageDone()
    {
        if (Interlocked.Decrement(ref _open) <= 0 && _hungUp)
        {
            _idle.TrySetResult();
        }
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        int read;
        try
        {
            read = await inner.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
        }
        catch (IOException)
        {
            read = 0; // a broken pipe is an end as well
        }

        if (read > 0)
        {
            Interlocked.Add(ref _open, buffer.Span[..read].Count((byte)'\n'));
            return read;
        }

        _hungUp = true;
        if (grace is not null && Volatile.Read(ref _open) > 0)
        {
            await Task.WhenAny(_idle.Task, GraceAsync(grace, cancellationToken)).ConfigureAwait(false);
        }

        _ended.TrySetResult();
        return 0;
    }

    // On a busy machine the input may have ended before the server was up; that time is not taken from the grace.
    private async Task GraceAsync(Func<Task> grace, CancellationToken cancel)
    {
        await Task.WhenAny(_taken.Task, Task.Delay(StartUp, cancel)).ConfigureAwait(false);
        await grace().WaitAsync(cancel).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("The protocol reads asynchronously.");

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
}
