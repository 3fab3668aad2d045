using BenchmarkDotNet.Attributes;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Bench;

/// <summary>State updates and attention of one layer, one thread; amounts are state or cache bytes and multiply-adds.</summary>
public unsafe class StateBenchmarks
{
    private const int Channels = 5120;
    private const int States = 16;
    private const int Head = 64;
    private const int HeadSize = 128;
    private const int Positions = 1024;
    private readonly NativeBuffer<float> _memory = Weights.Activations(4 * Channels * States);
    private readonly NativeBuffer<float> _out = new(Channels * 2);
    private readonly NativeBuffer<byte> _cache = new(2L * Positions * HeadSize * sizeof(ushort));
    private readonly NativeBuffer<nint> _blocks = new(Positions / KvView.BlockPositions);
    private KernelSet _kernels = null!;

    [ParamsSource(nameof(Paths))]
    public string Path { get; set; } = "portable";

    public static IEnumerable<string> Paths => KernelSet.Available.Select(k => k.Name);

    [GlobalSetup]
    public void Setup()
    {
        _kernels = KernelSet.Select(Path);
        for (var block = 0; block < _blocks.Length; block++)
        {
            _blocks.Pointer[block] = (nint)(_cache.Pointer + (block * 2L * KvView.BlockPositions * HeadSize * sizeof(ushort)));
        }
    }

    [Benchmark(Description = "Mamba scan step, 5120 x 16")]
    public void Scan()
    {
        var p = _memory.Pointer;
        var a = p + (Channels * States);
        _kernels.ScanStep(p, p, a, a, a, a, a, a + States, Channels, States, 0, Channels, _out.Pointer);
    }

    [Benchmark(Description = "RWKV-7 head, 64 x 64")]
    public void Wkv7()
    {
        var p = _memory.Pointer;
        var v = p + (Head * Head);
        _kernels.Wkv7Step(p, p + (2 * Head * Head), v, v + Head, v + (2 * Head), v + (3 * Head), v + (4 * Head), v + (5 * Head), Head, _out.Pointer);
    }

    [Benchmark(Description = "Attention, 4 heads of 128, 1024 positions")]
    public void Attend() => Attend(1);

    [Benchmark(Description = "The same for 16 rows", OperationsPerInvoke = 16)]
    public void AttendRows() => Attend(16);

    [Benchmark(Description = "SiLU of 5120")]
    public void Silu() => _kernels.Silu(_memory.Pointer, Channels, _out.Pointer);

    [Benchmark(Description = "RMS norm of 2560")]
    public void RmsNorm() => _kernels.RmsNorm(_memory.Pointer, _memory.Pointer + 2560, 1e-5f, 2560, _out.Pointer);

    private void Attend(int rows)
    {
        Span<KvView> views = stackalloc KvView[rows];
        views.Fill(new KvView
        {
            Blocks = (byte**)_blocks.Pointer,
            KeyOffset = 0,
            ValueOffset = KvView.BlockPositions * HeadSize * sizeof(ushort),
            Type = KvType.F16,
            KvHeads = 1,
            HeadSize = HeadSize,
            Prefix = Positions,
        });
        _kernels.Attend(views, 0, _memory.Pointer, 4 * HeadSize, 4, 0.1f, _out.Pointer);
    }
}
