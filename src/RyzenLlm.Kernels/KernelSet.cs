namespace RyzenLlm.Kernels;

/// <summary>
/// Every hot loop of the engine for one instruction set. This class is the portable path, plain loops that define the result;
/// a subclass overrides the slots for which its instructions pay. All slots are pure: they read their inputs, write their outputs
/// and keep no state, so one instance serves all threads.
/// </summary>
/// <remarks>
/// <para>Callers are the checked entries in <see cref="Ops"/>; slots only assert.</para>
/// <para>Batch invariance: what a slot writes for a row depends on that row alone, in one fixed reduction order per path,
/// whatever the number of rows in the call and however output rows are split between threads.</para>
/// </remarks>
public unsafe partial class KernelSet
{
    private protected KernelSet() { }

    /// <summary>Name as used by settings and the command line: portable, avx2 or avx512.</summary>
    public virtual string Name => "portable";

    /// <summary>The portable path, available everywhere.</summary>
    public static KernelSet Portable { get; } = new();

    /// <summary>All paths this processor can run, slowest first.</summary>
    public static IReadOnlyList<KernelSet> Available { get; } = Detect();

    /// <summary>The path of that name, or the fastest one for "auto".</summary>
    /// <exception cref="ArgumentException">The name is unknown or this processor lacks the instructions.</exception>
    public static KernelSet Select(string name = "auto")
    {
        if (name.Equals("auto", StringComparison.OrdinalIgnoreCase))
        {
            return Available[^1];
        }

        return Available.FirstOrDefault(k => k.Name.Equals(name, StringComparison.OrdinalIgnoreCase))
            ?? throw new ArgumentException(
                $"Kernel path '{name}' is not available on this processor. Use auto or one of: {string.Join(", ", Available.Select(k => k.Name))}.",
                nameof(name));
    }

    /// <summary>Reads a block once, as fast as this path's loads and prefetches do; returns some sum of it.</summary>
    /// <param name="p">Block.</param>
    /// <param name="bytes">Length, a multiple of 256.</param>
    internal virtual long ReadAll(byte* p, long bytes)
    {
        var sum = 0L;
        for (long i = 0; i < bytes; i += 8)
        {
            sum += *(long*)(p + i);
        }

        return sum;
    }

    private static List<KernelSet> Detect()
    {
        List<KernelSet> sets = [Portable];
        if (Avx2Kernels.IsSupported)
        {
            sets.Add(new Avx2Kernels());
        }

        if (Avx512Kernels.IsSupported)
        {
            sets.Add(new Avx512Kernels());
        }

        return sets;
    }
}
