using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using I = System.Runtime.Intrinsics.Vector512<int>;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace RyzenLlm.Kernels;

// A few tokens of Q4_0 in fixed point. Weights stay bytes, n = w + 8 from 0 to 15; an activation is a high and a low byte, x = 256 h + l, so that four
// vpmaddubsw multiply 128 weights. Two products of a pair are at most 2 * 2 * 15 * 128 = 7680 in 16 bits. S = 256 sum n h + sum n l - 8 sum x, exact.
// Coarse activations have no high byte.
internal sealed unsafe partial class Avx512Kernels
{
    private const int NibbleGroup = 16;
    private const int NibbleBytes = NibbleGroup * FixedBlock * 2;

    private interface IActivations
    {
        static abstract bool HaveHighBytes { get; }
    }

    private readonly struct FineActivations : IActivations
    {
        public static bool HaveHighBytes => true;
    }

    private readonly struct CoarseActivations : IActivations
    {
        public static bool HaveHighBytes => false;
    }

    private static void MultiplyNibbles<TActivations>(WeightMatrix w, int begin, int end, int blocks, short* q, float* units, int n, float* y, long ldy)
        where TActivations : struct, IActivations
    {
        // Per token: bytes of activations, 8 sum x and units of whole groups.
        var groups = (blocks + NibbleGroup - 1) / NibbleGroup;
        var size = groups * (NibbleBytes + (NibbleGroup * (sizeof(int) + sizeof(float))));
        var tokens = Scratch.Take((long)n * size);
        for (var t = 0; t < n; t++)
        {
            SplitActivations(q + ((long)t * w.Columns), units + ((long)t * blocks), blocks, groups, (sbyte*)tokens + ((long)t * size));
        }

        for (var first = begin; first < end; first += FixedBand)
        {
            for (var t = 0; t < n; t++)
            {
                NibbleRows<TActivations>(w.Data + (first * w.RowBytes), Math.Min(FixedBand, end - first), blocks, groups, (sbyte*)tokens + ((long)t * size), y + (t * ldy) + first);
            }
        }
    }

    /// <summary>
    /// Activations as [group of 16 blocks][block % 4][high or low byte][first or second half of the columns][block / 4 % 4][16], then 8 sum x and the unit of
    /// every block; missing blocks are zero.
    /// </summary>
    [MethodImpl(Hot)]
    private static void SplitActivations(short* q, float* units, int blocks, int groups, sbyte* to)
    {
        var sums = (int*)(to + ((long)groups * NibbleBytes));
        new Span<byte>(to, groups * (NibbleBytes + (NibbleGroup * (sizeof(int) + sizeof(float))))).Clear();
        new Span<float>(units, blocks).CopyTo(new((float*)(sums + (groups * NibbleGroup)), blocks));
        for (var b = 0; b < blocks; b++, q += FixedBlock)
        {
            var high = to + ((long)(b / NibbleGroup) * NibbleBytes) + (b % 4 * 256) + (b / 4 % 4 * 16);
            var first = Vector256.Load(q);
            var second = Vector256.Load(q + 16);
            HighBytes(first).Store(high);
            HighBytes(second).Store(high + 64);
            Avx512BW.VL.ConvertToVector128SByte(first).Store(high + 128);
            Avx512BW.VL.ConvertToVector128SByte(second).Store(high + 192);
            var eight = Vector256.Create((short)8);
            sums[b] = Vector256.Sum(Avx2.MultiplyAddAdjacent(first, eight) + Avx2.MultiplyAddAdjacent(second, eight));
        }
    }

    // Rounded: what is left for the low byte is signed. 32639 + 128 fits.
    [MethodImpl(Inline)]
    private static Vector128<sbyte> HighBytes(Vector256<short> v) => Avx512BW.VL.ConvertToVector128SByte((v + Vector256.Create((short)128)) >> 8);

    /// <summary>Rows of one token: y[r]. Vector j of a group holds its blocks j, 4 + j, 8 + j and 12 + j, one in each quarter.</summary>
    [MethodImpl(Hot)]
    private static void NibbleRows<TActivations>(byte* w, int rows, int blocks, int groups, sbyte* x, float* y)
        where TActivations : struct, IActivations
    {
        var sums = (int*)(x + ((long)groups * NibbleBytes));
        var units = (float*)(sums + (groups * NibbleGroup));
        var halves = stackalloc short[NibbleGroup];
        var at = stackalloc int[NibbleGroup];
        for (var i = 0; i < NibbleGroup; i++)
        {
            halves[i] = 0;
            at[i] = 18 * Math.Min(i, Math.Max(blocks % NibbleGroup, 1) - 1);
        }

        for (var r = 0; r < rows; r++)
        {
            var lanes = V.Zero;
            var from = x;
            for (var b = 0; b < blocks; b += NibbleGroup, from += NibbleBytes)
            {
                I s;
                V scales;
                if (b + NibbleGroup <= blocks)
                {
                    Sse.PrefetchNonTemporal(w + 4096);
                    Sse.PrefetchNonTemporal(w + 4096 + 64);
                    Sse.PrefetchNonTemporal(w + 4096 + 128);
                    Sse.PrefetchNonTemporal(w + 4096 + 192);
                    Sse.PrefetchNonTemporal(w + 4096 + 256);
                    s = Join(
                        Nibbles4<TActivations>(Pair(w + 2, w + 74), Pair(w + 146, w + 218), from), Nibbles4<TActivations>(Pair(w + 20, w + 92), Pair(w + 164, w + 236), from + 256),
                        Nibbles4<TActivations>(Pair(w + 38, w + 110), Pair(w + 182, w + 254), from + 512), Nibbles4<TActivations>(Pair(w + 56, w + 128), Pair(w + 200, w + 272), from + 768));
                    scales = Widen(Vector256.Create(Sse2.UnpackLow(NibbleScales4(w), NibbleScales4(w + 72)), Sse2.UnpackLow(NibbleScales4(w + 144), NibbleScales4(w + 216))));
                    w += 18 * NibbleGroup;
                }
                else if (b + (NibbleGroup / 2) == blocks)
                {
                    s = Join(
                        Nibbles2<TActivations>(Pair(w + 2, w + 74), from), Nibbles2<TActivations>(Pair(w + 20, w + 92), from + 256),
                        Nibbles2<TActivations>(Pair(w + 38, w + 110), from + 512), Nibbles2<TActivations>(Pair(w + 56, w + 128), from + 768)).ToVector512();
                    scales = Widen(Sse2.UnpackLow(NibbleScales4(w), NibbleScales4(w + 72)).ToVector256());
                    w += 18 * (NibbleGroup / 2);
                }
                else
                {
                    // Missing blocks repeat the last, with activations of zero.
                    for (var i = 0; i < blocks - b; i++)
                    {
                        halves[i] = *(short*)(w + (18 * i));
                    }

                    var p = w + 2;
                    s = Join(
                        Nibbles4<TActivations>(Pair(p + at[0], p + at[4]), Pair(p + at[8], p + at[12]), from), Nibbles4<TActivations>(Pair(p + at[1], p + at[5]), Pair(p + at[9], p + at[13]), from + 256),
                        Nibbles4<TActivations>(Pair(p + at[2], p + at[6]), Pair(p + at[10], p + at[14]), from + 512), Nibbles4<TActivations>(Pair(p + at[3], p + at[7]), Pair(p + at[11], p + at[15]), from + 768));
                    scales = Widen(Vector256.Load((long*)halves));
                    w += 18 * (blocks - b);
                }

                lanes = Avx512F.FusedMultiplyAdd(Avx512F.ConvertToVector512Single(s - Vector512.Load(sums + b)), scales * Vector512.Load(units + b), lanes);
            }

            y[r] = SumLanes(lanes, lanes, lanes, lanes).ToScalar();
        }
    }

    [MethodImpl(Inline)]
    private static Vector256<byte> Pair(byte* low, byte* high) => Vector256.Create(Vector128.Load(low), Vector128.Load(high));

    /// <summary>Four blocks: the lanes of each quarter add to sum n x of its block.</summary>
    [MethodImpl(Inline)]
    private static I Nibbles4<TActivations>(Vector256<byte> a, Vector256<byte> b, sbyte* x)
        where TActivations : struct, IActivations
    {
        var v = a.ToVector512Unsafe().WithUpper(b);
        var mask = Vector512.Create((byte)15);
        var first = v & mask;
        var second = (v.AsInt16() >>> 4).AsByte() & mask;
        var low = Avx512BW.MultiplyAddAdjacent(first, Vector512.Load(x + 128)) + Avx512BW.MultiplyAddAdjacent(second, Vector512.Load(x + 192));
        var sums = Avx512BW.MultiplyAddAdjacent(low, Vector512.Create((short)1));
        if (!TActivations.HaveHighBytes)
        {
            return sums;
        }

        var high = Avx512BW.MultiplyAddAdjacent(first, Vector512.Load(x)) + Avx512BW.MultiplyAddAdjacent(second, Vector512.Load(x + 64));
        return Avx512BW.MultiplyAddAdjacent(high, Vector512.Create((short)256)) + sums;
    }

    /// <summary>Two blocks: the lower half of what <see cref="Nibbles4"/> does.</summary>
    [MethodImpl(Inline)]
    private static Vector256<int> Nibbles2<TActivations>(Vector256<byte> v, sbyte* x)
        where TActivations : struct, IActivations
    {
        var mask = Vector256.Create((byte)15);
        var first = v & mask;
        var second = (v.AsInt16() >>> 4).AsByte() & mask;
        var low = Avx2.MultiplyAddAdjacent(first, Vector256.Load(x + 128)) + Avx2.MultiplyAddAdjacent(second, Vector256.Load(x + 192));
        var sums = Avx2.MultiplyAddAdjacent(low, Vector256.Create((short)1));
        if (!TActivations.HaveHighBytes)
        {
            return sums;
        }

        var high = Avx2.MultiplyAddAdjacent(first, Vector256.Load(x)) + Avx2.MultiplyAddAdjacent(second, Vector256.Load(x + 64));
        return Avx2.MultiplyAddAdjacent(high, Vector256.Create((short)256)) + sums;
    }

    /// <summary>Sums of the lanes of each quarter: lane 4 k + j is quarter k of operand j.</summary>
    [MethodImpl(Inline)]
    private static I Join(I a, I b, I c, I d)
    {
        var ab = Avx512F.UnpackLow(a, b) + Avx512F.UnpackHigh(a, b);
        var cd = Avx512F.UnpackLow(c, d) + Avx512F.UnpackHigh(c, d);
        return Avx512F.UnpackLow(ab.AsInt64(), cd.AsInt64()).AsInt32() + Avx512F.UnpackHigh(ab.AsInt64(), cd.AsInt64()).AsInt32();
    }

    [MethodImpl(Inline)]
    private static Vector256<int> Join(Vector256<int> a, Vector256<int> b, Vector256<int> c, Vector256<int> d)
    {
        var ab = Avx2.UnpackLow(a, b) + Avx2.UnpackHigh(a, b);
        var cd = Avx2.UnpackLow(c, d) + Avx2.UnpackHigh(c, d);
        return Avx2.UnpackLow(ab.AsInt64(), cd.AsInt64()).AsInt32() + Avx2.UnpackHigh(ab.AsInt64(), cd.AsInt64()).AsInt32();
    }

    /// <summary>The scales of four blocks, in the lower 64 bits.</summary>
    [MethodImpl(Inline)]
    private static Vector128<long> NibbleScales4(byte* w) =>
        Avx512BW.PermuteVar32x16(Vector512.Load((short*)w), Vector512.Create(0x001B_0012_0009_0000L).AsInt16()).AsInt64().GetLower().GetLower();

    // A block of 32 weights behind a scale in binary16.
    private interface IFixedBlock
    {
        static abstract int Bytes { get; }

        /// <summary>The weights of a block in units of its scale.</summary>
        static abstract Vector512<short> Words(byte* block);
    }

    // Q8_0.
    private readonly struct Bytes : IFixedBlock
    {
        static int IFixedBlock.Bytes => 34;

        [MethodImpl(Inline)]
        public static Vector512<short> Words(byte* block) => Avx512BW.ConvertToVector512Int16(Vector256.Load((sbyte*)block + 2));
    }

    // Q4_0: low halves of the bytes, then high ones.
    private readonly struct Nibbles : IFixedBlock
    {
        static int IFixedBlock.Bytes => 18;

        [MethodImpl(Inline)]
        public static Vector512<short> Words(byte* block)
        {
            var pairs = Avx2.ConvertToVector256Int16(Vector128.Load(block + 2));
            return (Vector512.Create(pairs, pairs >>> 4) & Vector512.Create((short)15)) - Vector512.Create((short)8);
        }
    }
}
