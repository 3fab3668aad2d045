using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels.Threading;

/// <summary>
/// Items [0, n) in one contiguous share per worker, taken piece by piece from the front; a worker that is done helps the next one. So each reads its own
/// stretch of memory, and a region does not wait for a processor that other programs slow down.
/// </summary>
internal sealed unsafe class WorkShares : IDisposable
{
    // One share per 128 bytes, so that taking does not slow the neighbours.
    private const int Stride = 32;

    private readonly NativeBuffer<int> _next;
    private int _items;
    private int _grain;
    private int _pieces;

    /// <summary>Shares for a team of that size.</summary>
    public WorkShares(int workers)
    {
        Workers = workers;
        _next = new((long)workers * Stride);
    }

    /// <summary>Size of the team.</summary>
    public int Workers { get; }

    /// <summary>Starts anew with items [0, <paramref name="items"/>) in pieces of <paramref name="grain"/>; to be called before the region.</summary>
    public void Begin(int items, int grain)
    {
        _items = items;
        _grain = grain;
        _pieces = (items + grain - 1) / grain;
        for (var share = 0; share < Workers; share++)
        {
            _next.Pointer[share * Stride] = First(share);
        }
    }

    /// <summary>Starts anew with rows (or heads, or blocks of channels) that are a few microseconds of work each.</summary>
    public void BeginRows(int rows) => Begin(rows, Math.Max(1, rows / (8 * Workers)));

    /// <summary>The next piece for a worker, or false when all are taken.</summary>
    /// <param name="worker">Who asks.</param>
    /// <param name="helped">0 at first, then as this method left it: how many shares the worker has found empty.</param>
    /// <param name="begin">First item.</param>
    /// <param name="end">One past the last item.</param>
    public bool TryTake(int worker, ref int helped, out int begin, out int end)
    {
        for (; helped < Workers; helped++)
        {
            var share = (worker + helped) % Workers;
            var piece = Interlocked.Increment(ref _next.Pointer[share * Stride]) - 1;
            if (piece < First(share + 1))
            {
                begin = piece * _grain;
                end = Math.Min(begin + _grain, _items);
                return true;
            }
        }

        (begin, end) = (0, 0);
        return false;
    }

    /// <inheritdoc/>
    public void Dispose() => _next.Dispose();

    private int First(int share) => (int)((long)_pieces * share / Workers);
}
