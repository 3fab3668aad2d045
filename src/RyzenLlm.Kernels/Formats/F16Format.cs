using System.Buffers.Binary;

namespace RyzenLlm.Kernels.Formats;

/// <summary>F16: little-endian IEEE binary16. Subnormals keep their value; encoding rounds to nearest even.</summary>
internal sealed class F16Format() : QuantFormat(QuantType.F16, 1, 2)
{
    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale)
    {
        for (var i = 0; i < values.Length; i++)
        {
            values[i] = (float)BinaryPrimitives.ReadHalfLittleEndian(blocks.Slice(2 * i, 2));
        }
    }

    private protected override void EncodeBlocks(ReadOnlySpan<float> values, Span<byte> blocks, float scale)
    {
        for (var i = 0; i < values.Length; i++)
        {
            BinaryPrimitives.WriteHalfLittleEndian(blocks.Slice(2 * i, 2), (Half)values[i]);
        }
    }
}
