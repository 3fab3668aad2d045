using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Bench;

/// <summary>Operands of realistic size that are quick to make.</summary>
internal static unsafe class Weights
{
    /// <summary>One encoded row, repeated: the time of a product depends on its bytes, not on their values.</summary>
    public static WeightMatrix Repeat(QuantType type, int rows, int columns)
    {
        var format = QuantFormat.Of(type);
        var random = new Random(1);
        var values = new float[columns];
        for (var k = 0; k < columns; k++)
        {
            values[k] = KernelSet.IsTernary(type) ? random.Next(-1, 2) * 0.5f : random.NextSingle() - 0.5f;
        }

        var row = new byte[format.RowBytes(columns)];
        format.Encode(values, row, format.TensorScale(values));
        var bytes = format.TensorBytes(rows, columns);
        var memory = new NativeBuffer<byte>(bytes);
        for (var m = 0; m < rows; m++)
        {
            row.CopyTo(new Span<byte>(memory.Pointer + (m * (long)row.Length), row.Length));
        }

        if (type == QuantType.I2_S)
        {
            *(float*)(memory.Pointer + (rows * (long)row.Length)) = 0.5f;
        }

        return new WeightMatrix("bench", format, rows, columns, memory.Pointer, bytes, memory);
    }

    /// <summary>Normally distributed F16 weights, standard deviation 0.02: how many rows survive the first stage depends on their spread.</summary>
    public static WeightMatrix Gaussian(int rows, int columns)
    {
        var random = new Random(2);
        var table = new Half[1 << 16];
        for (var i = 0; i < table.Length; i++)
        {
            table[i] = (Half)(0.02 * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
        }

        var memory = new NativeBuffer<byte>((long)rows * columns * sizeof(Half));
        for (long i = 0; i < (long)rows * columns; i++)
        {
            ((Half*)memory.Pointer)[i] = table[random.Next(table.Length)];
        }

        return new WeightMatrix("head", QuantFormat.Of(QuantType.F16), rows, columns, memory.Pointer, memory.Length, memory);
    }

    /// <summary>Uniform in [-0.5, 0.5).</summary>
    public static NativeBuffer<float> Activations(int length)
    {
        var x = new NativeBuffer<float>(length);
        var random = new Random(3);
        foreach (ref var v in x.Span)
        {
            v = random.NextSingle() - 0.5f;
        }

        return x;
    }
}
