using System.Buffers.Binary;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels.Formats;

/// <summary>
/// An immutable matrix of <see cref="Rows"/> x <see cref="Columns"/> weights in one <see cref="QuantFormat"/>, in a mapped file
/// or in native memory: y = W x has <see cref="Rows"/> outputs and <see cref="Columns"/> inputs.
/// </summary>
/// <remarks>
/// <see cref="Data"/> stays valid while this object is reachable. Code that keeps the pointer in a loop keeps the matrix in a
/// field of a live object, or calls <see cref="GC.KeepAlive"/> behind the loop.
/// </remarks>
public sealed unsafe class WeightMatrix
{
    private readonly object _owner;

    /// <summary>Wraps encoded weights that lie at <paramref name="data"/>.</summary>
    /// <param name="name">Name for errors, normally that of the tensor.</param>
    /// <param name="format">Layout of the rows.</param>
    /// <param name="rows">Number of rows (outputs).</param>
    /// <param name="columns">Number of columns (inputs), a multiple of the format's block length.</param>
    /// <param name="data">First byte of row 0.</param>
    /// <param name="bytes">Bytes at <paramref name="data"/>, at least <see cref="QuantFormat.TensorBytes"/>.</param>
    /// <param name="owner">Object whose life keeps the memory valid.</param>
    /// <exception cref="ArgumentException">Columns or bytes do not fit the format.</exception>
    public WeightMatrix(string name, QuantFormat format, int rows, int columns, byte* data, long bytes, object owner)
    {
        var needed = format.TensorBytes(rows, columns);
        if (bytes < needed)
        {
            throw new ArgumentException($"{name}: {rows} x {columns} {format.Name} weights take {needed} bytes, not {bytes}.", nameof(bytes));
        }

        _owner = owner;
        Name = name;
        Format = format;
        Rows = rows;
        Columns = columns;
        Data = data;
        Bytes = needed;
        RowBytes = format.RowBytes(columns);
        Scale = format.Type == QuantType.I2_S
            ? BinaryPrimitives.ReadSingleLittleEndian(new ReadOnlySpan<byte>(data + rows * RowBytes, sizeof(float)))
            : 1f;
    }

    /// <summary>Encodes <paramref name="values"/> (row after row) into native memory of its own.</summary>
    /// <exception cref="ArgumentException">The values are not rows x columns, or the columns do not fit the format.</exception>
    public static WeightMatrix Encode(string name, QuantType type, int rows, int columns, ReadOnlySpan<float> values)
    {
        var format = QuantFormat.Of(type);
        if ((long)rows * columns != values.Length)
        {
            throw new ArgumentException($"{name}: {rows} x {columns} weights are not {values.Length} values.", nameof(values));
        }

        var bytes = format.TensorBytes(rows, columns);
        var memory = new NativeBuffer<byte>(bytes);
        var rowBytes = format.RowBytes(columns);
        var scale = format.TensorScale(values);
        for (var row = 0; row < rows; row++)
        {
            format.Encode(values.Slice(row * columns, columns), new Span<byte>(memory.Pointer + row * rowBytes, checked((int)rowBytes)), scale);
        }

        if (type == QuantType.I2_S)
        {
            BinaryPrimitives.WriteSingleLittleEndian(new Span<byte>(memory.Pointer + rows * rowBytes, sizeof(float)), scale);
        }

        return new WeightMatrix(name, format, rows, columns, memory.Pointer, bytes, memory);
    }

    /// <summary>Name for errors.</summary>
    public string Name { get; }

    /// <summary>Layout of the rows.</summary>
    public QuantFormat Format { get; }

    /// <summary>Number of rows, the outputs of a product.</summary>
    public int Rows { get; }

    /// <summary>Number of columns, the inputs of a product.</summary>
    public int Columns { get; }

    /// <summary>First byte of row 0; row m starts m * <see cref="RowBytes"/> later. Aligned to 64 only in native memory.</summary>
    public byte* Data { get; }

    /// <summary>Bytes of all rows and of what follows the last one.</summary>
    public long Bytes { get; }

    /// <summary>Bytes from one row to the next.</summary>
    public long RowBytes { get; }

    /// <summary>Scale of the whole tensor: stored in I2_S, 1 in every other format.</summary>
    public float Scale { get; }

    /// <summary>Whether the weights lie in a file mapped for reading, whose pages the system can take back and read again.</summary>
    public bool IsMapped { get; init; }

    /// <summary>Lets go of the pages of these rows where the matrix is mapped; the next use reads them from the file's cache again.</summary>
    /// <param name="begin">First row.</param>
    /// <param name="end">Behind the last row.</param>
    /// <exception cref="ArgumentOutOfRangeException">There are no such rows.</exception>
    public void ReleasePages(int begin, int end)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(begin);
        ArgumentOutOfRangeException.ThrowIfLessThan(end, begin);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(end, Rows);
        if (IsMapped)
        {
            Pages.Release(Data + (begin * RowBytes), (end - begin) * RowBytes);
            GC.KeepAlive(_owner);
        }
    }

    /// <summary>The encoded bytes of one row.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such row.</exception>
    public ReadOnlySpan<byte> Row(int row)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)row, (uint)Rows, nameof(row));
        return new ReadOnlySpan<byte>(Data + row * RowBytes, checked((int)RowBytes));
    }

    /// <summary>Decodes one row into <paramref name="values"/> (length <see cref="Columns"/>).</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such row.</exception>
    /// <exception cref="ArgumentException"><paramref name="values"/> has another length.</exception>
    public void DecodeRow(int row, Span<float> values)
    {
        Format.Decode(Row(row), values, Scale);
        GC.KeepAlive(_owner);
    }

    /// <summary>Decodes all rows, one after another.</summary>
    /// <exception cref="OverflowException">The matrix does not fit one array.</exception>
    public float[] Decode()
    {
        var values = new float[checked(Rows * Columns)];
        for (var row = 0; row < Rows; row++)
        {
            DecodeRow(row, values.AsSpan(row * Columns, Columns));
        }

        return values;
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Name} {Format.Name} {Rows} x {Columns}";
}
