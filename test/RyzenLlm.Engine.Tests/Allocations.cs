namespace RyzenLlm.Engine.Tests;

/// <summary>Counts what code leaves to the garbage collector.</summary>
internal static class Allocations
{
    /// <summary>
    /// Bytes that <paramref name="work"/> allocates on this thread, the least of three runs: a collection in between, which any thread of
    /// the process may cause, charges the unused rest of an allocation buffer to the thread.
    /// </summary>
    public static long Of(Action work)
    {
        var least = long.MaxValue;
        for (var run = 0; run < 3; run++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            work();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
