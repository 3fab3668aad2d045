namespace RyzenLlm.Mcp.Hosting;

/// <summary>Knows whether models are in use, so that what can wait waits, and makes way at once.</summary>
internal sealed class Workload
{
    private readonly object _lock = new();
    private CancellationTokenSource? _quiet;
    private int _running;
    private long _entered;

    /// <summary>Whether anything is in use.</summary>
    public bool IsBusy
    {
        get
        {
            lock (_lock)
            {
                return _running > 0;
            }
        }
    }

    /// <summary>A use begins: what ran because it was quiet is told to end.</summary>
    public void Enter()
    {
        CancellationTokenSource? quiet;
        lock (_lock)
        {
            _running++;
            _entered++;
            (quiet, _quiet) = (_quiet, null);
        }

        quiet?.Cancel(); // outside the lock: what it wakes may ask here again
    }

    /// <summary>It is over.</summary>
    public void Leave()
    {
        lock (_lock)
        {
            if (--_running == 0)
            {
                Monitor.PulseAll(_lock);
            }
        }
    }

    /// <summary>Blocks until nothing was in use for a while.</summary>
    /// <param name="pause">How long.</param>
    /// <param name="stop">Gives up waiting.</param>
    /// <returns>The quiet time: its token is cancelled when a use begins, or by <paramref name="stop"/>.</returns>
    public Quiet WaitForQuiet(TimeSpan pause, CancellationToken stop)
    {
        using var wake = stop.UnsafeRegister(_ => Pulse(), null);
        while (true)
        {
            stop.ThrowIfCancellationRequested();
            long entered;
            lock (_lock)
            {
                while (_running > 0 && !stop.IsCancellationRequested)
                {
                    Monitor.Wait(_lock);
                }

                entered = _entered;
            }

            stop.WaitHandle.WaitOne(pause);
            lock (_lock)
            {
                if (_running == 0 && _entered == entered && !stop.IsCancellationRequested)
                {
                    _quiet = CancellationTokenSource.CreateLinkedTokenSource(stop);
                    return new(this, _quiet);
                }
            }
        }
    }

    /// <summary>A time in which nothing else is in use.</summary>
    internal sealed class Quiet(Workload owner, CancellationTokenSource source) : IDisposable
    {
        /// <summary>Cancelled when it is over.</summary>
        public CancellationToken Token { get; } = source.Token;

        /// <inheritdoc/>
        public void Dispose()
        {
            lock (owner._lock)
            {
                // One that is being cancelled elsewhere is left to the collector.
                if (owner._quiet == source)
                {
                    owner._quiet = null;
                    source.Dispose();
                }
            }
        }
    }

    private void Pulse()
    {
        lock (_lock)
        {
            Monitor.PulseAll(_lock);
        }
    }
}
