using System.Buffers.Binary;
using System.Text;
using System.Text.Unicode;

namespace RyzenLlm.Engine.Files;

/// <summary>
/// Reads the fields of a GGUF header one after another. Every length and count is held against the bytes that remain before
/// anything is allocated or skipped, so no field can cost more than the file is long.
/// </summary>
internal ref struct GgufCursor(string path, ReadOnlySpan<byte> bytes)
{
    private const int DeepestArray = 8;

    private readonly ReadOnlySpan<byte> _bytes = bytes;

    /// <summary>Bytes read so far.</summary>
    public int Position { get; private set; }

    private readonly int Remaining => _bytes.Length - Position;

    public uint UInt32(string field) => BinaryPrimitives.ReadUInt32LittleEndian(Take(sizeof(uint), field));

    public ulong UInt64(string field) => BinaryPrimitives.ReadUInt64LittleEndian(Take(sizeof(ulong), field));

    /// <summary>A count of items that take at least <paramref name="itemBytes"/> bytes each in what follows.</summary>
    public long Count(string field, int itemBytes)
    {
        var start = Position;
        var count = UInt64(field);
        if (count > (ulong)(Remaining / itemBytes))
        {
            throw Error(start, $"{field} of at most {Remaining / itemBytes} ({Remaining} bytes remain)", $"{count}");
        }

        return (long)count;
    }

    /// <summary>A name: at most <paramref name="longest"/> bytes of valid UTF-8.</summary>
    public string Name(string field, int longest)
    {
        var start = Position;
        var name = String(field);
        if (name.Length > longest)
        {
            throw Error(start, $"{field} of at most {longest} bytes", $"{name.Length} bytes");
        }

        return Utf8.IsValid(name) ? Encoding.UTF8.GetString(name) : throw Error(start, $"{field} in UTF-8", "other bytes");
    }

    /// <summary>A value kind.</summary>
    public GgufKind Kind(string field)
    {
        var start = Position;
        var kind = UInt32(field);
        return kind <= (uint)GgufKind.Float64 ? (GgufKind)kind : throw Error(start, $"{field} 0..{(int)GgufKind.Float64}", $"{kind}");
    }

    /// <summary>A metadata value of the given kind.</summary>
    public GgufValue Value(GgufKind kind) => kind switch
    {
        GgufKind.String => new GgufValue(kind, kind, 1, String("a string").ToArray()),
        GgufKind.Array => Array(),
        _ => new GgufValue(kind, kind, 1, Numbers(kind, 1).ToArray()),
    };

    public readonly ModelFormatException Error(int offset, string expected, string found) => new(path, null, offset, expected, found);

    private GgufValue Array()
    {
        var kind = Kind("an array element kind");
        var count = Count("an array count", SmallestElement(kind));
        var start = Position;
        SkipElements(kind, count, 1);
        return new GgufValue(GgufKind.Array, kind, count, _bytes[start..Position].ToArray());
    }

    private void SkipElements(GgufKind kind, long count, int depth)
    {
        if (depth > DeepestArray)
        {
            throw Error(Position, $"arrays in at most {DeepestArray} levels", "more");
        }

        if (GgufValue.Size(kind) > 0)
        {
            Numbers(kind, count);
            return;
        }

        for (var i = 0L; i < count; i++)
        {
            if (kind == GgufKind.String)
            {
                String("a string in an array");
            }
            else
            {
                var inner = Kind("an array element kind");
                SkipElements(inner, Count("an array count", SmallestElement(inner)), depth + 1);
            }
        }
    }

    private static int SmallestElement(GgufKind kind) => kind switch
    {
        GgufKind.String => sizeof(ulong),
        GgufKind.Array => sizeof(uint) + sizeof(ulong),
        _ => GgufValue.Size(kind),
    };

    private ReadOnlySpan<byte> Numbers(GgufKind kind, long count)
    {
        var start = Position;
        var numbers = Take((ulong)(count * GgufValue.Size(kind)), $"{count} {kind}");
        if (kind == GgufKind.Bool && numbers.ContainsAnyExceptInRange((byte)0, (byte)1))
        {
            throw Error(start, "a bool of 0 or 1", "another byte");
        }

        return numbers;
    }

    private ReadOnlySpan<byte> String(string field) => Take(UInt64($"the length of {field}"), field);

    private ReadOnlySpan<byte> Take(ulong count, string field)
    {
        if (count > (ulong)Remaining)
        {
            throw Error(Position, $"{field} ({count} bytes)", $"{Remaining} bytes up to the end of the file (truncated?)");
        }

        var taken = _bytes.Slice(Position, (int)count);
        Position += (int)count;
        return taken;
    }
}
