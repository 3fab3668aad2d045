using System.Runtime.CompilerServices;

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
/// <remarks>One owner: regions must not be started from two threads at once, nor from inside a region.</remarks>
public sealed class ThreadTeam : IDisposable
{
    // Some 0.3 ms of spinning on current processors: longer than any gap inside a token, far shorter than one between requests
    // (waking a parked thread costs about 40 microseconds).
    private const int SpinsBeforePark = 10_000;
    private const int PausesPerSpin = 4;

    // Past some 15 microseconds the processor is offered to others now and then: on a busy machine they may hold up the very thread waited for.
    private const int SpinsBeforeYield = 512;

    private readonly Worker[] _workers;
    private TeamJob? _job;
    private PaddedInt _generation;
    private PaddedInt _running;
    private volatile bool _stopping;
    private Exception? _failure;

    /// <summary>Starts workers - 1 threads.</summary>
    /// <param name="workers">Threads in all, the caller included; 1 runs everything on the caller.</param>
    /// <param name="pin">Ties each thread but the caller to a processor of its own, counted from the end of the processors this
    /// process may use. Null: where there are at least as many processors as threads. Without effect on systems other than Linux.</param>
    public ThreadTeam(int workers, bool? pin = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(workers, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(workers, 1024);
        Workers = workers;
        Pinned = (pin ?? workers <= Environment.ProcessorCount) && workers > 1 && ProcessorAffinity.IsSupported;
        _workers = new Worker[workers - 1];
        for (var i = 0; i < _workers.Length; i++)
        {
            _workers[i] = new Worker(this, i + 1);
        }
    }

    /// <summary>Threads in all, the caller included.</summary>
    public int Workers { get; }

    /// <summary>Whether each thread but the caller has a processor of its own.</summary>
    public bool Pinned { get; }

    /// <summary>Runs the job on all threads and returns when all are done.</summary>
    /// <exception cref="AggregateException">A worker's share threw; the other shares were finished.</exception>
    /// <exception cref="ObjectDisposedException">The threads have ended.</exception>
    public void Run(TeamJob job)
    {
        ObjectDisposedException.ThrowIf(_stopping, this);
        if (_workers.Length == 0)
        {
            job.Run(0, 1);
            return;
        }

        _job = job;
        Volatile.Write(ref _running.Value, _workers.Length);

        // A full fence: either a worker that is about to park sees the new generation, or its announcement is seen below.
        Interlocked.Increment(ref _generation.Value);
        foreach (var worker in _workers)
        {
            worker.WakeIfParked();
        }

        try
        {
            job.Run(0, Workers);
        }
        finally
        {
            WaitForWorkers();
            _job = null;
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
        if (_stopping)
        {
            return;
        }

        _stopping = true;
        Interlocked.Increment(ref _generation.Value);
        foreach (var worker in _workers)
        {
            worker.WakeIfParked();
        }

        foreach (var worker in _workers)
        {
            worker.Join();
        }
    }

    private void WaitForWorkers()
    {
        for (var spin = 0; Volatile.Read(ref _running.Value) > 0; spin = (spin + 1) & int.MaxValue)
        {
            Spin(spin);
        }
    }

    private static void Spin(int spin)
    {
        if (spin < SpinsBeforeYield || spin % 64 != 0)
        {
            Thread.SpinWait(PausesPerSpin);
        }
        else
        {
            Thread.Yield();
        }
    }

    // A line of its own, so that workers spinning on one counter do not slow writes to the other.
    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Explicit, Size = 192)]
    private struct PaddedInt
    {
        [System.Runtime.InteropServices.FieldOffset(64)]
        public int Value;
    }

    private sealed class Worker
    {
        private readonly ThreadTeam _team;
        private readonly int _index;
        private readonly Thread _thread;
        private readonly SemaphoreSlim _wake = new(0);
        private int _parked;

        public Worker(ThreadTeam team, int index)
        {
            _team = team;
            _index = index;
            _thread = new Thread(Serve) { IsBackground = true, Name = $"kernel-{index}" };
            _thread.Start();
        }

        public void WakeIfParked()
        {
            if (Volatile.Read(ref _parked) != 0 && Interlocked.Exchange(ref _parked, 0) != 0)
            {
                _wake.Release();
            }
        }

        public void Join()
        {
            _thread.Join();
            _wake.Dispose();
        }

        private void Serve()
        {
            if (_team.Pinned)
            {
                ProcessorAffinity.PinCurrentThread(_team.Workers - 1 - _index);
            }

            for (var seen = 0; ;)
            {
                seen = WaitForGeneration(seen);
                if (_team._stopping)
                {
                    return;
                }

                try
                {
                    _team._job!.Run(_index, _team.Workers);
                }
                catch (Exception e)
                {
                    Interlocked.CompareExchange(ref _team._failure, e, null);
                }

                Interlocked.Decrement(ref _team._running.Value);
            }
        }

        private int WaitForGeneration(int seen)
        {
            while (true)
            {
                for (var spin = 0; spin < SpinsBeforePark; spin++)
                {
                    var generation = Volatile.Read(ref _team._generation.Value);
                    if (generation != seen)
                    {
                        return generation;
                    }

                    Spin(spin);
                }

                // Announce (a full fence), look once more, sleep. Whoever takes the announcement back decides: if it is the caller,
                // a wake-up is on its way and must be consumed; if it is this thread, nobody will send one.
                Interlocked.Exchange(ref _parked, 1);
                if (Volatile.Read(ref _team._generation.Value) == seen || Interlocked.Exchange(ref _parked, 0) == 0)
                {
                    _wake.Wait();
                }
            }
        }
    }
}
