using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Text;
using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

/// <summary>What the kernels find on this machine.</summary>
public static class MachineInfo
{
    /// <summary>Instruction sets that this process may use, widest last; switches such as DOTNET_EnableAVX512=0 take theirs away.</summary>
    public static IReadOnlyList<string> Features { get; } =
    [
        .. new (string Name, bool Supported)[]
        {
            ("SSE4.2", Sse42.IsSupported),
            ("AVX", Avx.IsSupported),
            ("AVX2", Avx2.IsSupported),
            ("FMA", Fma.IsSupported),
            ("AVX-VNNI", AvxVnni.IsSupported),
            ("AVX-512F", Avx512F.IsSupported),
            ("AVX-512BW", Avx512BW.IsSupported),
            ("AVX-512DQ", Avx512DQ.IsSupported),
            ("AVX-512VL", Avx512F.VL.IsSupported),
            ("AVX-512VBMI", Avx512Vbmi.IsSupported),
            ("GFNI", Gfni.IsSupported),
        }.Where(f => f.Supported).Select(f => f.Name),
    ];

    /// <summary>Name of the processor as it states it itself (CPUID leaves 0x80000002 to 0x80000004), or the architecture.</summary>
    public static string ProcessorName { get; } = ReadProcessorName();

    /// <summary>Processors that this process may use.</summary>
    public static int Processors => Environment.ProcessorCount;

    /// <summary>Memory that this process may use, in bytes (the machine's, or the container's limit).</summary>
    public static long MemoryBytes => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <summary>
    /// Read bandwidth of the memory in GB/s: the best of some passes over a block far larger than the caches. Weights stream through once per
    /// token, so tokens per second cannot exceed this over the bytes of the weights.
    /// </summary>
    /// <param name="threads">Threads that read, each its own part.</param>
    /// <param name="bytes">Size of the block; takes that much memory and some 0.1 s per GB and pass.</param>
    public static double MeasureReadBandwidth(int threads, long bytes = 512L << 20)
    {
        using var probe = new BandwidthProbe(threads, bytes);
        return probe.Measure(passes: 5);
    }

    private static string ReadProcessorName()
    {
        const int FirstLeaf = unchecked((int)0x80000002), Leaves = 3;
        if (!X86Base.IsSupported || X86Base.CpuId(unchecked((int)0x80000000), 0).Eax < FirstLeaf + Leaves - 1)
        {
            return RuntimeInformation.ProcessArchitecture.ToString();
        }

        Span<int> words = stackalloc int[4 * Leaves];
        for (var i = 0; i < Leaves; i++)
        {
            (words[4 * i], words[(4 * i) + 1], words[(4 * i) + 2], words[(4 * i) + 3]) = X86Base.CpuId(FirstLeaf + i, 0);
        }

        return Encoding.ASCII.GetString(MemoryMarshal.AsBytes(words)).Trim('\0', ' ');
    }
}

/// <summary>Reads a block far larger than the caches, again and again: the rate that a product with weights in memory can at best have.</summary>
public sealed unsafe class BandwidthProbe : IDisposable
{
    private readonly ThreadTeam _team;
    private readonly NativeBuffer<byte> _memory;
    private readonly ReadJob _job;

    /// <summary>Takes the block.</summary>
    /// <param name="threads">Threads that read, each its own part.</param>
    /// <param name="bytes">Size of the block.</param>
    public BandwidthProbe(int threads, long bytes = 512L << 20)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes, 1 << 20);
        _team = new(threads);
        _memory = new(bytes);
        _job = new(_memory.Pointer, bytes);
    }

    /// <summary>The best rate of some passes, in GB/s.</summary>
    public double Measure(int passes)
    {
        var best = 0d;
        for (var pass = 0; pass < passes; pass++)
        {
            var start = Stopwatch.GetTimestamp();
            _team.Run(_job);
            best = Math.Max(best, _memory.Length / Stopwatch.GetElapsedTime(start).TotalSeconds / 1e9);
        }

        return best;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _team.Dispose();
        _memory.Dispose();
    }

    private sealed class ReadJob(byte* memory, long bytes) : TeamJob
    {
        // Read back by nobody; keeps the sums from being optimised away.
        private long _sum;

        public override void Run(int worker, int workers)
        {
            const int Step = 256;
            var begin = bytes / Step * worker / workers * Step;
            var end = bytes / Step * (worker + 1) / workers * Step;
            Interlocked.Add(ref _sum, KernelSet.Available[^1].ReadAll(memory + begin, end - begin));
        }
    }
}
