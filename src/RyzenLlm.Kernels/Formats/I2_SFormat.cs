namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// I2_S of bitnet.cpp, ternary with one scale for the tensor. A group of 128 values takes 32 bytes; byte p holds value p in
/// bits 7-6, 32 + p in bits 5-4, 64 + p in bits 3-2 and 96 + p in bits 1-0 as digits t; x = (t - 1) * scale. The digit 3 is
/// unused. Rows follow one another; behind the last one come the scale as float32 and 28 bytes without meaning.
/// </summary>
/// <remarks>
/// This is the packing of the published files. Builds of bitnet.cpp for other processors wrote other packings under the same
/// number and without a mark; they cannot be told apart and are not read.
/// </remarks>
internal sealed class I2_SFormat() : QuantFormat(QuantType.I2_S, 128, 32)
{
    /// <summary>Bytes behind the last row: the scale and its padding.</summary>
    public const int TrailerBytes = 32;

    public override long TensorBytes(long rows, long columns) => checked(base.TensorBytes(rows, columns) + TrailerBytes);

    public override float TensorScale(ReadOnlySpan<float> values) => Rounding.MaxMagnitude(values);

    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale)
    {
        for (; !blocks.IsEmpty; blocks = blocks[32..], values = values[128..])
        {
            for (var i = 0; i < 128; i++)
            {
                var t = (blocks[i % 32] >> (6 - 2 * (i / 32))) & 3;
                values[i] = (t - 1) * scale;
            }
        }
    }

    private protected override void EncodeBlocks(ReadOnlySpan<float> values, Span<byte> blocks, float scale)
    {
        Span<byte> t = stackalloc byte[128];
        for (; !blocks.IsEmpty; blocks = blocks[32..], values = values[128..])
        {
            Ternary.Digits(values[..128], scale, t);
            for (var p = 0; p < 32; p++)
            {
                blocks[p] = (byte)((t[p] << 6) | (t[32 + p] << 4) | (t[64 + p] << 2) | t[96 + p]);
            }
        }
    }
}
