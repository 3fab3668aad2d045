using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using V = System.Runtime.Intrinsics.Vector256<float>;

namespace RyzenLlm.Kernels;

// What a single row sees, and what only some rows of a tile see (the diagonal of a prompt, the branches of a tree): four query heads at a time share the loads
// of keys and values. Each score is one chain over the head's dimensions, each output one chain over the positions; slots only say where a
// position lies, so a row of a drafted tree and the same tokens in a plain chain give the same bits.
internal unsafe partial class Avx2Kernels
{
    private interface ICache
    {
        static abstract int Bytes { get; }

        /// <summary>Whether the scale of a vector lies behind it.</summary>
        static abstract bool IsScaled { get; }

        static abstract V Load(byte* p);
    }

    /// <summary>Query heads that one pass over the cache serves.</summary>
    private protected interface IHeads
    {
        static abstract int Count { get; }
    }

    private protected readonly struct OneHead : IHeads
    {
        public static int Count => 1;
    }

    private protected readonly struct FourHeads : IHeads
    {
        public static int Count => 4;
    }

    private readonly struct F16Cache : ICache
    {
        public static int Bytes => 2;

        public static bool IsScaled => false;

        [MethodImpl(Inline)]
        public static V Load(byte* p) => LoadHalves((short*)p);
    }

    private readonly struct I8Cache : ICache
    {
        public static int Bytes => 1;

        public static bool IsScaled => true;

        [MethodImpl(Inline)]
        public static V Load(byte* p) => Vector256.ConvertToSingle(Avx2.ConvertToVector256Int32((sbyte*)p));
    }

    private readonly struct F32Cache : ICache
    {
        public static int Bytes => 4;

        public static bool IsScaled => false;

        [MethodImpl(Inline)]
        public static V Load(byte* p) => Vector256.Load((float*)p);
    }

    /// <summary>Scores of the positions [begin, end) of a row, from <paramref name="scores"/> on.</summary>
    private void ScoreRow(in KvView view, int begin, int end, int kvHead, float* q, int group, float scale, float* scores, int ld)
    {
        for (var p = begin; p < end;)
        {
            var (slot, run) = Run(view, p, end);
            ScoreRun(view.Key(slot, kvHead), view.Type, run, q, group, view.HeadSize, scale, scores + (p - begin), ld);
            p += run;
        }
    }

    /// <summary>Adds the values of the positions [begin, end) of a row, weighted from <paramref name="weights"/> on.</summary>
    private void AddRow(in KvView view, int begin, int end, int kvHead, float* weights, int ld, int group, float* output)
    {
        for (var p = begin; p < end;)
        {
            var (slot, run) = Run(view, p, end);
            AddRun(view.Value(slot, kvHead), view.Type, run, weights + (p - begin), ld, group, view.HeadSize, output);
            p += run;
        }
    }

    /// <summary>scores[j ld + p] = scale (q_j . key p) for positions that lie one behind the other.</summary>
    private protected virtual void ScoreRun(byte* keys, KvType type, int count, float* q, int group, int h, float scale, float* scores, int ld)
    {
        for (var j = 0; j < group;)
        {
            var heads = group - j >= 4 ? 4 : 1;
            switch (type, heads)
            {
                case (KvType.F16, 4):
                    Scores<F16Cache, FourHeads>(keys, count, q + (j * h), h, scale, scores + ((long)j * ld), ld);
                    break;
                case (KvType.F16, _):
                    Scores<F16Cache, OneHead>(keys, count, q + (j * h), h, scale, scores + ((long)j * ld), ld);
                    break;
                case (KvType.I8, 4):
                    Scores<I8Cache, FourHeads>(keys, count, q + (j * h), h, scale, scores + ((long)j * ld), ld);
                    break;
                case (KvType.I8, _):
                    Scores<I8Cache, OneHead>(keys, count, q + (j * h), h, scale, scores + ((long)j * ld), ld);
                    break;
                case (_, 4):
                    Scores<F32Cache, FourHeads>(keys, count, q + (j * h), h, scale, scores + ((long)j * ld), ld);
                    break;
                default:
                    Scores<F32Cache, OneHead>(keys, count, q + (j * h), h, scale, scores + ((long)j * ld), ld);
                    break;
            }

            j += heads;
        }
    }

    /// <summary>output_j += sum of weights[j ld + p] value p for positions that lie one behind the other.</summary>
    private protected virtual void AddRun(byte* values, KvType type, int count, float* weights, int ld, int group, int h, float* output)
    {
        for (var j = 0; j < group;)
        {
            var heads = group - j >= 4 ? 4 : 1;
            switch (type, heads)
            {
                case (KvType.F16, 4):
                    Values<F16Cache, FourHeads>(values, count, weights + ((long)j * ld), ld, h, output + (j * h));
                    break;
                case (KvType.F16, _):
                    Values<F16Cache, OneHead>(values, count, weights + ((long)j * ld), ld, h, output + (j * h));
                    break;
                case (KvType.I8, 4):
                    Values<I8Cache, FourHeads>(values, count, weights + ((long)j * ld), ld, h, output + (j * h));
                    break;
                case (KvType.I8, _):
                    Values<I8Cache, OneHead>(values, count, weights + ((long)j * ld), ld, h, output + (j * h));
                    break;
                case (_, 4):
                    Values<F32Cache, FourHeads>(values, count, weights + ((long)j * ld), ld, h, output + (j * h));
                    break;
                default:
                    Values<F32Cache, OneHead>(values, count, weights + ((long)j * ld), ld, h, output + (j * h));
                    break;
            }

            j += heads;
        }
    }

    /// <summary>Slot of position p and the number of positions from it to <paramref name="end"/> whose slots follow in the same block.</summary>
    private static (int Slot, int Length) Run(in KvView view, int p, int end)
    {
        var slot = view.Slot(p);
        var room = Math.Min(KvView.BlockPositions - (slot % KvView.BlockPositions), end - p);
        if (p < view.Prefix)
        {
            return (slot, Math.Min(room, view.Prefix - p));
        }

        var length = 1;
        while (length < room && view.Slot(p + length) == slot + length)
        {
            length++;
        }

        return (slot, length);
    }

    [MethodImpl(Hot)]
    private static void Scale(float* x, float factor, int n)
    {
        var i = 0;
        for (; i <= n - 8; i += 8)
        {
            (Vector256.Load(x + i) * factor).Store(x + i);
        }

        for (; i < n; i++)
        {
            x[i] *= factor;
        }
    }

    /// <summary>Raises <paramref name="largest"/> to the largest score; scores become exp(score - largest). Returns their sum, by position modulo 8.</summary>
    [MethodImpl(Hot)]
    private protected virtual float Weights(float* scores, int count, ref float largest)
    {
        var max = Vector256.Create(largest);
        var i = 0;
        for (; i <= count - 8; i += 8)
        {
            max = Avx.Max(max, Vector256.Load(scores + i));
        }

        var mask = TailMask(count - i);
        if (i < count)
        {
            max = Avx.Max(max, Avx.BlendVariable(max, Avx.MaskLoad(scores + i, mask), mask));
        }

        // The largest lane, everywhere.
        max = Avx.Max(max, Avx.Permute2x128(max, max, 1));
        max = Avx.Max(max, Avx.Permute(max, 0b01_00_11_10));
        max = Avx.Max(max, Avx.Permute(max, 0b10_11_00_01));
        largest = max.ToScalar();
        var sum = V.Zero;
        for (i = 0; i <= count - 8; i += 8)
        {
            var e = Exp(Vector256.Load(scores + i) - max);
            e.Store(scores + i);
            sum += e;
        }

        if (i < count)
        {
            var e = Exp(Avx.MaskLoad(scores + i, mask) - max) & mask;
            Avx.MaskStore(scores + i, mask, e);
            sum += e;
        }

        return SumLanes(sum, sum, sum, sum).ToScalar();
    }

    /// <summary>Bytes from one position to the next.</summary>
    [MethodImpl(Inline)]
    private static int Stride<TCache>(int h)
        where TCache : struct, ICache => (h * TCache.Bytes) + (TCache.IsScaled ? sizeof(float) : 0);

    /// <summary>A position's weight times the scale of its vector, whose element <paramref name="i"/> is at <paramref name="v"/>.</summary>
    [MethodImpl(Inline)]
    private static float Scaled<TCache>(float weight, byte* v, int i, int h)
        where TCache : struct, ICache => TCache.IsScaled ? weight * *(float*)(v - i + h) : weight;

    [MethodImpl(Hot)]
    private static void Scores<TCache, THeads>(byte* keys, int count, float* q, int h, float scale, float* scores, int ld)
        where TCache : struct, ICache
        where THeads : struct, IHeads
    {
        for (var p = 0; p < count; p++, keys += Stride<TCache>(h))
        {
            V a = default, b = default, c = default, d = default;
            for (var i = 0; i < h; i += 8)
            {
                var key = TCache.Load(keys + (i * TCache.Bytes));
                a = Fma.MultiplyAdd(key, Vector256.Load(q + i), a);
                if (THeads.Count == 4)
                {
                    b = Fma.MultiplyAdd(key, Vector256.Load(q + h + i), b);
                    c = Fma.MultiplyAdd(key, Vector256.Load(q + (2 * h) + i), c);
                    d = Fma.MultiplyAdd(key, Vector256.Load(q + (3 * h) + i), d);
                }
            }

            var sums = SumLanes(a, b, c, d) * (TCache.IsScaled ? scale * *(float*)(keys + h) : scale);
            scores[p] = sums[0];
            if (THeads.Count == 4)
            {
                scores[p + ld] = sums[1];
                scores[p + (2L * ld)] = sums[2];
                scores[p + (3L * ld)] = sums[3];
            }
        }
    }

    [MethodImpl(Hot)]
    private static void Values<TCache, THeads>(byte* values, int count, float* weights, int ld, int h, float* output)
        where TCache : struct, ICache
        where THeads : struct, IHeads
    {
        var w1 = weights + ld;
        var w2 = w1 + ld;
        var w3 = w2 + ld;
        for (var i = 0; i < h; i += 8)
        {
            var o = output + i;
            var v = values + (i * TCache.Bytes);
            V a = Vector256.Load(o), b = default, c = default, d = default;
            if (THeads.Count == 4)
            {
                b = Vector256.Load(o + h);
                c = Vector256.Load(o + (2 * h));
                d = Vector256.Load(o + (3 * h));
            }

            for (var p = 0; p < count; p++, v += Stride<TCache>(h))
            {
                var value = TCache.Load(v);
                a = Fma.MultiplyAdd(value, Vector256.Create(Scaled<TCache>(weights[p], v, i, h)), a);
                if (THeads.Count == 4)
                {
                    b = Fma.MultiplyAdd(value, Vector256.Create(Scaled<TCache>(w1[p], v, i, h)), b);
                    c = Fma.MultiplyAdd(value, Vector256.Create(Scaled<TCache>(w2[p], v, i, h)), c);
                    d = Fma.MultiplyAdd(value, Vector256.Create(Scaled<TCache>(w3[p], v, i, h)), d);
                }
            }

            a.Store(o);
            if (THeads.Count == 4)
            {
                b.Store(o + h);
                c.Store(o + (2 * h));
                d.Store(o + (3 * h));
            }
        }
    }
}
