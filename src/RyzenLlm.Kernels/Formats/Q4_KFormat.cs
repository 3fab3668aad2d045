using System.Buffers.Binary;

namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// Q4_K, 256 values in 144 bytes: f16 d, f16 dmin, 12 scale bytes (<see cref="KScales"/>), 128 bytes q.
/// Sub-block j covers values 32j..32j+31. Sub-blocks 2g and 2g + 1 are the low and high nibbles of q[32g..32g+31].
/// x = (d * scale[j]) * nibble - (dmin * minimum[j]).
/// </summary>
internal sealed class Q4_KFormat() : QuantFormat(QuantType.Q4_K, 256, 144)
{
    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale)
    {
        for (; !blocks.IsEmpty; blocks = blocks[144..], values = values[256..])
        {
            var d = (float)BinaryPrimitives.ReadHalfLittleEndian(blocks);
            var dmin = (float)BinaryPrimitives.ReadHalfLittleEndian(blocks[2..]);
            for (var j = 0; j < 8; j++)
            {
                var (sc, mn) = KScales.Unpack(blocks.Slice(4, KScales.Bytes), j);
                var step = d * sc;
                var offset = dmin * mn;
                var q = blocks.Slice(16 + 32 * (j / 2), 32);
                var shift = 4 * (j & 1);
                for (var l = 0; l < 32; l++)
                {
                    values[32 * j + l] = step * ((q[l] >> shift) & 15) - offset;
                }
            }
        }
    }
}
