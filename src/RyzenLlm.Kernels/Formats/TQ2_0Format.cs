using System.Buffers.Binary;

namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// TQ2_0, 256 ternary values in 66 bytes: 64 bytes q, then f16 d. Value 128a + 32f + m (a 0..1, f 0..3, m 0..31) has the
/// digit t = (q[32a + m] >> 2f) &amp; 3; x = (t - 1) * d. The digit 3 does not occur in valid files and decodes to 2d.
/// </summary>
internal sealed class TQ2_0Format() : QuantFormat(QuantType.TQ2_0, 256, 66)
{
    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale)
    {
        for (; !blocks.IsEmpty; blocks = blocks[66..], values = values[256..])
        {
            var d = (float)BinaryPrimitives.ReadHalfLittleEndian(blocks[64..]);
            for (var i = 0; i < 256; i++)
            {
                var t = (blocks[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4))) & 3;
                values[i] = (t - 1) * d;
            }
        }
    }

    private protected override void EncodeBlocks(ReadOnlySpan<float> values, Span<byte> blocks, float scale)
    {
        Span<byte> digits = stackalloc byte[256];
        for (; !blocks.IsEmpty; blocks = blocks[66..], values = values[256..])
        {
            var d = Ternary.Digits(values[..256], digits);
            BinaryPrimitives.WriteHalfLittleEndian(blocks[64..], (Half)d);
            for (var b = 0; b < 64; b++)
            {
                var t = digits.Slice(128 * (b / 32) + b % 32);
                blocks[b] = (byte)(t[0] | (t[32] << 2) | (t[64] << 4) | (t[96] << 6));
            }
        }
    }
}
