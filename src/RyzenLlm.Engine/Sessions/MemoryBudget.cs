using System.Globalization;

namespace RyzenLlm.Engine.Sessions;

/// <summary>What is given up first where memory is short.</summary>
public enum EvictionOrder
{
    /// <summary>Kept states: they cost the reading of a prompt.</summary>
    States,

    /// <summary>Models that nobody uses: they cost a load.</summary>
    Models,
}

/// <summary>
/// The memory that models, running sequences and kept states may take together. Whoever is about to take some reserves it first; where it is short, kept states
/// and then idle models are given up, and if that is not enough the reservation is refused before anything is taken. From any thread.
/// </summary>
public sealed class MemoryBudget
{
    private readonly Lock _lock = new();
    private readonly List<(EvictionOrder Order, Func<long, long> Evict)> _evictors = [];
    private long _used;

    /// <summary>A budget of that many bytes.</summary>
    /// <param name="limit">All that may be reserved.</param>
    /// <param name="inUse">What the process takes already, besides all that will be reserved.</param>
    public MemoryBudget(long limit, long inUse = 0)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(limit, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(inUse);
        Limit = limit;
        _used = inUse;
    }

    /// <summary>A budget that never refuses.</summary>
    public static MemoryBudget Unlimited => new(long.MaxValue);

    /// <summary>All that may be reserved, in bytes.</summary>
    public long Limit { get; }

    /// <summary>Bytes reserved.</summary>
    public long Used => Interlocked.Read(ref _used);

    /// <summary>Bytes left.</summary>
    public long Free => Math.Max(0, Limit - Used);

    /// <summary>Reserves memory, giving up what is idle if need be.</summary>
    /// <param name="what">What it is for, as in "the model tales-bitnet".</param>
    /// <param name="bytes">How much.</param>
    /// <param name="advice">What the caller can do if there is not as much.</param>
    /// <returns>Ends the reservation when disposed of.</returns>
    /// <exception cref="MemoryLimitException">There is not as much; nothing is reserved.</exception>
    public Reservation Reserve(string what, long bytes, string advice = "")
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        if (bytes <= Limit && !TryReserve(bytes))
        {
            (EvictionOrder Order, Func<long, long> Evict)[] evictors;
            lock (_lock)
            {
                evictors = [.. _evictors.OrderBy(e => e.Order)];
            }

            foreach (var (_, evict) in evictors)
            {
                if (evict(bytes - Free) > 0 && TryReserve(bytes))
                {
                    return new(this, bytes);
                }
            }

            throw new MemoryLimitException(what, bytes, Free, Limit, advice);
        }

        return bytes <= Limit ? new(this, bytes) : throw new MemoryLimitException(what, bytes, Free, Limit, advice);
    }

    /// <summary>Reserves memory if it is free; to be returned by <see cref="Return"/>.</summary>
    public bool TryReserve(long bytes)
    {
        while (true)
        {
            var used = Interlocked.Read(ref _used);
            if (bytes > Limit - used)
            {
                return false;
            }

            if (Interlocked.CompareExchange(ref _used, used + bytes, used) == used)
            {
                return true;
            }
        }
    }

    /// <summary>Ends a reservation of that many bytes.</summary>
    public void Return(long bytes) => Interlocked.Add(ref _used, -bytes);

    /// <summary>Adds something that can be given up: asked for a number of bytes, it says how many it has returned.</summary>
    /// <returns>Takes it out again when disposed of.</returns>
    public IDisposable OnShortage(EvictionOrder order, Func<long, long> evict)
    {
        lock (_lock)
        {
            _evictors.Add((order, evict));
        }

        return new Registration(this, evict);
    }

    /// <summary>Memory that is reserved.</summary>
    public sealed class Reservation : IDisposable
    {
        private readonly MemoryBudget _budget;
        private long _bytes;

        internal Reservation(MemoryBudget budget, long bytes) => (_budget, _bytes) = (budget, bytes);

        /// <summary>How much.</summary>
        public long Bytes => Interlocked.Read(ref _bytes);

        /// <inheritdoc/>
        public void Dispose() => _budget.Return(Interlocked.Exchange(ref _bytes, 0));
    }

    private sealed class Registration(MemoryBudget budget, Func<long, long> evict) : IDisposable
    {
        public void Dispose()
        {
            lock (budget._lock)
            {
                budget._evictors.RemoveAll(e => e.Evict == evict);
            }
        }
    }
}

/// <summary>Something would take more memory than is left; the message has the numbers and what to change.</summary>
public sealed class MemoryLimitException(string what, long needed, long free, long limit, string advice) : Exception(
    $"Not enough memory for {what}: it needs {Megabytes(needed)}, {Megabytes(free)} of the limit of {Megabytes(limit)} are free. "
    + $"{advice}{(advice.Length > 0 ? ", or r" : "R")}aise Engine:MemoryLimit.")
{
    private static string Megabytes(long bytes) => (bytes / 1e6).ToString("#,0.#", CultureInfo.InvariantCulture) + " MB";
}
