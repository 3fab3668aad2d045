using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels;

/// <summary>Ternary formats as I2_S, the layout that the vector paths read fastest.</summary>
public static unsafe class TernaryPacking
{
    /// <summary>
    /// A copy of a TQ1_0 or TQ2_0 matrix as I2_S, 2 bits per weight without block scales. Worth its time and memory at load for TQ1_0, which has no
    /// kernel that reads it in place; TQ2_0 is read in place at nearly the same speed.
    /// </summary>
    /// <returns>The copy, or null where blocks have different scales (those products need the original) or the matrix is I2_S already.</returns>
    /// <exception cref="ArgumentException">The matrix is not ternary.</exception>
    public static WeightMatrix? TryToI2_S(WeightMatrix w)
    {
        if (!KernelSet.IsTernary(w.Format.Type))
        {
            throw new ArgumentException($"{w.Name}: {w.Format} is not a ternary format.", nameof(w));
        }

        if (w.Format.Type == QuantType.I2_S || !TryUniformScale(w, out var scale))
        {
            return null;
        }

        var format = QuantFormat.Of(QuantType.I2_S);
        var bytes = format.TensorBytes(w.Rows, w.Columns);
        var copy = new NativeBuffer<byte>(bytes);
        var to = copy.Pointer;
        for (var m = 0; m < w.Rows; m++)
        {
            for (var block = 0; block < w.Columns / 256; block++, to += 64)
            {
                ReadBlock(w, m, block, to);
            }
        }

        *(float*)to = scale;
        GC.KeepAlive(w);
        return new WeightMatrix(w.Name, format, w.Rows, w.Columns, copy.Pointer, bytes, copy);
    }

    /// <summary>Writes block <paramref name="block"/> of row <paramref name="m"/> (256 weights, TQ1_0 or TQ2_0) as 64 bytes of I2_S and returns its scale.</summary>
    internal static float ReadBlock(WeightMatrix w, int m, int block, byte* to)
    {
        var values = stackalloc sbyte[256];
        var scale = KernelSet.DecodeTernary(w, m, block, values);
        for (var p = 0; p < 64; p++)
        {
            var v = values + (128 * (p / 32)) + (p % 32);
            to[p] = (byte)(((v[0] + 1) << 6) | ((v[32] + 1) << 4) | ((v[64] + 1) << 2) | (v[96] + 1));
        }

        return scale;
    }

    private static bool TryUniformScale(WeightMatrix w, out float scale)
    {
        var block = w.Format.BlockBytes;
        var at = w.Data + block - 2;
        var bits = *(ushort*)at;
        scale = (float)BitConverter.UInt16BitsToHalf(bits);
        for (; at < w.Data + w.Bytes; at += block)
        {
            if (*(ushort*)at != bits)
            {
                return false;
            }
        }

        return true;
    }
}
