using System.Buffers.Binary;

namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// Q5_K, 256 values in 176 bytes: f16 d, f16 dmin, 12 scale bytes (<see cref="KScales"/>), 32 bytes h, 128 bytes q.
/// As Q4_K, with bit j of h[l] as the fifth bit of value l of sub-block j.
/// </summary>
internal sealed class Q5_KFormat() : QuantFormat(QuantType.Q5_K, 256, 176)
{
    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale)
    {
        for (; !blocks.IsEmpty; blocks = blocks[176..], values = values[256..])
        {
            var d = (float)BinaryPrimitives.ReadHalfLittleEndian(blocks);
            var dmin = (float)BinaryPrimitives.ReadHalfLittleEndian(blocks[2..]);
            var h = blocks.Slice(16, 32);
            for (var j = 0; j < 8; j++)
            {
                var (sc, mn) = KScales.Unpack(blocks.Slice(4, KScales.Bytes), j);
                var step = d * sc;
                var offset = dmin * mn;
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
}
