using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;

namespace RyzenLlm.Engine.Files;

/// <summary>
/// One immutable metadata value of a GGUF file. It keeps the bytes as they are in the file and decodes them on demand.
/// </summary>
public sealed partial class GgufValue
{
    private readonly byte[] _payload;

    internal GgufValue(GgufKind kind, GgufKind elementKind, long count, byte[] payload)
    {
        Kind = kind;
        ElementKind = elementKind;
        Count = count;
        _payload = payload;
    }

    /// <summary>Kind of the value.</summary>
    public GgufKind Kind { get; }

    /// <summary>Kind of the elements of an array; <see cref="Kind"/> itself otherwise.</summary>
    public GgufKind ElementKind { get; }

    /// <summary>Number of elements of an array; 1 otherwise.</summary>
    public long Count { get; }

    /// <summary>
    /// Raw little-endian bytes: the number, the bytes of the string (any bytes, not always UTF-8), or the packed elements of the
    /// array, each string with its 64-bit length in front.
    /// </summary>
    public ReadOnlySpan<byte> Bytes => _payload;

    /// <summary>Bytes of one value of this kind, 0 for strings and arrays.</summary>
    internal static int Size(GgufKind kind) => kind switch
    {
        GgufKind.UInt8 or GgufKind.Int8 or GgufKind.Bool => 1,
        GgufKind.UInt16 or GgufKind.Int16 => 2,
        GgufKind.UInt32 or GgufKind.Int32 or GgufKind.Float32 => 4,
        GgufKind.UInt64 or GgufKind.Int64 or GgufKind.Float64 => 8,
        _ => 0,
    };

    /// <summary>The value of any integer kind. 128 bits hold both 64-bit kinds.</summary>
    public bool TryGetInteger(out Int128 value) => TryReadInteger(Kind, Bytes, out value);

    /// <summary>The value of a floating-point or integer kind.</summary>
    public bool TryGetNumber(out double value) => TryReadNumber(Kind, Bytes, out value);

    /// <summary>The value of kind bool.</summary>
    public bool TryGetBool(out bool value)
    {
        value = Kind == GgufKind.Bool && Bytes[0] != 0;
        return Kind == GgufKind.Bool;
    }

    /// <summary>A string; bytes that are not UTF-8 become U+FFFD (see <see cref="Bytes"/>).</summary>
    public bool TryGetString([NotNullWhen(true)] out string? value)
    {
        value = Kind == GgufKind.String ? Encoding.UTF8.GetString(Bytes) : null;
        return value is not null;
    }

    /// <summary>An array of strings, decoded one by one on access.</summary>
    public bool TryGetStrings([NotNullWhen(true)] out GgufStringArray? values)
    {
        values = Kind == GgufKind.Array && ElementKind == GgufKind.String ? new GgufStringArray(_payload, (int)Count) : null;
        return values is not null;
    }

    /// <summary>An array of any integer kind whose elements all fit 32 bits signed.</summary>
    public bool TryGetIntegers([NotNullWhen(true)] out int[]? values)
    {
        values = null;
        var size = Size(ElementKind);
        if (Kind != GgufKind.Array || size == 0)
        {
            return false;
        }

        var result = new int[Count];
        for (var i = 0; i < result.Length; i++)
        {
            if (!TryReadInteger(ElementKind, Bytes.Slice(i * size, size), out var value) || value < int.MinValue || value > int.MaxValue)
            {
                return false;
            }

            result[i] = (int)value;
        }

        values = result;
        return true;
    }

    /// <summary>An array of any floating-point or integer kind.</summary>
    public bool TryGetNumbers([NotNullWhen(true)] out float[]? values)
    {
        values = null;
        var size = Size(ElementKind);
        if (Kind != GgufKind.Array || size == 0)
        {
            return false;
        }

        var result = new float[Count];
        for (var i = 0; i < result.Length; i++)
        {
            if (!TryReadNumber(ElementKind, Bytes.Slice(i * size, size), out var value))
            {
                return false;
            }

            result[i] = (float)value;
        }

        values = result;
        return true;
    }

    /// <summary>The elements of an array of arrays.</summary>
    public bool TryGetArrays([NotNullWhen(true)] out IReadOnlyList<GgufValue>? values)
    {
        values = null;
        if (Kind != GgufKind.Array || ElementKind != GgufKind.Array)
        {
            return false;
        }

        var result = new List<GgufValue>();
        var cursor = new GgufCursor("", _payload);
        for (var i = 0L; i < Count; i++)
        {
            result.Add(cursor.Value(GgufKind.Array));
        }

        values = result;
        return true;
    }

    /// <summary>The kind in words, for example "array of 3 String".</summary>
    public string Describe() => Kind == GgufKind.Array ? $"array of {Count} {ElementKind}" : Kind.ToString();

    /// <summary>The value for people: numbers and strings themselves, arrays by kind and count.</summary>
    public override string ToString() => this switch
    {
        _ when TryGetString(out var text) => text,
        _ when TryGetBool(out var flag) => flag ? "true" : "false",
        _ when TryGetInteger(out var integer) => integer.ToString(CultureInfo.InvariantCulture),
        { Kind: GgufKind.Float32 } => BinaryPrimitives.ReadSingleLittleEndian(Bytes).ToString(CultureInfo.InvariantCulture),
        _ when TryGetNumber(out var number) => number.ToString(CultureInfo.InvariantCulture),
        _ => Describe(),
    };

    private static bool TryReadInteger(GgufKind kind, ReadOnlySpan<byte> bytes, out Int128 value)
    {
        Int128? read = kind switch
        {
            GgufKind.UInt8 => bytes[0],
            GgufKind.Int8 => (sbyte)bytes[0],
            GgufKind.UInt16 => BinaryPrimitives.ReadUInt16LittleEndian(bytes),
            GgufKind.Int16 => BinaryPrimitives.ReadInt16LittleEndian(bytes),
            GgufKind.UInt32 => BinaryPrimitives.ReadUInt32LittleEndian(bytes),
            GgufKind.Int32 => BinaryPrimitives.ReadInt32LittleEndian(bytes),
            GgufKind.UInt64 => BinaryPrimitives.ReadUInt64LittleEndian(bytes),
            GgufKind.Int64 => BinaryPrimitives.ReadInt64LittleEndian(bytes),
            _ => null,
        };
        value = read.GetValueOrDefault();
        return read.HasValue;
    }

    private static bool TryReadNumber(GgufKind kind, ReadOnlySpan<byte> bytes, out double value)
    {
        switch (kind)
        {
            case GgufKind.Float32:
                value = BinaryPrimitives.ReadSingleLittleEndian(bytes);
                return true;
            case GgufKind.Float64:
                value = BinaryPrimitives.ReadDoubleLittleEndian(bytes);
                return true;
            default:
                var isInteger = TryReadInteger(kind, bytes, out var integer);
                value = (double)integer;
                return isInteger;
        }
    }
}
