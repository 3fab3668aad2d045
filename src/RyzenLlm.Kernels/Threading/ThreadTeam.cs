namespace RyzenLlm.Kernels.Threading;

/// <summary>Work that a <see cref="ThreadTeam"/> splits among its threads. Instances are kept and reused: a region allocates nothing.</summary>
public abstract class TeamJob
{
    /// <summary>Does the share of one worker.</summary>
    /// <param name="worker">0 .. workers-1; 0 is the caller.</param>
    /// <param name="workers">Threads in the team.</param>
    public abstract void Run(int worker, int workers);
}

/// <summary>
/// A fixed team of threads that meets at every region. Workers spin through the short gaps of a token and park between requests;
/// the caller is worker 0.
/// </summary>
/// <remarks>One owner: regions must not be started from two threads at once.</remarks>
public sealed class ThreadTeam : IDisposable
{
    // About 0.3 ms of spinning on current processors: longer than any gap inside a token, far shorter than one between requests.
    private const int SpinsBeforePark = 20_000;

    private readonly Thread[] _threads;
    private readonly SemaphoreSlim _parked = new(0);
    private TeamJob? _job;
    private volatile int _generation;
    private volatile bool _stopping;
    private int _running;
    private int _parkedCount;
    private volatile Exception? _failure;

    /// <summary>Starts workers - 1 threads.</summary>
    /// <param name="workers">Threads in all, the caller included; 1 runs everything on the caller.</param>
    public ThreadTeam(int workers)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(workers, 1);
        Workers = workers;
        _threads = new Thread[workers - 1];
        for (var i = 0; i < _threads.Length; i++)
        {
            var worker = i + 1;
            _threads[i] = new Thread(() => Serve(worker)) { IsBackground = true, Name = $"kernel-{worker}" };
            _threads[i].Start();
        }
    }

    /// <summary>Threads in all, the caller included.</summary>
    public int Workers { get; }

    /// <summary>Runs the job on all threads and returns when all are done.</summary>
    /// <exception cref="AggregateException">A worker's share threw.</exception>
    public void Run(TeamJob job)
    {
        if (_threads.Length == 0)
        {
            job.Run(0, 1);
            return;
        }

        _job = job;
        Volatile.Write(ref _running, _threads.Length);
        Interlocked.Increment(ref _generation);
        if (Volatile.Read(ref _parkedCount) > 0)
        {
            _parked.Release(Interlocked.Exchange(ref _parkedCount, 0));
        }

        try
        {
            job.Run(0, Workers);
        }
        finally
        {
            var spin = 0;
            while (Volatile.Read(ref _running) > 0)
            {
                if (++spin < SpinsBeforePark)
                {
                    Thread.SpinWait(4);
                }
                else
                {
                    Thread.Yield(); // another process holds the worker's core: let it finish there
                }
            }
        }

        if (_failure is { } failure)
        {
            _failure = null;
            throw new AggregateException(failure);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _stopping = true;
        Interlocked.Increment(ref _generation);
        _parked.Release(_threads.Length);
        foreach (var thread in _threads)
        {
            thread.Join();
        }

        _parked.Dispose();
    }

    private void Serve(int worker)
    {
        var seen = 0;
        while (true)
        {
            WaitForWork(seen);
            if (_stopping)
            {
                return;
            }

            seen = _generation;
            try
            {
                _job!.Run(worker, Workers);
            }
            catch (Exception e)
            {
                _failure = e;
            }

            Interlocked.Decrement(ref _running);
        }
    }

    private void WaitForWork(int seen)
    {
        for (var spin = 0; _generation == seen; spin++)
        {
            if (spin < SpinsBeforePark)
            {
                Thread.SpinWait(4);
                continue;
            }

            // Announce, look once more, sleep: the caller either sees the announcement or we see its generation.
            Interlocked.Increment(ref _parkedCount);
            if (_generation != seen && TryWithdraw())
            {
                return;
            }

            _parked.Wait();
            spin = 0;
        }
    }

    // False when the caller has already counted this worker and will release it.
    private bool TryWithdraw()
    {
        while (true)
        {
            var count = Volatile.Read(ref _parkedCount);
            if (count == 0)
            {
                return false;
            }

            if (Interlocked.CompareExchange(ref _parkedCount, count - 1, count) == count)
            {
                return true;
            }
        }
    }
}
