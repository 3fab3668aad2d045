using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using V = System.Runtime.Intrinsics.Vector256<float>;

namespace RyzenLlm.Kernels;

// Weights as floats, 32 columns at a time in natural order, with the bits that the scalar decoders give: every product of a scale and a
// quantised value fits 24 bits (11 of the half, at most 7 of a block scale, at most 6 of the value), so it is exact with or without FMA.
internal unsafe partial class Avx2Kernels
{
    private interface IDecoder
    {
        /// <summary>Groups of 32 columns in one block: 8 for blocks of 256, else 1.</summary>
        static abstract int GroupsPerBlock { get; }

        /// <summary>Bytes of that block (of 32 columns where it has no blocks).</summary>
        static abstract int Bytes { get; }

        /// <summary>Writes the scales of a whole block as floats, where it has several: at most <see cref="BlockScales"/>.</summary>
        static virtual void Prepare(byte* p, float* scales)
        {
        }

        /// <summary>Columns 32 group .. 32 group + 31 of the block at p.</summary>
        static abstract void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3);
    }

    private readonly struct F32Decoder : IDecoder
    {
        public static int GroupsPerBlock => 1;

        public static int Bytes => 128;

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            w0 = Vector256.Load((float*)p);
            w1 = Vector256.Load((float*)p + 8);
            w2 = Vector256.Load((float*)p + 16);
            w3 = Vector256.Load((float*)p + 24);
        }
    }

    private readonly struct F16Decoder : IDecoder
    {
        public static int GroupsPerBlock => 1;

        public static int Bytes => 64;

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            w0 = LoadHalves((short*)p);
            w1 = LoadHalves((short*)p + 8);
            w2 = LoadHalves((short*)p + 16);
            w3 = LoadHalves((short*)p + 24);
        }
    }

    private readonly struct BF16Decoder : IDecoder
    {
        public static int GroupsPerBlock => 1;

        public static int Bytes => 64;

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            w0 = Load((short*)p);
            w1 = Load((short*)p + 8);
            w2 = Load((short*)p + 16);
            w3 = Load((short*)p + 24);
        }

        [MethodImpl(Inline)]
        private static V Load(short* p) => (Avx2.ConvertToVector256Int32(Vector128.Load(p)) << 16).AsSingle();
    }

    private readonly struct Q8_0Decoder : IDecoder
    {
        public static int GroupsPerBlock => 1;

        public static int Bytes => 34;

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            var d = Vector256.Create(Half(p));
            w0 = Convert(p + 2) * d;
            w1 = Convert(p + 10) * d;
            w2 = Convert(p + 18) * d;
            w3 = Convert(p + 26) * d;
        }

        [MethodImpl(Inline)]
        private static V Convert(byte* p) => Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32((sbyte*)p));
    }

    private readonly struct Q4_0Decoder : IDecoder
    {
        public static int GroupsPerBlock => 1;

        public static int Bytes => 18;

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            var d = Vector256.Create(Half(p));
            var a = Avx2.ConvertToVector256Int32(p + 2);
            var b = Avx2.ConvertToVector256Int32(p + 10);
            var mask = Vector256.Create(15);
            var eight = Vector256.Create(8);
            w0 = Avx.ConvertToVector256Single((a & mask) - eight) * d;
            w1 = Avx.ConvertToVector256Single((b & mask) - eight) * d;
            w2 = Avx.ConvertToVector256Single((a >>> 4) - eight) * d;
            w3 = Avx.ConvertToVector256Single((b >>> 4) - eight) * d;
        }
    }

    private readonly struct Q4_KDecoder : IDecoder
    {
        public static int GroupsPerBlock => 8;

        public static int Bytes => 144;

        [MethodImpl(Inline)]
        public static void Prepare(byte* p, float* scales) => PrepareK(p, scales);

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            var step = Vector256.Create(scales[group]);
            var offset = Vector256.Create(scales[8 + group]);
            var q = p + 16 + (32 * (group >> 1));
            var shift = 4 * (group & 1);
            w0 = Affine(Nibbles(q, shift), step, offset);
            w1 = Affine(Nibbles(q + 8, shift), step, offset);
            w2 = Affine(Nibbles(q + 16, shift), step, offset);
            w3 = Affine(Nibbles(q + 24, shift), step, offset);
        }
    }

    private readonly struct Q5_KDecoder : IDecoder
    {
        public static int GroupsPerBlock => 8;

        public static int Bytes => 176;

        [MethodImpl(Inline)]
        public static void Prepare(byte* p, float* scales) => PrepareK(p, scales);

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            var step = Vector256.Create(scales[group]);
            var offset = Vector256.Create(scales[8 + group]);
            var q = p + 48 + (32 * (group >> 1));
            var shift = 4 * (group & 1);
            w0 = Affine(Nibbles(q, shift) | FifthBit(p + 16, group), step, offset);
            w1 = Affine(Nibbles(q + 8, shift) | FifthBit(p + 24, group), step, offset);
            w2 = Affine(Nibbles(q + 16, shift) | FifthBit(p + 32, group), step, offset);
            w3 = Affine(Nibbles(q + 24, shift) | FifthBit(p + 40, group), step, offset);
        }

        [MethodImpl(Inline)]
        private static Vector256<int> FifthBit(byte* p, int bit) => ((Avx2.ConvertToVector256Int32(p) >>> bit) & Vector256<int>.One) << 4;
    }

    private readonly struct Q6_KDecoder : IDecoder
    {
        public static int GroupsPerBlock => 8;

        public static int Bytes => 210;

        [MethodImpl(Inline)]
        public static void Prepare(byte* p, float* scales) => PrepareQ6_K(p, scales);

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            // Group 4a + i: low or high nibbles (i < 2 or not) of one half of L, bits 2i and 2i + 1 of H; a scale per 16 columns.
            var half = group >> 2;
            var low = p + (64 * half) + (32 * (group & 1));
            var high = p + 128 + (32 * half);
            var nibble = 2 * (group & 2);
            var pair = 2 * (group & 3);
            var step = Vector256.Create(scales[2 * group]);
            w0 = Value(low, nibble, high, pair) * step;
            w1 = Value(low + 8, nibble, high + 8, pair) * step;
            step = Vector256.Create(scales[(2 * group) + 1]);
            w2 = Value(low + 16, nibble, high + 16, pair) * step;
            w3 = Value(low + 24, nibble, high + 24, pair) * step;
        }

        [MethodImpl(Inline)]
        private static V Value(byte* low, int nibble, byte* high, int pair)
        {
            var h = ((Avx2.ConvertToVector256Int32(high) >>> pair) & Vector256.Create(3)) << 4;
            return Avx.ConvertToVector256Single((Nibbles(low, nibble) | h) - Vector256.Create(32));
        }
    }

    /// <summary>Eight halves as floats. Their bits, sign extended and shifted, are the float h 2^-112 (subnormals too); infinities and NaN read as finite.</summary>
    [MethodImpl(Inline)]
    private static V LoadHalves(short* p) =>
        ((Avx2.ConvertToVector256Int32(p) << 13) & Vector256.Create(unchecked((int)0x8FFFE000))).AsSingle() * Vector256.Create(HalfScale);

    [MethodImpl(Inline)]
    private static Vector256<int> Nibbles(byte* p, int shift) => (Avx2.ConvertToVector256Int32(p) >>> shift) & Vector256.Create(15);

    [MethodImpl(Inline)]
    private static V Affine(Vector256<int> v, V step, V offset) => Fma.MultiplyAdd(Avx.ConvertToVector256Single(v), step, offset);

    /// <summary>Floats that a decoder may keep of one block.</summary>
    private protected const int BlockScales = 16;

    /// <summary>d scale[j] and, eight floats later, -dmin minimum[j] of the eight sub-blocks of a Q4_K or Q5_K block. The products are exact.</summary>
    [MethodImpl(Inline)]
    private protected static void PrepareK(byte* p, float* scales)
    {
        // Bytes 0-3: scales 0-3, bytes 4-7: minima 0-3, six bits each; bytes 8-11: the low nibbles of scales and minima 4-7, whose
        // upper two bits are the top bits of the bytes before.
        var (a, b, c) = (*(uint*)(p + 4), *(uint*)(p + 8), *(uint*)(p + 12));
        var low = a & 0x3F3F3F3F;
        var high = (c & 0x0F0F0F0F) | ((a >> 2) & 0x30303030);
        Store(low | ((ulong)high << 32), Half(p), scales);
        low = b & 0x3F3F3F3F;
        high = ((c >> 4) & 0x0F0F0F0F) | ((b >> 2) & 0x30303030);
        Store(low | ((ulong)high << 32), -Half(p + 2), scales + 8);

        [MethodImpl(Inline)]
        static void Store(ulong bytes, float factor, float* to) =>
            (Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(Vector128.CreateScalar(bytes).AsByte())) * factor).Store(to);
    }

    /// <summary>d scale of the sixteen sub-blocks of a Q6_K block. The products are exact.</summary>
    [MethodImpl(Inline)]
    private protected static void PrepareQ6_K(byte* p, float* scales)
    {
        var d = Half(p + 208);
        (Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32((sbyte*)p + 192)) * d).Store(scales);
        (Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32((sbyte*)p + 200)) * d).Store(scales + 8);
    }
}
