using BenchmarkDotNet.Attributes;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Bench;

/// <summary>Float products from memory: 64 MB of weights, far more than the caches, 2560 columns.</summary>
public unsafe class ProductBenchmarks : ISized
{
    private const int Columns = 2560;
    private Ops _ops = null!;
    private WeightMatrix _w = null!;
    private NativeBuffer<float> _x = null!;
    private NativeBuffer<float> _y = null!;

    [ParamsSource(nameof(Paths))]
    public string Path { get; set; } = "portable";

    [Params(QuantType.F16, QuantType.Q8_0, QuantType.Q4_0, QuantType.Q4_K, QuantType.Q6_K)]
    public QuantType Type { get; set; }

    [Params(Precision.Exact, Precision.Fast)]
    public Precision Precision { get; set; }

    [Params(1, 4, 48)]
    public int Tokens { get; set; }

    [Params(1, 2)]
    public int Threads { get; set; }

    public static IEnumerable<string> Paths => KernelSet.Available.Select(k => k.Name).Where(n => n != "portable");

    public double BytesPerCall => (double)Rows * QuantFormat.Of(Type).RowBytes(Columns);

    public double MultiplyAddsPerCall => (double)Rows * Columns * Tokens;

    private int Rows => (int)((64L << 20) / QuantFormat.Of(Type).RowBytes(Columns) / 64 * 64);

    [GlobalSetup]
    public void Setup()
    {
        _ops = new Ops(KernelSet.Select(Path), Threads) { Precision = Precision };
        _w = Weights.Repeat(Type, Rows, Columns);
        _x = Weights.Activations(Tokens * Columns);
        _y = new((long)Tokens * Rows);
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _ops.Dispose();
        _x.Dispose();
        _y.Dispose();
    }

    [Benchmark]
    public void Linear() => _ops.Linear(_w, _x.Pointer, Tokens, _y.Pointer);
}

/// <summary>Ternary products from memory.</summary>
public unsafe class TernaryBenchmarks : ISized
{
    private const int Columns = 2560;
    private Ops _ops = null!;
    private WeightMatrix _w = null!;
    private QuantizedRows _q = null!;
    private NativeBuffer<float> _y = null!;

    [ParamsSource(nameof(Paths))]
    public string Path { get; set; } = "portable";

    [Params(QuantType.I2_S, QuantType.TQ2_0)]
    public QuantType Type { get; set; }

    [Params(1, 2, 4, 8, 64)]
    public int Tokens { get; set; }

    [Params(1, 2)]
    public int Threads { get; set; }

    public static IEnumerable<string> Paths => ProductBenchmarks.Paths;

    public double BytesPerCall => (double)Rows * QuantFormat.Of(Type).RowBytes(Columns);

    public double MultiplyAddsPerCall => (double)Rows * Columns * Tokens;

    private int Rows => (int)((64L << 20) / QuantFormat.Of(Type).RowBytes(Columns) / 64 * 64);

    [GlobalSetup]
    public void Setup()
    {
        _ops = new Ops(KernelSet.Select(Path), Threads);
        _w = Weights.Repeat(Type, Rows, Columns);
        _q = new QuantizedRows(Tokens, Columns);
        _y = new((long)Tokens * Rows);
        using var x = Weights.Activations(Tokens * Columns);
        _ops.Quantize(x.Pointer, Tokens, Columns, _q);
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _ops.Dispose();
        _q.Dispose();
        _y.Dispose();
    }

    [Benchmark]
    public void TernaryLinear() => _ops.TernaryLinear(_w, _q, Tokens, _y.Pointer);
}

/// <summary>The output head of BitNet-b1.58-2B-4T, 128256 x 2560 in F16: all logits, or the largest only.</summary>
public unsafe class HeadBenchmarks : ISized
{
    private const int Rows = 128256;
    private const int Columns = 2560;
    private Ops _ops = null!;
    private WeightMatrix _w = null!;
    private TwoStageHead _head = null!;
    private NativeBuffer<float> _x = null!;
    private NativeBuffer<float> _y = null!;

    /// <summary>Largest logits wanted; 0 for all.</summary>
    [Params(0, 1, 40)]
    public int Top { get; set; }

    [Params(1, 2)]
    public int Threads { get; set; }

    public double BytesPerCall => (double)Rows * Columns * (Top == 0 ? 2 : 1);

    public double MultiplyAddsPerCall => (double)Rows * Columns;

    [GlobalSetup]
    public void Setup()
    {
        _ops = new Ops(KernelSet.Select(), Threads);
        _w = Weights.Gaussian(Rows, Columns);
        _head = new TwoStageHead(_w, _ops);
        _x = Weights.Activations(Columns);
        _y = new(Rows);
        for (var call = 0; call <= TwoStageHead.PackSteps; call++)
        {
            _head.Multiply(_x.Pointer, [new TopRows(1, Rows)], _y.Pointer);
        }
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _head.Dispose();
        _ops.Dispose();
        _x.Dispose();
        _y.Dispose();
    }

    [Benchmark]
    public void Logits()
    {
        if (Top == 0)
        {
            _ops.Linear(_w, _x.Pointer, 1, _y.Pointer);
        }
        else
        {
            _head.Multiply(_x.Pointer, [new TopRows(Top, Rows)], _y.Pointer);
        }
    }
}
