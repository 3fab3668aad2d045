using System.Buffers.Binary;

namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// Q6_K, 256 values in 210 bytes: 128 bytes L (low four bits), 64 bytes H (high two bits), 16 signed scales, f16 d.
/// Half a (0, 1) holds four runs f of 32 values: value 128a + 32f + l takes the nibble f / 2 of L[64a + 32(f mod 2) + l] and
/// bits 2f..2f+1 of H[32a + l]. x[e] = (d * scale[e / 16]) * (v - 32).
/// </summary>
internal sealed class Q6_KFormat() : QuantFormat(QuantType.Q6_K, 256, 210)
{
    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale)
    {
        for (; !blocks.IsEmpty; blocks = blocks[210..], values = values[256..])
        {
            var d = (float)BinaryPrimitives.ReadHalfLittleEndian(blocks[208..]);
            for (var run = 0; run < 8; run++)
            {
                var (a, f) = (run / 4, run % 4);
                var low = blocks.Slice(64 * a + 32 * (f % 2), 32);
                var high = blocks.Slice(128 + 32 * a, 32);
                for (var l = 0; l < 32; l++)
                {
                    var e = 32 * run + l;
                    var v = ((low[l] >> (4 * (f / 2))) & 15) | (((high[l] >> (2 * f)) & 3) << 4);
                    values[e] = d * (sbyte)blocks[192 + e / 16] * (v - 32);
                }
            }
        }
    }

    private protected override void EncodeBlocks(ReadOnlySpan<float> values, Span<byte> blocks, float scale)
    {
        Span<float> scales = stackalloc float[16];
        for (; !blocks.IsEmpty; blocks = blocks[210..], values = values[256..])
        {
            var extreme = 0f;
            for (var g = 0; g < 16; g++)
            {
                scales[g] = ScaleSearch.Symmetric(values.Slice(16 * g, 16), -32);
                extreme = MathF.Abs(scales[g]) > MathF.Abs(extreme) ? scales[g] : extreme;
            }

            // The scale of largest magnitude becomes -128, so that all eight bits are used.
            var d = (Half)(extreme / -128f);
            BinaryPrimitives.WriteHalfLittleEndian(blocks[208..], d);
            for (var g = 0; g < 16; g++)
            {
                blocks[192 + g] = d == Half.Zero ? (byte)0 : (byte)(sbyte)Rounding.ToInt(scales[g] / (float)d, -128, 127);
            }

            blocks[..192].Clear();
            for (var e = 0; e < 256; e++)
            {
                var step = (float)d * (sbyte)blocks[192 + e / 16];
                var v = 32 + (step != 0 ? Rounding.ToInt(values[e] / step, -32, 31) : 0);
                var (a, f, l) = (e / 128, e / 32 % 4, e % 32);
                blocks[64 * a + 32 * (f % 2) + l] |= (byte)((v & 15) << (4 * (f / 2)));
                blocks[128 + 32 * a + l] |= (byte)((v >> 4) << (2 * f));
            }
        }
    }
}
