using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Tests.Kernels;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels.Tests;

/// <summary>The checked entries: same result for any number of threads, no allocation, clear errors.</summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class OpsTests(string path)
{
    private const int Rows = 133;
    private const int Columns = 384;
    private const int N = 7;

    [Test]
    public void Linear_AnyThreads_SameBits([Values(QuantType.F32, QuantType.Q8_0)] QuantType type)
    {
        var kernels = Paths.Get(path);
        var w = Weights(type);
        using var x = Data.Uniform(1, N * Columns);
        using var expected = new Data.Operand(N * Rows);
        kernels.MatMul(w, 0, Rows, x.Pointer, Columns, N, expected.Pointer, Rows);
        foreach (var threads in (int[])[1, 2, 3, 8])
        {
            using var ops = new Ops(kernels, threads);
            using var y = new Data.Operand(N * Rows);
            ops.Linear(w, x.Pointer, N, y.Pointer);
            Assert.That(y.ToArray(), Is.EqualTo(expected.ToArray()), $"{threads} threads");
            ops.Linear(w, x.Pointer, 0, y.Pointer);
        }
    }

    [Test]
    public void Linear_OnATeamThatOthersUse_SameBitsAndTheTeamStays()
    {
        var kernels = Paths.Get(path);
        var w = Weights(QuantType.Q8_0);
        using var x = Data.Uniform(1, N * Columns);
        using var expected = new Data.Operand(N * Rows);
        using var y = new Data.Operand(N * Rows);
        using var owner = new Ops(kernels, 2, pin: false);
        using (var guest = new Ops(kernels, owner.Team) { Precision = Precision.Fast })
        {
            for (var turn = 0; turn < 20; turn++)
            {
                owner.Linear(w, x.Pointer, N, expected.Pointer);
                guest.Linear(w, x.Pointer, N, y.Pointer);
            }
        }

        owner.Linear(w, x.Pointer, N, y.Pointer);
        Assert.That(y.ToArray(), Is.EqualTo(expected.ToArray()), "the guest took neither threads nor precision away");
    }

    [Test]
    public void Prepare_LeavesATeamOfOthersAlone()
    {
        using var owner = new Ops(Paths.Get(path), 3, pin: false);
        using var guest = new Ops(Paths.Get(path), owner.Team);
        var job = new ShareJob();
        owner.Prepare(job);
        Assert.That(job.Shares, Is.EquivalentTo(new[] { (0, 3), (1, 3), (2, 3) }));
        job.Shares.Clear();
        guest.Prepare(job);
        Assert.That(job.Shares, Is.EqualTo(new[] { (0, 1) }));
    }

    [Test]
    public void TernaryLinear_AnyThreads_SameBits()
    {
        var kernels = Paths.Get(path);
        var w = Weights(QuantType.I2_S);
        using var x = Data.Uniform(1, N * Columns);
        var row = w.Decode()[..Columns];
        float[]? expected = null;
        foreach (var threads in (int[])[1, 2, 3, 8])
        {
            using var ops = new Ops(kernels, threads);
            using var q = new QuantizedRows(N + 1, Columns + 128);
            using var y = new Data.Operand(N * Rows);
            ops.Quantize(x.Pointer, N, Columns, q);
            ops.TernaryLinear(w, q, N, y.Pointer);
            expected ??= y.ToArray();
            Assert.That(y.ToArray(), Is.EqualTo(expected), $"{threads} threads");
            for (var t = 0; t < N; t++)
            {
                var exact = Enumerable.Range(0, Columns).Sum(k => row[k] * (double)x[(t * Columns) + k]);
                Assert.That(y[t * Rows], Is.EqualTo(exact).Within(0.5), "row 0, up to the rounding of activations");
            }
        }
    }

    [Test]
    public void TernaryLinear_SeveralMatricesInOneRegion_SameBitsAsOneByOne([Values(1, 2, 3)] int threads, [Values(1, 5)] int n)
    {
        var kernels = Paths.Get(path);
        using var ops = new Ops(kernels, threads);
        int[] rows = [133, 32, 7, 200];
        var matrices = rows.Select((count, i) => WeightMatrix.Encode($"w{i}", QuantType.I2_S, count, Columns, Ternary(i, count * Columns))).ToArray();
        using var x = Data.Uniform(1, n * Columns);
        using var q = new QuantizedRows(n, Columns);
        using var expected = new NativeBuffer<float>(n * rows.Sum());
        using var actual = new NativeBuffer<float>(n * rows.Sum());
        ops.Quantize(x.Pointer, n, Columns, q);
        var together = new List<TernaryProduct>();
        var at = 0;
        foreach (var w in matrices)
        {
            ops.TernaryLinear(w, q, n, expected.Pointer + at);
            together.Add(new(w, actual.Pointer + at));
            at += n * w.Rows;
        }

        var bytes = ops.WeightBytes;
        ops.TernaryLinear(together.ToArray(), q, n);
        Assert.That(actual.Span.SequenceEqual(expected.Span));
        Assert.That(ops.WeightBytes, Is.EqualTo(2 * bytes));
        ops.TernaryLinear([], q, n);
        together.Add(together[0]);
        Assert.That(() => ops.TernaryLinear(together.ToArray(), q, n), Throws.InstanceOf<ArgumentOutOfRangeException>(), "more than four");
    }

    private static float[] Ternary(int seed, int length)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => 0.5f * random.Next(-1, 2))];
    }

    [Test]
    public void ForEach_EveryIndexOnce([Values(1, 2, 5)] int threads, [Values(0, 1, 4, 17)] int n)
    {
        using var ops = new Ops(Paths.Get(path), threads);
        var seen = new int[n];
        ops.ForEach(n, i => Interlocked.Increment(ref seen[i]));
        Assert.That(seen, Is.All.EqualTo(1));
    }

    [Test]
    public void Products_AllocateNothingOnceWarm([Values] bool wholePrompt, [Values] Precision precision)
    {
        var kernels = Paths.Get(path);
        var n = wholePrompt ? 50 : 1;
        var formats = QuantFormat.All.Where(f => Columns % f.BlockLength == 0).Select(f => Weights(f.Type)).ToArray();
        var ternary = Weights(QuantType.I2_S);
        using var ops = new Ops(kernels, 2) { Precision = precision };
        using var x = Data.Uniform(1, n * Columns);
        using var y = new Data.Operand(n * Rows);
        using var q = new QuantizedRows(n, Columns);
        var measure = new AllocatedBytes();
        var bytes = measure.PerWorker;
        var before = new long[2];
        long[] least = [long.MaxValue, long.MaxValue];
        for (var round = 0; round < 7; round++)
        {
            foreach (var w in formats)
            {
                ops.Linear(w, x.Pointer, n, y.Pointer);
            }

            ops.Quantize(x.Pointer, n, Columns, q);
            ops.TernaryLinear(ternary, q, n, y.Pointer);
            ops.Team.Run(measure);

            // Two rounds to warm up. Then the least of five counts: a collection in between, which any thread may cause, charges the unused
            // rest of an allocation buffer to the thread.
            for (var worker = 0; worker < 2; worker++)
            {
                least[worker] = round < 2 ? long.MaxValue : Math.Min(least[worker], bytes[worker] - before[worker]);
                before[worker] = bytes[worker];
            }
        }

        Assert.That(least[0], Is.Zero, "caller");
        Assert.That(least[1], Is.Zero, "worker");
    }

    [Test]
    public void Misuse_IsRefusedAtOnce()
    {
        using var ops = new Ops(Paths.Get(path), 1);
        var w = Weights(QuantType.I2_S);
        using var x = Data.Uniform(1, 2 * 512);
        using var y = new Data.Operand(2 * Rows);
        using var q = new QuantizedRows(2, Columns);
        Assert.That(() => ops.Linear(w, x.Pointer, -1, y.Pointer), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => ops.Linear(w, null, 1, y.Pointer), Throws.ArgumentNullException);
        Assert.That(() => ops.Linear(w, x.Pointer, 1, null), Throws.ArgumentNullException);
        Assert.That(() => ops.Quantize(x.Pointer, 3, Columns, q), Throws.ArgumentException, "too many rows");
        Assert.That(() => ops.Quantize(x.Pointer, 1, 100, q), Throws.ArgumentException, "no multiple of 128");
        Assert.That(() => ops.Quantize(x.Pointer, 1, 1024, q), Throws.ArgumentException, "too long");
        ops.Quantize(x.Pointer, 2, 256, q);
        Assert.That(() => ops.TernaryLinear(w, q, 2, y.Pointer), Throws.ArgumentException.With.Message.Contains("256").And.Message.Contains("384"));
        ops.Quantize(x.Pointer, 1, Columns, q);
        Assert.That(() => ops.TernaryLinear(w, q, 3, y.Pointer), Throws.ArgumentException, "more rows than held");
        Assert.That(() => ops.TernaryLinear(Weights(QuantType.F32), q, 1, y.Pointer), Throws.ArgumentException.With.Message.Contains("Linear"));
        Assert.That(() => ops.ForEach(-1, _ => { }), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    private sealed class AllocatedBytes : TeamJob
    {
        public long[] PerWorker { get; } = new long[2];

        public override void Run(int worker, int workers) => PerWorker[worker] = GC.GetAllocatedBytesForCurrentThread();
    }

    private static WeightMatrix Weights(QuantType type)
    {
        using var values = Data.Uniform(11, Rows * Columns);
        return WeightMatrix.Encode(
            "w", type, Rows, Columns, KernelSet.IsTernary(type) ? values.ToArray().Select(v => MathF.Round(v) * 0.5f).ToArray() : values.ToArray());
    }

    private sealed class ShareJob : TeamJob
    {
        public List<(int Worker, int Workers)> Shares { get; } = [];

        public override void Run(int worker, int workers)
        {
            lock (Shares)
            {
                Shares.Add((worker, workers));
            }
        }
    }
}
