using System.Buffers.Binary;

namespace RyzenLlm.Kernels.Formats;

/// <summary>BF16: the upper 16 bits of a binary32. Encoding rounds to nearest even.</summary>
internal sealed class BF16Format() : QuantFormat(QuantType.BF16, 1, 2)
{
    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale)
    {
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = BitConverter.Int32BitsToSingle(BinaryPrimitives.ReadUInt16LittleEndian(blocks.Slice(2 * i, 2)) << 16);
        }
    }

    private protected override void EncodeBlocks(ReadOnlySpan<float> values, Span<byte> blocks, float scale)
    {
        for (var i = 0; i < values.Length; i++)
        {
            var bits = BitConverter.SingleToUInt32Bits(values[i]);

            // Rounding could carry a NaN with a small payload into infinity; set the quiet bit instead.
            var rounded = float.IsNaN(values[i]) ? (bits >> 16) | 0x40 : (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
            BinaryPrimitives.WriteUInt16LittleEndian(blocks.Slice(2 * i, 2), (ushort)rounded);
        }
    }
}
