using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Formats;
using V = System.Runtime.Intrinsics.Vector512<float>;

namespace RyzenLlm.Kernels;

// Weights as floats, 64 columns at a time in natural order, with the bits that the scalar decoders give: every product of a scale and a
// quantised value fits 24 bits (11 of the half, at most 7 of a block scale, at most 6 of the value), so it is exact with or without FMA.
internal sealed unsafe partial class Avx512Kernels
{
    private interface IDecoder
    {
        /// <summary>Groups of 64 columns in one block: 4 for blocks of 256, else 1.</summary>
        static abstract int GroupsPerBlock { get; }

        /// <summary>Bytes of that block (of two blocks where they have 32 columns).</summary>
        static abstract int Bytes { get; }

        /// <summary>Writes the scales of a whole block as floats, where it has several: at most <see cref="BlockScales"/>.</summary>
        static virtual void Prepare(byte* p, float* scales)
        {
        }

        /// <summary>Columns 64 group .. 64 group + 63 of the block at p.</summary>
        static abstract void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3);
    }

    private readonly struct F32Decoder : IVectorDecoder
    {
        public static int GroupsPerBlock => 1;

        public static int Bytes => 256;

        [MethodImpl(Inline)]
        public static V Load(byte* p, long i) => Vector512.Load((float*)p + i);

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            w0 = Vector512.Load((float*)p);
            w1 = Vector512.Load((float*)p + 16);
            w2 = Vector512.Load((float*)p + 32);
            w3 = Vector512.Load((float*)p + 48);
        }
    }

    private readonly struct F16Decoder : IVectorDecoder
    {
        public static int GroupsPerBlock => 1;

        public static int Bytes => 128;

        [MethodImpl(Inline)]
        public static V Load(byte* p, long i) => LoadHalves((short*)p + i);

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            w0 = LoadHalves((short*)p);
            w1 = LoadHalves((short*)p + 16);
            w2 = LoadHalves((short*)p + 32);
            w3 = LoadHalves((short*)p + 48);
        }
    }

    private readonly struct BF16Decoder : IVectorDecoder
    {
        public static int GroupsPerBlock => 1;

        public static int Bytes => 128;

        [MethodImpl(Inline)]
        public static V Load(byte* p, long i) => Load((short*)p + i);

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            w0 = Load((short*)p);
            w1 = Load((short*)p + 16);
            w2 = Load((short*)p + 32);
            w3 = Load((short*)p + 48);
        }

        [MethodImpl(Inline)]
        private static V Load(short* p) => (Avx512F.ConvertToVector512Int32(Vector256.Load(p)) << 16).AsSingle();
    }

    private readonly struct Q8_0Decoder : IDecoder
    {
        public static int GroupsPerBlock => 1;

        public static int Bytes => 68;

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            var d = Vector512.Create(Half(p));
            w0 = Convert(p + 2) * d;
            w1 = Convert(p + 18) * d;
            d = Vector512.Create(Half(p + 34));
            w2 = Convert(p + 36) * d;
            w3 = Convert(p + 52) * d;
        }

        [MethodImpl(Inline)]
        private static V Convert(byte* p) => Avx512F.ConvertToVector512Single(Avx512F.ConvertToVector512Int32(Vector128.Load((sbyte*)p)));
    }

    private readonly struct Q4_0Decoder : IDecoder
    {
        public static int GroupsPerBlock => 1;

        public static int Bytes => 36;

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            Block(p, out w0, out w1);
            Block(p + 18, out w2, out w3);
        }

        [MethodImpl(Inline)]
        private static void Block(byte* p, out V low, out V high)
        {
            var d = Vector512.Create(Half(p));
            var q = Avx512F.ConvertToVector512Int32(Vector128.Load(p + 2));
            low = Avx512F.ConvertToVector512Single((q & Vector512.Create(15)) - Vector512.Create(8)) * d;
            high = Avx512F.ConvertToVector512Single((q >>> 4) - Vector512.Create(8)) * d;
        }
    }

    private readonly struct Q4_KDecoder : IDecoder
    {
        public static int GroupsPerBlock => 4;

        public static int Bytes => 144;

        [MethodImpl(Inline)]
        public static void Prepare(byte* p, float* scales) => PrepareK(p, scales);

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            var step = Vector512.Create(scales[2 * group]);
            var offset = Vector512.Create(scales[8 + (2 * group)]);
            var q = p + 16 + (32 * group);
            var a = Avx512F.ConvertToVector512Int32(Vector128.Load(q));
            var b = Avx512F.ConvertToVector512Int32(Vector128.Load(q + 16));
            var mask = Vector512.Create(15);
            w0 = Affine(a & mask, step, offset);
            w1 = Affine(b & mask, step, offset);
            step = Vector512.Create(scales[(2 * group) + 1]);
            offset = Vector512.Create(scales[9 + (2 * group)]);
            w2 = Affine(a >>> 4, step, offset);
            w3 = Affine(b >>> 4, step, offset);
        }
    }

    private readonly struct Q5_KDecoder : IDecoder
    {
        public static int GroupsPerBlock => 4;

        public static int Bytes => 176;

        [MethodImpl(Inline)]
        public static void Prepare(byte* p, float* scales) => PrepareK(p, scales);

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            var step = Vector512.Create(scales[2 * group]);
            var offset = Vector512.Create(scales[8 + (2 * group)]);
            var q = p + 48 + (32 * group);
            var a = Avx512F.ConvertToVector512Int32(Vector128.Load(q));
            var b = Avx512F.ConvertToVector512Int32(Vector128.Load(q + 16));

            // The fifth bits of sub-blocks 2 group and 2 group + 1, brought to bit 4 and bit 5.
            var high = Avx512F.ConvertToVector512Int32(Vector128.Load(p + 16));
            var ha = ((high >>> (2 * group)) << 4).AsInt32();
            high = Avx512F.ConvertToVector512Int32(Vector128.Load(p + 32));
            var hb = ((high >>> (2 * group)) << 4).AsInt32();
            var mask = Vector512.Create(15);
            var bit = Vector512.Create(16);
            w0 = Affine((a & mask) | (ha & bit), step, offset);
            w1 = Affine((b & mask) | (hb & bit), step, offset);
            step = Vector512.Create(scales[(2 * group) + 1]);
            offset = Vector512.Create(scales[9 + (2 * group)]);
            w2 = Affine((a >>> 4) | ((ha >>> 1) & bit), step, offset);
            w3 = Affine((b >>> 4) | ((hb >>> 1) & bit), step, offset);
        }
    }

    private readonly struct Q6_KDecoder : IDecoder
    {
        public static int GroupsPerBlock => 4;

        public static int Bytes => 210;

        [MethodImpl(Inline)]
        public static void Prepare(byte* p, float* scales) => PrepareQ6_K(p, scales);

        [MethodImpl(Inline)]
        public static void Decode(byte* p, float* scales, int group, out V w0, out V w1, out V w2, out V w3)
        {
            // Group 2a takes the low nibbles of half a, group 2a + 1 the high ones; two more bits each from H.
            var low = p + (64 * (group >> 1));
            var high = p + 128 + (32 * (group >> 1));
            var nibble = 4 * (group & 1);
            var pair = 4 * (group & 1);
            var step = scales + (4 * group);
            var h0 = Avx512F.ConvertToVector512Int32(Vector128.Load(high)) >>> pair;
            var h1 = Avx512F.ConvertToVector512Int32(Vector128.Load(high + 16)) >>> pair;
            w0 = Value(low, nibble, h0 << 4, step[0]);
            w1 = Value(low + 16, nibble, h1 << 4, step[1]);
            w2 = Value(low + 32, nibble, h0 << 2, step[2]);
            w3 = Value(low + 48, nibble, h1 << 2, step[3]);
        }

        // H arrives with its two bits at place value 16 and 32.
        [MethodImpl(Inline)]
        private static V Value(byte* low, int nibble, Vector512<int> high, float step)
        {
            var q = (Avx512F.ConvertToVector512Int32(Vector128.Load(low)) >>> nibble) & Vector512.Create(15);
            var v = (q | (high & Vector512.Create(48))) - Vector512.Create(32);
            return Avx512F.ConvertToVector512Single(v) * Vector512.Create(step);
        }
    }

    /// <summary>Sixteen halves as floats. Their bits, sign extended and shifted, are the float h 2^-112 (subnormals too); infinities and NaN read as finite.</summary>
    [MethodImpl(Inline)]
    private static V LoadHalves(short* p) =>
        ((Avx512F.ConvertToVector512Int32(Vector256.Load(p)) << 13) & Vector512.Create(unchecked((int)0x8FFFE000))).AsSingle() * Vector512.Create(HalfScale);

    [MethodImpl(Inline)]
    private static V Affine(Vector512<int> v, V step, V offset) => Vector512.FusedMultiplyAdd(Avx512F.ConvertToVector512Single(v), step, offset);
}
