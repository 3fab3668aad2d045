using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace RyzenLlm.Engine.Files;

/// <content>Values made in memory, for <see cref="GgufWriter"/>: scalars convert implicitly.</content>
public sealed partial class GgufValue
{
    /// <summary>A value of kind <see cref="GgufKind.UInt8"/>.</summary>
    public static implicit operator GgufValue(byte value) => Scalar(GgufKind.UInt8, value);

    /// <summary>A value of kind <see cref="GgufKind.Int8"/>.</summary>
    public static implicit operator GgufValue(sbyte value) => Scalar(GgufKind.Int8, value);

    /// <summary>A value of kind <see cref="GgufKind.UInt16"/>.</summary>
    public static implicit operator GgufValue(ushort value) => Scalar(GgufKind.UInt16, value);

    /// <summary>A value of kind <see cref="GgufKind.Int16"/>.</summary>
    public static implicit operator GgufValue(short value) => Scalar(GgufKind.Int16, value);

    /// <summary>A value of kind <see cref="GgufKind.UInt32"/>.</summary>
    public static implicit operator GgufValue(uint value) => Scalar(GgufKind.UInt32, value);

    /// <summary>A value of kind <see cref="GgufKind.Int32"/>.</summary>
    public static implicit operator GgufValue(int value) => Scalar(GgufKind.Int32, value);

    /// <summary>A value of kind <see cref="GgufKind.UInt64"/>.</summary>
    public static implicit operator GgufValue(ulong value) => Scalar(GgufKind.UInt64, value);

    /// <summary>A value of kind <see cref="GgufKind.Int64"/>.</summary>
    public static implicit operator GgufValue(long value) => Scalar(GgufKind.Int64, value);

    /// <summary>A value of kind <see cref="GgufKind.Float32"/>.</summary>
    public static implicit operator GgufValue(float value) => Scalar(GgufKind.Float32, value);

    /// <summary>A value of kind <see cref="GgufKind.Float64"/>.</summary>
    public static implicit operator GgufValue(double value) => Scalar(GgufKind.Float64, value);

    /// <summary>A value of kind <see cref="GgufKind.Bool"/>.</summary>
    public static implicit operator GgufValue(bool value) => Scalar(GgufKind.Bool, value ? (byte)1 : (byte)0);

    /// <summary>A value of kind <see cref="GgufKind.String"/>, in UTF-8.</summary>
    public static implicit operator GgufValue(string value) => FromBytes(Encoding.UTF8.GetBytes(value));

    /// <summary>A value of kind <see cref="GgufKind.String"/> from any bytes.</summary>
    public static GgufValue FromBytes(ReadOnlySpan<byte> bytes) => new(GgufKind.String, GgufKind.String, 1, bytes.ToArray());

    /// <summary>An array of numbers; bools are an array of kind <see cref="GgufKind.Bool"/>.</summary>
    /// <typeparam name="T">The C# type of one of the number kinds, or bool.</typeparam>
    /// <exception cref="ArgumentException">GGUF has no such element kind.</exception>
    public static GgufValue FromNumbers<T>(params ReadOnlySpan<T> values)
        where T : unmanaged =>
        new(GgufKind.Array, KindOf<T>(), values.Length, MemoryMarshal.AsBytes(values).ToArray());

    /// <summary>An array of strings in UTF-8.</summary>
    public static GgufValue FromStrings(params IEnumerable<string> values) => FromByteStrings(values.Select(Encoding.UTF8.GetBytes));

    /// <summary>An array of strings from any bytes.</summary>
    public static GgufValue FromByteStrings(params IEnumerable<byte[]> values)
    {
        using var payload = new MemoryStream();
        var count = 0L;
        Span<byte> length = stackalloc byte[sizeof(ulong)];
        foreach (var value in values)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)value.Length);
            payload.Write(length);
            payload.Write(value);
            count++;
        }

        return new GgufValue(GgufKind.Array, GgufKind.String, count, payload.ToArray());
    }

    /// <summary>An array of arrays.</summary>
    /// <exception cref="ArgumentException">An element is no array.</exception>
    public static GgufValue FromArrays(params IEnumerable<GgufValue> arrays)
    {
        using var payload = new MemoryStream();
        var count = 0L;
        foreach (var array in arrays)
        {
            if (array.Kind != GgufKind.Array)
            {
                throw new ArgumentException($"An array of arrays cannot hold a {array.Describe()}.", nameof(arrays));
            }

            array.WriteTo(payload);
            count++;
        }

        return new GgufValue(GgufKind.Array, GgufKind.Array, count, payload.ToArray());
    }

    /// <summary>Writes the value as it follows its kind in a file.</summary>
    internal void WriteTo(Stream stream)
    {
        Span<byte> prefix = stackalloc byte[sizeof(uint) + sizeof(ulong)];
        switch (Kind)
        {
            case GgufKind.String:
                BinaryPrimitives.WriteUInt64LittleEndian(prefix, (ulong)_payload.Length);
                stream.Write(prefix[..sizeof(ulong)]);
                break;
            case GgufKind.Array:
                BinaryPrimitives.WriteUInt32LittleEndian(prefix, (uint)ElementKind);
                BinaryPrimitives.WriteUInt64LittleEndian(prefix[sizeof(uint)..], (ulong)Count);
                stream.Write(prefix);
                break;
        }

        stream.Write(_payload);
    }

    private static GgufValue Scalar<T>(GgufKind kind, T value)
        where T : unmanaged =>
        new(kind, kind, 1, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)).ToArray());

    private static GgufKind KindOf<T>() => Type.GetTypeCode(typeof(T)) switch
    {
        TypeCode.Byte => GgufKind.UInt8,
        TypeCode.SByte => GgufKind.Int8,
        TypeCode.UInt16 => GgufKind.UInt16,
        TypeCode.Int16 => GgufKind.Int16,
        TypeCode.UInt32 => GgufKind.UInt32,
        TypeCode.Int32 => GgufKind.Int32,
        TypeCode.UInt64 => GgufKind.UInt64,
        TypeCode.Int64 => GgufKind.Int64,
        TypeCode.Single => GgufKind.Float32,
        TypeCode.Double => GgufKind.Float64,
        TypeCode.Boolean => GgufKind.Bool,
        _ => throw new ArgumentException($"GGUF has no arrays of {typeof(T).Name}."),
    };
}
