using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Engine.Sessions;

/// <summary>
/// One copy of a recurrent model's whole state. Sessions, marks and rows of a batch share lanes by reference count; kernels read one lane and
/// write another, so a shared lane is never copied, only left alone.
/// </summary>
internal sealed unsafe class Lane(LanePool pool, long length)
{
    private readonly NativeBuffer<float> _values = new(length);
    private int _references;

    /// <summary>First value of the state.</summary>
    public float* Values => _values.Pointer;

    /// <summary>Number of values.</summary>
    public long Length => _values.Length;

    /// <summary>Owners that are kept for later, so that the memory is counted once.</summary>
    public int Kept { get; set; }

    /// <summary>Whether more than one owner holds it: then nobody may write to it.</summary>
    public bool IsShared => _references > 1;

    /// <summary>Adds an owner.</summary>
    public Lane Share()
    {
        Interlocked.Increment(ref _references); // sessions that come from a file begin on other threads
        return this;
    }

    /// <summary>Gives up one ownership; the last one returns the lane to its pool.</summary>
    public void Release()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
            pool.Return(this);
        }
    }

    /// <summary>Frees the memory.</summary>
    public void Free() => _values.Dispose();
}

/// <summary>The lanes of one model: all of one length, reused instead of freed.</summary>
/// <remarks>For one thread, that of the model.</remarks>
internal sealed class LanePool(long length) : IDisposable
{
    /// <summary>Lanes held in reserve, enough for the trees that are drafted; what falls free beyond goes back to the system.</summary>
    private const int MostFree = 24;

    private readonly Stack<Lane> _free = new(MostFree);
    private bool _disposed;

    /// <summary>Floats in a lane.</summary>
    public long Length => length;

    /// <summary>A lane with one owner and arbitrary contents.</summary>
    public Lane Rent() => (_free.TryPop(out var lane) ? lane : new Lane(this, length)).Share();

    /// <summary>A new lane with one owner, whatever is in reserve; from any thread.</summary>
    public Lane Allocate() => new Lane(this, length).Share();

    /// <summary>Takes back a lane that nobody owns.</summary>
    public void Return(Lane lane)
    {
        if (_disposed || _free.Count == MostFree)
        {
            lane.Free();
        }
        else
        {
            _free.Push(lane);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _disposed = true;
        while (_free.TryPop(out var lane))
        {
            lane.Free();
        }
    }
}
