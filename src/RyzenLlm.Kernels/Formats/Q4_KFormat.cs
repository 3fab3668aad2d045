namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// Q4_K, 256 values in 144 bytes: 16 bytes of scales and minima (<see cref="KScales"/>), 128 bytes q. Sub-blocks 2g and 2g + 1
/// are the low and high nibbles of q[32g..32g+31].
/// </summary>
internal sealed class Q4_KFormat() : QuantFormat(QuantType.Q4_K, 256, 144)
{
    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale)
    {
        for (; !blocks.IsEmpty; blocks = blocks[144..], values = values[256..])
        {
            for (var j = 0; j < 8; j++)
            {
                var (step, offset) = KScales.Unpack(blocks, j);
                var q = blocks.Slice(16 + 32 * (j / 2), 32);
                var shift = 4 * (j & 1);
                for (var l = 0; l < 32; l++)
                {
                    values[32 * j + l] = step * ((q[l] >> shift) & 15) - offset;
                }
            }
        }
    }

    private protected override void EncodeBlocks(ReadOnlySpan<float> values, Span<byte> blocks, float scale)
    {
        Span<byte> codes = stackalloc byte[256];
        for (; !blocks.IsEmpty; blocks = blocks[144..], values = values[256..])
        {
            KScales.Encode(values[..256], 15, blocks, codes);
            for (var b = 0; b < 128; b++)
            {
                var pair = codes.Slice(64 * (b / 32) + b % 32);
                blocks[16 + b] = (byte)(pair[0] | (pair[32] << 4));
            }
        }
    }
}
