using System.Buffers.Binary;

namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// The first sixteen bytes of Q4_K and Q5_K: f16 d, f16 dmin, and twelve bytes p with eight 6-bit scales and eight 6-bit minima.
/// For j in 0..3 the scale is p[j] &amp; 63 and the minimum p[4 + j] &amp; 63. For j in 4..7 the low four bits are the nibbles of
/// p[4 + j] (scale low, minimum high) and the upper two bits are the top bits of p[j - 4] (scale) and p[j] (minimum).
/// Sub-block j covers values 32j..32j+31: x = (d * scale[j]) * code - (dmin * minimum[j]).
/// </summary>
internal static class KScales
{
    public const int Bytes = 16;

    /// <summary>Step and offset of sub-block <paramref name="j"/> (0..7): x = step * code - offset.</summary>
    public static (float Step, float Offset) Unpack(ReadOnlySpan<byte> header, int j)
    {
        var d = (float)BinaryPrimitives.ReadHalfLittleEndian(header);
        var dmin = (float)BinaryPrimitives.ReadHalfLittleEndian(header[2..]);
        var p = header[4..];
        var (scale, minimum) = j < 4
            ? (p[j] & 63, p[4 + j] & 63)
            : ((p[4 + j] & 15) | ((p[j - 4] >> 6) << 4), (p[4 + j] >> 4) | ((p[j] >> 6) << 4));
        return (d * scale, dmin * minimum);
    }

    /// <summary>Fits and writes the header for 256 values and gives their codes in [0, <paramref name="levels"/>].</summary>
    public static void Encode(ReadOnlySpan<float> values, int levels, Span<byte> header, Span<byte> codes)
    {
        Span<float> scales = stackalloc float[8];
        Span<float> minima = stackalloc float[8];
        for (var j = 0; j < 8; j++)
        {
            (scales[j], minima[j]) = ScaleSearch.Affine(values.Slice(32 * j, 32), levels);
        }

        var d = (Half)(Rounding.MaxMagnitude(scales) / 63f);
        var dmin = (Half)(Rounding.MaxMagnitude(minima) / 63f);
        BinaryPrimitives.WriteHalfLittleEndian(header, d);
        BinaryPrimitives.WriteHalfLittleEndian(header[2..], dmin);
        var p = header[4..Bytes];
        p.Clear();
        for (var j = 0; j < 8; j++)
        {
            var scale = Quotient(scales[j], (float)d);
            var minimum = Quotient(minima[j], (float)dmin);
            if (j < 4)
            {
                p[j] |= (byte)scale;
                p[4 + j] |= (byte)minimum;
            }
            else
            {
                p[4 + j] = (byte)((scale & 15) | ((minimum & 15) << 4));
                p[j - 4] |= (byte)((scale >> 4) << 6);
                p[j] |= (byte)((minimum >> 4) << 6);
            }
        }

        // Codes for the scales as they were stored, not as they were fitted.
        for (var i = 0; i < 256; i++)
        {
            var (step, offset) = Unpack(header, i / 32);
            codes[i] = step > 0 ? (byte)Rounding.ToInt((values[i] + offset) / step, 0, levels) : (byte)0;
        }
    }

    private static int Quotient(float value, float unit) => unit > 0 ? Rounding.ToInt(value / unit, 0, 63) : 0;
}
