using System.Runtime.Intrinsics;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels;

/// <summary>Ternary formats as I2_S, the layout that the vector paths read fastest.</summary>
public static unsafe class TernaryPacking
{
    /// <summary>
    /// A copy of a TQ1_0 or TQ2_0 matrix as I2_S, 2 bits per weight without block scales. Worth its time and memory at load for TQ1_0, whose
    /// digits are otherwise unpacked again for every product; TQ2_0 is read in place at nearly the same speed.
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
        var p = w.Data + (m * w.RowBytes) + ((long)block * w.Format.BlockBytes);
        if (w.Format.Type == QuantType.TQ1_0)
        {
            UnpackBase3(p, to);
            return KernelSet.ReadHalf(p + 52);
        }

        ReverseFields(Vector256.Load(p)).Store(to);
        ReverseFields(Vector256.Load(p + 32)).Store(to + 32);
        return KernelSet.ReadHalf(p + 64);
    }

    /// <summary>The four 2-bit fields of every byte in reverse order: TQ2_0 has the first quarter in the low bits, I2_S in the high ones.</summary>
    private static Vector256<byte> ReverseFields(Vector256<byte> v)
    {
        var w = v.AsUInt16();
        return ((w << 6).AsByte() & Vector256.Create((byte)0xC0)) | ((w << 2).AsByte() & Vector256.Create((byte)0x30))
            | ((w >>> 2).AsByte() & Vector256.Create((byte)0x0C)) | ((w >>> 6).AsByte() & Vector256.Create((byte)0x03));
    }

    /// <summary>
    /// TQ1_0's 52 bytes of base-3 fractions: 32 bytes and 16 bytes with five digits each, 4 bytes with four. Digit k of byte i is value k n + i of its
    /// part (n bytes), so that each digit of a part is a run of values already in order.
    /// </summary>
    private static void UnpackBase3(byte* p, byte* to)
    {
        var a = Vector256.Load(p);
        var v0 = Digit(a);
        var v1 = Digit(a = Times3(a));
        var v2 = Digit(a = Times3(a));
        var v3 = Digit(a = Times3(a));
        var v4 = Digit(Times3(a));

        // The 16 bytes: digits 0 and 1, 2 and 3 side by side; beside digit 4 the four digits of the last 4 bytes.
        var b = Vector128.Load(p + 32);
        var b3 = b + b + b;
        var pair = Vector256.Create(b, b3);
        var v5 = Digit(pair);
        var v6 = Digit(pair = Times3(Times3(pair)));
        var b81 = Times3(Times3(pair)).GetLower();
        var c = Vector128.Create(*(uint*)(p + 48)).AsByte();
        var c3 = c + c + c;
        var c9 = c3 + c3 + c3;
        var c27 = c9 + c9 + c9;
        var last = Vector128.Create(c.AsUInt32().ToScalar(), c3.AsUInt32().ToScalar(), c9.AsUInt32().ToScalar(), c27.AsUInt32().ToScalar()).AsByte();
        var v7 = Digit(Vector256.Create(b81, last));
        Pack(v0, v1, v2, v3).Store(to);
        Pack(v4, v5, v6, v7).Store(to + 32);

        // (3 b) >> 8 is 1 from 86 on and 2 from 171 on.
        static Vector256<byte> Digit(Vector256<byte> v) =>
            Vector256<byte>.Zero - Vector256.GreaterThan(v, Vector256.Create((byte)85)) - Vector256.GreaterThan(v, Vector256.Create((byte)170));

        static Vector256<byte> Times3(Vector256<byte> v) => v + v + v;

        // Digits are at most 2: 16-bit shifts carry nothing into the next byte.
        static Vector256<byte> Pack(Vector256<byte> v0, Vector256<byte> v1, Vector256<byte> v2, Vector256<byte> v3) =>
            (v0.AsUInt16() << 6).AsByte() | (v1.AsUInt16() << 4).AsByte() | (v2.AsUInt16() << 2).AsByte() | v3;
    }

    /// <summary>The scale of all blocks of a ternary matrix, or false if they have several.</summary>
    internal static bool TryUniformScale(WeightMatrix w, out float scale)
    {
        if (w.Format.Type == QuantType.I2_S)
        {
            scale = w.Scale;
            return true;
        }

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
