using System.Buffers.Binary;

namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// Q8_0, 32 values in 34 bytes: f16 scale d, then 32 signed bytes q. x[i] = d * q[i].
/// </summary>
internal sealed class Q8_0Format() : QuantFormat(QuantType.Q8_0, 32, 34)
{
    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale)
    {
        for (; !blocks.IsEmpty; blocks = blocks[34..], values = values[32..])
        {
            var d = (float)BinaryPrimitives.ReadHalfLittleEndian(blocks);
            for (var i = 0; i < 32; i++)
            {
                values[i] = d * (sbyte)blocks[2 + i];
            }
        }
    }

    private protected override void EncodeBlocks(ReadOnlySpan<float> values, Span<byte> blocks, float scale)
    {
        for (; !blocks.IsEmpty; blocks = blocks[34..], values = values[32..])
        {
            var d = Rounding.MaxMagnitude(values[..32]) / 127f;
            var inverse = d > 0 ? 1f / d : 0f;
            BinaryPrimitives.WriteHalfLittleEndian(blocks, (Half)d);
            for (var i = 0; i < 32; i++)
            {
                blocks[2 + i] = (byte)(sbyte)Rounding.ToInt(values[i] * inverse, -127, 127);
            }
        }
    }
}
