using System.Buffers.Binary;

namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// Q4_0, 32 values in 18 bytes: f16 scale d (may be negative), then 16 bytes b.
/// x[i] = d * ((b[i] &amp; 15) - 8) and x[16 + i] = d * ((b[i] >> 4) - 8) for i in 0..15.
/// </summary>
internal sealed class Q4_0Format() : QuantFormat(QuantType.Q4_0, 32, 18)
{
    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale)
    {
        for (; !blocks.IsEmpty; blocks = blocks[18..], values = values[32..])
        {
            var d = (float)BinaryPrimitives.ReadHalfLittleEndian(blocks);
            for (var i = 0; i < 16; i++)
            {
                values[i] = d * ((blocks[2 + i] & 15) - 8);
                values[16 + i] = d * ((blocks[2 + i] >> 4) - 8);
            }
        }
    }

    private protected override void EncodeBlocks(ReadOnlySpan<float> values, Span<byte> blocks, float scale)
    {
        for (; !blocks.IsEmpty; blocks = blocks[18..], values = values[32..])
        {
            // The codes reach -8 but only +7: the value of largest magnitude, whatever its sign, becomes code -8.
            var extreme = 0f;
            foreach (var value in values[..32])
            {
                extreme = MathF.Abs(value) > MathF.Abs(extreme) ? value : extreme;
            }

            var d = extreme / -8f;
            var inverse = d != 0 ? 1f / d : 0f;
            BinaryPrimitives.WriteHalfLittleEndian(blocks, (Half)d);
            for (var i = 0; i < 16; i++)
            {
                var low = Rounding.ToInt(values[i] * inverse, -8, 7) + 8;
                var high = Rounding.ToInt(values[16 + i] * inverse, -8, 7) + 8;
                blocks[2 + i] = (byte)(low | (high << 4));
            }
        }
    }
}
