using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Tests.Kernels;

namespace RyzenLlm.Kernels.Tests;

/// <summary>The estimated head: what it gives has the bits of the full product, and the largest logits are hardly ever missing.</summary>
[TestFixtureSource(typeof(Paths), nameof(Paths.All))]
public sealed unsafe class CandidateHeadTests(string path)
{
    private const int Columns = 256;

    [Test]
    public void Multiply_GivesCandidatesWithTheBitsOfTheFullProduct(
        [Values(QuantType.F16, QuantType.F32, QuantType.Q8_0)] QuantType type, [Values(1, 2)] int threads, [Values(1, 3)] int tokens)
    {
        const int Count = 2999, Wanted = 40, Known = 2990; // a last piece that fills no vector, and padding behind the vocabulary
        var w = Head(type, Count, Columns);
        using var ops = new Ops(Paths.Get(path), threads, pin: false);
        using var head = new CandidateHead(w, ops);
        using var x = Data.Uniform(tokens, tokens * Columns, -3, 3);
        using var full = new Data.Operand(tokens * Count);
        using var y = new Data.Operand(tokens * Count);
        ops.Linear(w, x.Pointer, tokens, full.Pointer);
        var bytes = ops.WeightBytes;
        var tops = Enumerable.Repeat(new TopRows(Wanted, Known), tokens).ToArray();

        head.Multiply(x.Pointer, tops, y.Pointer);

        var given = 0;
        for (var t = 0; t < tokens; t++)
        {
            var expected = full.Span.Slice(t * Count, Count).ToArray();
            var actual = y.Span.Slice(t * Count, Count).ToArray();
            var candidates = Enumerable.Range(0, Count).Where(m => !float.IsNegativeInfinity(actual[m])).ToArray();
            Assert.That(candidates, Has.Length.InRange(Wanted, Wanted + 5), "more only where estimates are equal");
            Assert.That(candidates, Has.All.LessThan(Known));
            Assert.That(candidates.Select(m => actual[m]), Is.EqualTo(candidates.Select(m => expected[m])));
            given += candidates.Length;
        }

        Assert.That(head.RefinedRows, Is.EqualTo(given));
        Assert.That(ops.WeightBytes - bytes, Is.EqualTo((tokens * ((Count * Columns / 4) + 32)) + (given * w.RowBytes)));
    }

    [Test]
    public void Multiply_TheLargestLogitIsHardlyEverMissing()
    {
        // The largest of 4096 normally distributed logits leads the others by less than the likeliest token of a text does.
        const int Count = 4096, Tokens = 70;
        var w = Head(QuantType.F16, Count, Columns);
        using var ops = new Ops(Paths.Get(path), 2, pin: false);
        using var head = new CandidateHead(w, ops);
        using var x = Data.Uniform(7, Tokens * Columns, -3, 3);
        using var full = new Data.Operand(Count);
        using var y = new Data.Operand(Count);
        var found = 0;
        for (var t = 0; t < Tokens; t++)
        {
            ops.Linear(w, x.Pointer + (t * Columns), 1, full.Pointer);
            head.Multiply(x.Pointer + (t * Columns), [new(64, Count)], y.Pointer);
            var largest = full.ToArray().AsSpan().IndexOf(full.ToArray().Max());
            found += y[largest] == full[largest] ? 1 : 0;
        }

        Assert.That(found, Is.GreaterThan(Tokens * 97 / 100));
    }

    [Test]
    public void Multiply_RowsOfAnyScaleAndBrokenOnes()
    {
        var values = new float[512 * Columns];
        for (var m = 0; m < 512; m++)
        {
            values.AsSpan(m * Columns, Columns).Fill(m < 256 ? 0 : m * 1e-6f); // zeros, then ever larger rows
        }

        values[300 * Columns] = float.NaN;
        var w = WeightMatrix.Encode("head", QuantType.F32, 512, Columns, values);
        using var ops = new Ops(Paths.Get(path), 2, pin: false);
        using var head = new CandidateHead(w, ops);
        using var x = Data.Uniform(1, Columns, 1, 2);
        using var y = new Data.Operand(512);

        head.Multiply(x.Pointer, [new(3, 512)], y.Pointer);

        Assert.That(Enumerable.Range(0, 512).Where(m => !float.IsNegativeInfinity(y[m])), Is.EqualTo(new[] { 509, 510, 511 }), "a broken row is estimated as zero");
        x.Span.Clear();
        head.Multiply(x.Pointer, [new(3, 512)], y.Pointer);
        Assert.That(y.ToArray().Count(v => v == 0), Is.EqualTo(511), "where all estimates are equal, all are candidates");
    }

    [Test]
    public void Multiply_AllocatesNothing()
    {
        using var ops = new Ops(Paths.Get(path), 2, pin: false);
        using var head = new CandidateHead(Head(QuantType.F16, 2000, Columns), ops);
        using var x = Data.Uniform(1, Columns);
        using var y = new Data.Operand(2000);
        var tops = new TopRows[] { new(5, 2000) };
        void Work() => head.Multiply(x.Pointer, tops, y.Pointer);
        for (var call = 0; call < 100; call++)
        {
            Work();
        }

        var least = long.MaxValue;
        for (var run = 0; run < 3; run++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            Work();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        Assert.That(least, Is.Zero);
    }

    [Test]
    public void Misuse_IsRefused()
    {
        using var ops = new Ops(Paths.Get(path), 1);
        var w = Head(QuantType.F16, 800, Columns);
        Assert.That(() => new CandidateHead(WeightMatrix.Encode("q", QuantType.F16, 1, 96, new float[96]), ops), Throws.ArgumentException.With.Message.Contains("128"));
        Assert.That(CandidateHead.Fits(WeightMatrix.Encode("t", QuantType.I2_S, 1, 128, new float[128])), Is.False);
        Assert.That(CandidateHead.Pays(w, [new(100, 800)]), Is.True);
        Assert.That(CandidateHead.Pays(w, [new(100, 800), new(101, 800)]), Is.False, "few candidates of many rows");
        Assert.That(CandidateHead.Pays(w, [default]), Is.False, "all logits");
        using var head = new CandidateHead(w, ops);
        using var x = Data.Uniform(1, Columns);
        using var y = new Data.Operand(800);
        Assert.That(() => head.Multiply(x.Pointer, [new(0, 800)], y.Pointer), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => head.Multiply(x.Pointer, [new(1025, 800)], y.Pointer), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => head.Multiply(x.Pointer, [new(1, 801)], y.Pointer), Throws.InstanceOf<ArgumentOutOfRangeException>());
        Assert.That(() => head.Multiply(x.Pointer, [new(5, 4)], y.Pointer), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    private static WeightMatrix Head(QuantType type, int rows, int columns)
    {
        var random = new Random(rows);
        var values = new float[rows * columns];
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()) * 0.02);
        }

        return WeightMatrix.Encode("head", type, rows, columns, values);
    }
}
