using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Files;

/// <summary>The parsed and checked part of a GGUF file before the tensor data (specification: ggml/docs/gguf.md).</summary>
internal sealed class GgufHeader
{
    /// <summary>The first four bytes, "GGUF".</summary>
    public const uint Magic = 0x46554747;

    public const string ArchitectureKey = "general.architecture";

    private const string FileTypeKey = "general.file_type";
    private const int I2_SFileType = 40;
    public const string AlignmentKey = "general.alignment";
    public const uint DefaultAlignment = 32;
    public const int LongestKey = ushort.MaxValue;
    public const int LongestTensorName = 63;
    public const int MostDimensions = 4;

    // Smallest entry of each list: empty name and one-byte value; empty name, one dimension.
    private const int SmallestPair = sizeof(ulong) + sizeof(uint) + 1;
    private const int SmallestTensor = sizeof(ulong) + sizeof(uint) + sizeof(ulong) + sizeof(uint) + sizeof(ulong);

    /// <summary>Names of ggml types by number, for messages about those that are not read here. A dash was never or is no longer used.</summary>
    private static readonly string[] GgmlTypes =
        ("F32 F16 Q4_0 Q4_1 - - Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S " +
         "IQ4_XS I8 I16 I32 I64 F64 IQ1_M BF16 - - - TQ1_0 TQ2_0 - - - MXFP4").Split(' ');

    private readonly string _path;
    private readonly long _length;

    private GgufHeader(string path, long length)
    {
        _path = path;
        _length = length;
    }

    public uint Version { get; private set; }

    public string Architecture { get; private set; } = "";

    public OrderedDictionary<string, GgufValue> Metadata { get; } = [];

    public OrderedDictionary<string, TensorInfo> Tensors { get; } = [];

    /// <summary>First byte of the tensor data.</summary>
    public long DataStart { get; private set; }

    /// <summary>Reads the header from the start of a file of <paramref name="length"/> bytes.</summary>
    /// <exception cref="ModelFormatException">The header violates the format.</exception>
    public static GgufHeader Read(string path, ReadOnlySpan<byte> bytes, long length)
    {
        var header = new GgufHeader(path, length);
        var cursor = new GgufCursor(path, bytes);
        header.ReadVersion(ref cursor);
        var tensorCount = cursor.Count("a tensor count", SmallestTensor);
        var pairCount = cursor.Count("a metadata count", SmallestPair);
        header.ReadMetadata(ref cursor, pairCount);
        header.ReadTensors(ref cursor, tensorCount);
        return header;
    }

    /// <summary>The alignment of tensor data that the metadata asks for.</summary>
    /// <exception cref="ModelFormatException">It is no power of two below 2^32.</exception>
    public static uint Alignment(string path, long? position, IReadOnlyDictionary<string, GgufValue> metadata)
    {
        if (!metadata.TryGetValue(AlignmentKey, out var value))
        {
            return DefaultAlignment;
        }

        return value.TryGetInteger(out var alignment) && alignment > 0 && alignment <= uint.MaxValue && BitOperations.IsPow2((uint)alignment)
            ? (uint)alignment
            : throw new ModelFormatException(path, null, position, $"a power of two under {AlignmentKey}", ModelFormatException.Quote(value.ToString()));
    }

    private void ReadVersion(ref GgufCursor cursor)
    {
        var magic = cursor.UInt32("the magic number GGUF");
        if (magic != Magic)
        {
            throw cursor.Error(0, "the magic number GGUF (47 47 55 46)", $"bytes {Convert.ToHexString(BitConverter.GetBytes(magic))}: not a GGUF file");
        }

        Version = cursor.UInt32("a version");
        if (Version is not (2 or 3))
        {
            var found = BinaryPrimitives.ReverseEndianness(Version) is >= 1 and <= 3
                ? "a big-endian file; convert the model for little-endian machines"
                : $"version {Version}; convert the model again";
            throw cursor.Error(sizeof(uint), "GGUF version 2 or 3", found);
        }
    }

    private void ReadMetadata(ref GgufCursor cursor, long count)
    {
        for (var i = 0L; i < count; i++)
        {
            var start = cursor.Position;
            var key = cursor.Name("a metadata key", LongestKey);
            var value = cursor.Value(cursor.Kind("a value kind"));
            if (!Metadata.TryAdd(key, value))
            {
                throw cursor.Error(start, "every metadata key once", $"{ModelFormatException.Quote(key)} again");
            }
        }

        Architecture = Metadata.TryGetValue(ArchitectureKey, out var architecture) && architecture.TryGetString(out var name)
            ? name
            : throw cursor.Error(cursor.Position, $"a string under {ArchitectureKey}", architecture?.Describe() ?? "no such key");
    }

    private void ReadTensors(ref GgufCursor cursor, long count)
    {
        var alignment = Alignment(_path, cursor.Position, Metadata);
        var firstPosition = cursor.Position;
        for (var i = 0L; i < count; i++)
        {
            var start = cursor.Position;
            var tensor = ReadTensor(ref cursor, alignment);
            if (!Tensors.TryAdd(tensor.Name, tensor))
            {
                throw new ModelFormatException(_path, tensor.Name, start, "every tensor name once", "a second one");
            }
        }

        DataStart = (cursor.Position + (long)alignment - 1) & ~((long)alignment - 1);
        for (var i = 0; i < Tensors.Count; i++)
        {
            var tensor = Tensors.GetAt(i).Value;
            if (tensor.Offset > _length - DataStart)
            {
                throw new ModelFormatException(
                    _path, tensor.Name, firstPosition, $"tensor data in the {Math.Max(0, _length - DataStart)} bytes behind byte {DataStart}", $"offset {tensor.Offset} (truncated?)");
            }

            Tensors.SetAt(i, tensor with { Offset = DataStart + tensor.Offset });
        }
    }

    /// <summary>One entry of the tensor list, its offset still counted from the start of the data.</summary>
    private TensorInfo ReadTensor(ref GgufCursor cursor, uint alignment)
    {
        var name = cursor.Name("a tensor name", LongestTensorName);
        var start = cursor.Position;
        var dimensionCount = cursor.UInt32("a number of dimensions");
        if (dimensionCount is 0 or > MostDimensions)
        {
            throw new ModelFormatException(_path, name, start, $"1 to {MostDimensions} dimensions", $"{dimensionCount}");
        }

        var dimensions = new long[dimensionCount];
        for (var d = 0; d < dimensions.Length; d++)
        {
            // Sizes of 2^63 and above come out negative and are refused with them.
            dimensions[d] = unchecked((long)cursor.UInt64("a dimension"));
        }

        var format = Format(name, cursor.Position, cursor.UInt32("a tensor type"));
        var bytes = TensorFile.TensorBytes(_path, name, start, format, dimensions);
        var offsetPosition = cursor.Position;
        var offset = cursor.UInt64("a tensor offset");
        if (offset > long.MaxValue || offset % alignment != 0)
        {
            throw new ModelFormatException(_path, name, offsetPosition, $"an offset that is a multiple of {alignment}", $"{offset}");
        }

        return new TensorInfo(name, format.Type, dimensions, (long)offset, bytes);
    }

    private QuantFormat Format(string name, int position, uint type)
    {
        if (type > int.MaxValue || !QuantFormat.TryOf((QuantType)type, out var format))
        {
            var known = type < GgmlTypes.Length && GgmlTypes[type] != "-" ? $"{GgmlTypes[type]} (type {type})" : $"type {type.ToString(CultureInfo.InvariantCulture)}";
            throw new ModelFormatException(_path, name, position, $"a tensor type among {string.Join(", ", QuantFormat.All)}", known);
        }

        if (format.Type == QuantType.I2_S && !MayHoldI2_S)
        {
            throw new ModelFormatException(
                _path, name, position, $"type 36 (I2_S) only in a BitNet model or under {FileTypeKey} {I2_SFileType}", $"architecture {ModelFormatException.Quote(Architecture)}");
        }

        return format;
    }

    // The number 36 had another meaning in early ggml. Only bitnet.cpp writes I2_S: for BitNet's own architectures, or else saying so.
    private bool MayHoldI2_S => Architecture.StartsWith("bitnet", StringComparison.Ordinal)
        || (Metadata.TryGetValue(FileTypeKey, out var type) && type.TryGetInteger(out var number) && number == I2_SFileType);
}
