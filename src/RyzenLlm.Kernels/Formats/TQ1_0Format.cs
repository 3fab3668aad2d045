using System.Buffers.Binary;

namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// TQ1_0, 256 ternary values in 54 bytes: 32 bytes A, 16 bytes B, 4 bytes C, f16 d. x = (t - 1) * d.
/// A byte b holds base-3 digits as a fixed-point fraction: digit k is t = (((b * 3^k) mod 256) * 3) >> 8.
/// Value 32k + m is digit k (0..4) of A[m], value 160 + 16k + m is digit k (0..4) of B[m], and value 240 + 4k + m is
/// digit k (0..3) of C[m].
/// </summary>
internal sealed class TQ1_0Format() : QuantFormat(QuantType.TQ1_0, 256, 54)
{
    private static ReadOnlySpan<byte> PowersOf3 => [1, 3, 9, 27, 81];

    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale)
    {
        for (; !blocks.IsEmpty; blocks = blocks[54..], values = values[256..])
        {
            var d = (float)BinaryPrimitives.ReadHalfLittleEndian(blocks[52..]);
            DecodeDigits(blocks[..32], 5, d, values);
            DecodeDigits(blocks.Slice(32, 16), 5, d, values[160..]);
            DecodeDigits(blocks.Slice(48, 4), 4, d, values[240..]);
        }
    }

    private protected override void EncodeBlocks(ReadOnlySpan<float> values, Span<byte> blocks, float scale)
    {
        Span<byte> digits = stackalloc byte[256];
        for (; !blocks.IsEmpty; blocks = blocks[54..], values = values[256..])
        {
            var d = Ternary.Digits(values[..256], digits);
            EncodeDigits(digits, 5, blocks[..32]);
            EncodeDigits(digits[160..], 5, blocks.Slice(32, 16));
            EncodeDigits(digits[240..], 4, blocks.Slice(48, 4));
            BinaryPrimitives.WriteHalfLittleEndian(blocks[52..], (Half)d);
        }
    }

    private static void DecodeDigits(ReadOnlySpan<byte> packed, int digitCount, float d, Span<float> values)
    {
        for (var k = 0; k < digitCount; k++)
        {
            for (var m = 0; m < packed.Length; m++)
            {
                // The product wraps at 8 bits: the whole part, which is the digits before k, drops out.
                var t = ((byte)(packed[m] * PowersOf3[k]) * 3) >> 8;
                values[packed.Length * k + m] = (t - 1) * d;
            }
        }
    }

    private static void EncodeDigits(ReadOnlySpan<byte> digits, int digitCount, Span<byte> packed)
    {
        for (var m = 0; m < packed.Length; m++)
        {
            var v = 0;
            for (var k = 0; k < 5; k++)
            {
                v = 3 * v + (k < digitCount ? digits[packed.Length * k + m] : 0);
            }

            // ceil(256 v / 243): the smallest byte whose fraction starts with these digits.
            packed[m] = (byte)((v * 256 + 242) / 243);
        }
    }
}
