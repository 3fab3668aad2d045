using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using S = System.Runtime.Intrinsics.Vector512<short>;

namespace RyzenLlm.Kernels;

// Lookup with vpermw: 32 rows per instruction, each lane picks one of 32 sums of three activations by the low five bits of its word. A table is loaded once for
// the 64 rows of a panel; the shifts that bring up the next index serve all tokens. A lane may wrap on the way, see the portable definition: sums are modulo 2^16.
internal sealed unsafe partial class Avx512Kernels
{
    // Entry e: the bytes d_0, d_1 of lane e of the first, d_2, 0 of the second.
    private static readonly Vector512<byte> FirstDigits = MakeDigits(pair: true);
    private static readonly Vector512<byte> ThirdDigits = MakeDigits(pair: false);

    public override bool HasLookup => true;

    [MethodImpl(Hot)]
    internal override short BuildTables(sbyte* q, int stored, int count, short* tables, long ldt)
    {
        var firstDigits = FirstDigits;
        var thirdDigits = ThirdDigits;

        // From 16 activations in every quarter: numbers b and b + 4 in every 16-bit lane, and b + 8 beside a zero.
        var pair = Vector512.Create((short)0x0400).AsSByte();
        var third = Vector512.Create(unchecked((short)0x8008)).AsSByte();
        var next = Vector512.Create((short)0x0101).AsSByte();
        var nextThird = Vector512.Create((short)0x0001).AsSByte();
        var sum = S.Zero;
        for (var word = 0; word < count; word += WordsPerQuad, q += ColumnsPerQuad)
        {
            for (var i = 0; i < TablesPerWord; i++)
            {
                var x = Avx512F.BroadcastVector128ToVector512((int*)(q + (12 * i))).AsSByte();
                var (p, t) = (pair, third);
                for (var b = 0; b < WordsPerQuad; b++)
                {
                    var table = Avx512BW.MultiplyAddAdjacent(firstDigits, Avx512BW.Shuffle(x, p))
                        + Avx512BW.MultiplyAddAdjacent(thirdDigits, Avx512BW.Shuffle(x, t));
                    table.Store(tables + (((((word + b) * TablesPerWord) + i)) * ldt));
                    sum -= table;
                    (p, t) = (p + next, t + nextThird);
                }
            }
        }

        return sum[ZeroWord & 31]; // the entry of three digits 1 is the sum of its activations
    }

    internal override void Lookup(ushort* words, int count, short* tables, short* starts, int tokens, ushort* ahead, int* sums, long lds)
    {
        switch (tokens)
        {
            case 1:
                LookupOne((short*)words, count, tables, starts, (short*)ahead, sums);
                break;
            case 2:
                LookupMany<Two>((short*)words, count, tables, starts, (short*)ahead, sums, lds);
                break;
            case 3:
                LookupMany<Three>((short*)words, count, tables, starts, (short*)ahead, sums, lds);
                break;
            case 4:
                LookupMany<Four>((short*)words, count, tables, starts, (short*)ahead, sums, lds);
                break;
            case 5:
                LookupMany<Five>((short*)words, count, tables, starts, (short*)ahead, sums, lds);
                break;
            case 6:
                LookupMany<Six>((short*)words, count, tables, starts, (short*)ahead, sums, lds);
                break;
            case 7:
                LookupMany<Seven>((short*)words, count, tables, starts, (short*)ahead, sums, lds);
                break;
            default:
                LookupMany<Eight>((short*)words, count, tables, starts, (short*)ahead, sums, lds);
                break;
        }
    }

    [MethodImpl(Hot)]
    internal override void ScaleSums(int* sums, int rows, float a, float scale, float* y)
    {
        var divisor = Vector512.Create(a);
        var factor = Vector512.Create(scale);
        var r = 0;
        for (; r + 16 <= rows; r += 16)
        {
            (Avx512F.ConvertToVector512Single(Vector512.Load(sums + r)) / divisor * factor).Store(y + r);
        }

        for (; r < rows; r++)
        {
            y[r] = sums[r] / a * scale;
        }
    }

    /// <summary>
    /// One token: two accumulators per half, so that no sum waits for the one before. What is far ahead goes to the second-level cache: fetched into the first,
    /// it would hold the buffers that loads of tables need.
    /// </summary>
    [MethodImpl(Hot)]
    private static void LookupOne(short* words, int count, short* tables, short* starts, short* ahead, int* sums)
    {
        var a = Vector512.Create(*starts);
        var (b, c, d) = (a, S.Zero, S.Zero);
        for (var i = 0; i < count; i++, words += LookupRows, ahead += LookupRows, tables += TablesPerWord * TableEntries)
        {
            Sse.Prefetch1(ahead);
            Sse.Prefetch1(ahead + (LookupRows / 2));
            Sse.Prefetch0(words + (8 * LookupRows));
            Sse.Prefetch0(words + (8 * LookupRows) + (LookupRows / 2));
            var v = Vector512.Load(words);
            var u = Vector512.Load(words + (LookupRows / 2));
            var t = Vector512.Load(tables);
            a += Avx512BW.PermuteVar32x16(t, v);
            b += Avx512BW.PermuteVar32x16(t, u);
            t = Vector512.Load(tables + TableEntries);
            c += Avx512BW.PermuteVar32x16(t, v >>> 5);
            d += Avx512BW.PermuteVar32x16(t, u >>> 5);
            t = Vector512.Load(tables + (2 * TableEntries));
            a += Avx512BW.PermuteVar32x16(t, v >>> 10);
            b += Avx512BW.PermuteVar32x16(t, u >>> 10);
        }

        AddPanel(a + c, b + d, sums);
    }

    [MethodImpl(Hot)]
    private static void LookupMany<TCount>(short* words, int count, short* tables, short* starts, short* ahead, int* sums, long lds)
        where TCount : struct, ICount
    {
        S a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
        S b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default, b6 = default, b7 = default;
        Start<TCount>(0, starts, ref a0, ref b0);
        Start<TCount>(1, starts, ref a1, ref b1);
        Start<TCount>(2, starts, ref a2, ref b2);
        Start<TCount>(3, starts, ref a3, ref b3);
        Start<TCount>(4, starts, ref a4, ref b4);
        Start<TCount>(5, starts, ref a5, ref b5);
        Start<TCount>(6, starts, ref a6, ref b6);
        Start<TCount>(7, starts, ref a7, ref b7);
        for (var i = 0; i < count; i++, words += LookupRows, ahead += LookupRows)
        {
            Sse.Prefetch1(ahead);
            Sse.Prefetch1(ahead + (LookupRows / 2));
            var v = Vector512.Load(words);
            var u = Vector512.Load(words + (LookupRows / 2));
            for (var number = 0; number < TablesPerWord; number++, tables += TCount.Value * TableEntries)
            {
                Pick<TCount>(0, tables, v, u, ref a0, ref b0);
                Pick<TCount>(1, tables, v, u, ref a1, ref b1);
                Pick<TCount>(2, tables, v, u, ref a2, ref b2);
                Pick<TCount>(3, tables, v, u, ref a3, ref b3);
                Pick<TCount>(4, tables, v, u, ref a4, ref b4);
                Pick<TCount>(5, tables, v, u, ref a5, ref b5);
                Pick<TCount>(6, tables, v, u, ref a6, ref b6);
                Pick<TCount>(7, tables, v, u, ref a7, ref b7);
                v = v >>> 5;
                u = u >>> 5;
            }
        }

        AddPanel(a0, b0, sums);
        Finish<TCount>(1, a1, b1, sums, lds);
        Finish<TCount>(2, a2, b2, sums, lds);
        Finish<TCount>(3, a3, b3, sums, lds);
        Finish<TCount>(4, a4, b4, sums, lds);
        Finish<TCount>(5, a5, b5, sums, lds);
        Finish<TCount>(6, a6, b6, sums, lds);
        Finish<TCount>(7, a7, b7, sums, lds);
    }

    [MethodImpl(Inline)]
    private static void Start<TCount>(int t, short* starts, ref S a, ref S b)
        where TCount : struct, ICount
    {
        if (t < TCount.Value)
        {
            a = b = Vector512.Create(starts[t]);
        }
    }

    [MethodImpl(Inline)]
    private static void Pick<TCount>(int t, short* tables, S v, S u, ref S a, ref S b)
        where TCount : struct, ICount
    {
        if (t < TCount.Value)
        {
            var table = Vector512.Load(tables + (t * TableEntries));
            a += Avx512BW.PermuteVar32x16(table, v);
            b += Avx512BW.PermuteVar32x16(table, u);
        }
    }

    [MethodImpl(Inline)]
    private static void Finish<TCount>(int t, S a, S b, int* sums, long lds)
        where TCount : struct, ICount
    {
        if (t < TCount.Value)
        {
            AddPanel(a, b, sums + (t * lds));
        }
    }

    /// <summary>The sums of 64 rows, widened.</summary>
    [MethodImpl(Inline)]
    private static void AddPanel(S a, S b, int* sums)
    {
        (Vector512.Load(sums) + Avx512BW.ConvertToVector512Int32(a.GetLower())).Store(sums);
        (Vector512.Load(sums + 16) + Avx512BW.ConvertToVector512Int32(a.GetUpper())).Store(sums + 16);
        (Vector512.Load(sums + 32) + Avx512BW.ConvertToVector512Int32(b.GetLower())).Store(sums + 32);
        (Vector512.Load(sums + 48) + Avx512BW.ConvertToVector512Int32(b.GetUpper())).Store(sums + 48);
    }

    private static Vector512<byte> MakeDigits(bool pair)
    {
        var bytes = new byte[64];
        for (var e = 0; e < 27; e++)
        {
            bytes[2 * e] = (byte)(pair ? e % 3 : e / 9);
            bytes[(2 * e) + 1] = (byte)(pair ? e / 3 % 3 : 0);
        }

        return Vector512.Create(bytes);
    }
}
