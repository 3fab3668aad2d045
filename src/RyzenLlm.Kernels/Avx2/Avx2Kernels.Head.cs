using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Kernels;

// Scores from an int8 copy of the output head: codes sign-extended to 16 bits, vpmaddwd into 32-bit lanes, one stream.
internal unsafe partial class Avx2Kernels
{
    internal override void ScorePanel(sbyte* panel, int columns, short* x, long ldx, int tokens, float* scores)
    {
        new Span<float>(scores, tokens * ScoreRows).Clear();
        for (var first = 0; first < columns; first += ScoreColumns, panel += ScoreRows * ScoreColumns)
        {
            var pairs = Math.Min(ScoreColumns, columns - first) / 2;
            var t = 0;
            for (; t <= tokens - 2; t += 2)
            {
                ScoreTile2(panel, pairs, x + first + (t * ldx), ldx, scores + (t * ScoreRows));
            }

            if (t < tokens)
            {
                ScoreTile1(panel, pairs, x + first + (t * ldx), scores + (t * ScoreRows));
            }
        }
    }

    internal override void DecodeRow(WeightMatrix w, int m, float* row)
    {
        if (w.Format.Type == QuantType.F16)
        {
            WidenHalves((short*)(w.Data + (m * w.RowBytes)), w.Columns, row);
            GC.KeepAlive(w);
        }
        else
        {
            base.DecodeRow(w, m, row);
        }
    }

    internal override float PackInt8(float* row, int columns, sbyte* codes, out (double Residual, double Quantised, double Values) squares)
    {
        var whole = columns & ~7;
        var largest = 0f;
        for (var k = whole; k < columns; k++)
        {
            largest = Math.Max(largest, Math.Abs(row[k]));
        }

        var scale = Math.Max(largest, LargestMagnitude(row, whole)) / 127;
        PackInt8(row + whole, columns - whole, scale, codes + whole, out squares);
        PackWhole(row, whole, scale, codes, out var residual, out var quantised, out var values);
        squares = (squares.Residual + residual, squares.Quantised + quantised, squares.Values + values);
        return scale;
    }

    internal override double PackNibbles(float* row, sbyte* codes, float scale, int columns, byte* nibbles)
    {
        var whole = columns & ~31;
        var squares = PackWholeNibbles(row, codes, scale, whole, nibbles);
        return whole == columns ? squares : squares + base.PackNibbles(row + whole, codes + whole, scale, columns - whole, nibbles + (whole / 2));
    }

    internal override long DotNibbles(byte* nibbles, short* x, int columns)
    {
        const int Stretch = 4096; // 4096 * 15 * 32767 < 2^31
        var sum = 0L;
        for (var first = 0; first < columns; first += Stretch)
        {
            sum += DotBlocks(nibbles + (first / 2), x + first, (Math.Min(Stretch, columns - first) + 31) / 32);
        }

        return sum;
    }

    [MethodImpl(Hot)]
    private static int DotBlocks(byte* nibbles, short* x, int blocks)
    {
        var (low, high) = (Vector256<int>.Zero, Vector256<int>.Zero);
        for (var b = 0; b < blocks; b++, nibbles += 16, x += 32)
        {
            var pair = Vector128.Load(nibbles);
            var first = Avx2.ConvertToVector256Int16(pair & Vector128.Create((byte)15));
            var second = Avx2.ConvertToVector256Int16((pair.AsUInt16() >> 4).AsByte() & Vector128.Create((byte)15));
            low += Avx2.MultiplyAddAdjacent(first, Vector256.Load(x));
            high += Avx2.MultiplyAddAdjacent(second, Vector256.Load(x + 16));
        }

        return Vector256.Sum(low) + Vector256.Sum(high);
    }

    [MethodImpl(Hot)]
    private static double PackWholeNibbles(float* row, sbyte* codes, float scale, int columns, byte* nibbles)
    {
        var s = Vector256.Create(scale);
        var inverse = Vector256.Create(scale == 0 ? 0 : 16 / scale);
        Vector256<double> squares = default;
        for (var k = 0; k < columns; k += 32, nibbles += 16)
        {
            var block = Vector256<float>.Zero;
            var low = Halves(row + k, codes + k, s, inverse, ref block);
            var high = Halves(row + k + 16, codes + k + 16, s, inverse, ref block);
            (low | (high.AsUInt16() << 4).AsByte()).Store(nibbles);
            squares += Avx.ConvertToVector256Double(block.GetLower() + block.GetUpper());
        }

        return Vector256.Sum(squares);

        [MethodImpl(Inline)]
        static Vector128<byte> Halves(float* w, sbyte* q, Vector256<float> s, Vector256<float> inverse, ref Vector256<float> squares)
        {
            var (a, b) = (Nibbles(w, q, s, inverse, ref squares), Nibbles(w + 8, q + 8, s, inverse, ref squares));
            return Sse2.PackUnsignedSaturate(Sse2.PackSignedSaturate(a.GetLower(), a.GetUpper()), Sse2.PackSignedSaturate(b.GetLower(), b.GetUpper()));
        }

        [MethodImpl(Inline)]
        static Vector256<int> Nibbles(float* w, sbyte* q, Vector256<float> s, Vector256<float> inverse, ref Vector256<float> squares)
        {
            var missed = Fma.MultiplyAddNegated(s, Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(q)), Vector256.Load(w));
            var c = Avx.ConvertToVector256Int32WithTruncation((missed * inverse) + Vector256.Create(8f));
            c = Vector256.Min(Vector256.Max(c, Vector256<int>.Zero), Vector256.Create(15));
            var left = Fma.MultiplyAddNegated(s * 0.0625f, Avx.ConvertToVector256Single(c) - Vector256.Create(7.5f), missed);
            squares += left * left;
            return c;
        }
    }

    [MethodImpl(Hot)]
    private static float LargestMagnitude(float* x, int n)
    {
        var m = Vector256<float>.Zero;
        for (var i = 0; i < n; i += 8)
        {
            m = Vector256.Max(m, Vector256.Abs(Vector256.Load(x + i)));
        }

        var quarter = Vector128.Max(m.GetLower(), m.GetUpper());
        return MathF.Max(MathF.Max(quarter[0], quarter[1]), MathF.Max(quarter[2], quarter[3]));
    }

    [MethodImpl(Hot)]
    private static void PackWhole(float* row, int columns, float scale, sbyte* codes, out double residual, out double quantised, out double values)
    {
        var inverse = Vector256.Create(scale == 0 ? 0 : 1 / scale);
        var s = Vector256.Create((double)scale);
        Vector256<double> r = default, q = default, v = default;
        for (var k = 0; k < columns; k += 8)
        {
            var w = Vector256.Load(row + k);
            var code = Vector256.Min(Vector256.Max(Avx.ConvertToVector256Int32(w * inverse), Vector256.Create(-127)), Vector256.Create(127));
            var words = Sse2.PackSignedSaturate(code.GetLower(), code.GetUpper());
            *(long*)(codes + k) = Sse2.PackSignedSaturate(words, words).AsInt64().ToScalar();
            Add(w.GetLower(), code.GetLower(), s, ref r, ref q, ref v);
            Add(w.GetUpper(), code.GetUpper(), s, ref r, ref q, ref v);
        }

        residual = Vector256.Sum(r);
        quantised = Vector256.Sum(q);
        values = Vector256.Sum(v);

        [MethodImpl(Inline)]
        static void Add(Vector128<float> w, Vector128<int> code, Vector256<double> s, ref Vector256<double> r, ref Vector256<double> q, ref Vector256<double> v)
        {
            var exact = Avx.ConvertToVector256Double(w);
            var rounded = Avx.ConvertToVector256Double(code) * s;
            var d = exact - rounded;
            r += d * d;
            q += rounded * rounded;
            v += exact * exact;
        }
    }

    [MethodImpl(Hot)]
    private static void WidenHalves(short* x, int n, float* y)
    {
        var i = 0;
        for (; i <= n - 8; i += 8)
        {
            LoadHalves(x + i).Store(y + i);
        }

        for (; i < n; i++)
        {
            y[i] = Half((byte*)(x + i));
        }
    }

    /// <summary>32 rows and a token over up to 512 columns, added to scores.</summary>
    [MethodImpl(Hot)]
    private static void ScoreTile1(sbyte* q, int pairs, short* x, float* scores)
    {
        Vector256<int> a = default, b = default, c = default, d = default;
        for (var end = x + (2 * pairs); x < end; x += 2, q += 2 * ScoreRows)
        {
            Sse.Prefetch0(q + 4096);
            var v = Vector256.Create(*(int*)x).AsInt16();
            a += Avx2.MultiplyAddAdjacent(Avx2.ConvertToVector256Int16(Vector128.Load(q)), v);
            b += Avx2.MultiplyAddAdjacent(Avx2.ConvertToVector256Int16(Vector128.Load(q + 16)), v);
            c += Avx2.MultiplyAddAdjacent(Avx2.ConvertToVector256Int16(Vector128.Load(q + 32)), v);
            d += Avx2.MultiplyAddAdjacent(Avx2.ConvertToVector256Int16(Vector128.Load(q + 48)), v);
        }

        AddScores(a, b, c, d, scores);
    }

    /// <summary>The same for two tokens.</summary>
    [MethodImpl(Hot)]
    private static void ScoreTile2(sbyte* q, int pairs, short* x, long ldx, float* scores)
    {
        Vector256<int> a0 = default, b0 = default, c0 = default, d0 = default, a1 = default, b1 = default, c1 = default, d1 = default;
        for (var end = x + (2 * pairs); x < end; x += 2, q += 2 * ScoreRows)
        {
            Sse.Prefetch0(q + 4096);
            var v0 = Vector256.Create(*(int*)x).AsInt16();
            var v1 = Vector256.Create(*(int*)(x + ldx)).AsInt16();
            MultiplyPair(ref a0, ref a1, q, v0, v1);
            MultiplyPair(ref b0, ref b1, q + 16, v0, v1);
            MultiplyPair(ref c0, ref c1, q + 32, v0, v1);
            MultiplyPair(ref d0, ref d1, q + 48, v0, v1);
        }

        AddScores(a0, b0, c0, d0, scores);
        AddScores(a1, b1, c1, d1, scores + ScoreRows);
    }

    [MethodImpl(Inline)]
    private static void MultiplyPair(ref Vector256<int> a0, ref Vector256<int> a1, sbyte* q, Vector256<short> v0, Vector256<short> v1)
    {
        var w = Avx2.ConvertToVector256Int16(Vector128.Load(q));
        a0 += Avx2.MultiplyAddAdjacent(w, v0);
        a1 += Avx2.MultiplyAddAdjacent(w, v1);
    }

    [MethodImpl(Inline)]
    private static void AddScores(Vector256<int> a, Vector256<int> b, Vector256<int> c, Vector256<int> d, float* scores)
    {
        (Vector256.Load(scores) + Vector256.ConvertToSingle(a)).Store(scores);
        (Vector256.Load(scores + 8) + Vector256.ConvertToSingle(b)).Store(scores + 8);
        (Vector256.Load(scores + 16) + Vector256.ConvertToSingle(c)).Store(scores + 16);
        (Vector256.Load(scores + 24) + Vector256.ConvertToSingle(d)).Store(scores + 24);
    }
}
