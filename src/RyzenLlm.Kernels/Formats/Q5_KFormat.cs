namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// Q5_K, 256 values in 176 bytes: 16 bytes of scales and minima (<see cref="KScales"/>), 32 bytes h, 128 bytes q.
/// As Q4_K, with bit j of h[l] as the fifth bit of value l of sub-block j.
/// </summary>
internal sealed class Q5_KFormat() : QuantFormat(QuantType.Q5_K, 256, 176)
{
    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale)
    {
        for (; !blocks.IsEmpty; blocks = blocks[176..], values = values[256..])
        {
            var h = blocks.Slice(16, 32);
            for (var j = 0; j < 8; j++)
            {
                var (step, offset) = KScales.Unpack(blocks, j);
                var q = blocks.Slice(48 + 32 * (j / 2), 32);
                var shift = 4 * (j & 1);
                for (var l = 0; l < 32; l++)
                {
                    var v = ((q[l] >> shift) & 15) | (((h[l] >> j) & 1) << 4);
                    values[32 * j + l] = step * v - offset;
                }
            }
        }
    }

    private protected override void EncodeBlocks(ReadOnlySpan<float> values, Span<byte> blocks, float scale)
    {
        Span<byte> codes = stackalloc byte[256];
        for (; !blocks.IsEmpty; blocks = blocks[176..], values = values[256..])
        {
            KScales.Encode(values[..256], 31, blocks, codes);
            for (var b = 0; b < 128; b++)
            {
                var pair = codes.Slice(64 * (b / 32) + b % 32);
                blocks[48 + b] = (byte)((pair[0] & 15) | ((pair[32] & 15) << 4));
            }

            for (var l = 0; l < 32; l++)
            {
                var bits = 0;
                for (var j = 0; j < 8; j++)
                {
                    bits |= (codes[32 * j + l] >> 4) << j;
                }

                blocks[16 + l] = (byte)bits;
            }
        }
    }
}
