using System.Buffers.Binary;

namespace RyzenLlm.Engine.Files;

/// <summary>
/// A safetensors file (Hugging Face), mapped into memory: a 64-bit length, a JSON header of that length with type, shape and
/// place of every tensor, then the data. Read are tensors of F32, F16 and BF16. Shapes are stored slowest axis first and given
/// here fastest first, as in GGUF: [M, K] becomes {K, M}.
/// </summary>
public sealed class SafetensorsFile : TensorFile
{
    // The limit of the reference implementation.
    private const int LongestHeader = 100_000_000;

    private SafetensorsFile(string path, MappedFile map)
        : base(path, map)
    {
        var headerLength = HeaderLength(path, map);
        var dataStart = sizeof(ulong) + (long)headerLength;
        var reader = new SafetensorsHeader(path, dataStart);
        reader.Read(map.Head.Slice(sizeof(ulong), headerLength));
        CheckPlacement(path, dataStart, map.Length, reader.Tensors.Values);
        Tensors = reader.Tensors;
        Metadata = reader.Metadata;
    }

    /// <summary>The free texts of <c>__metadata__</c>.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens and checks a file.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="ModelFormatException">The file violates the format or holds a tensor type that is not read here.</exception>
    public static SafetensorsFile Open(string path)
    {
        var map = MappedFile.Open(path);
        try
        {
            return new SafetensorsFile(path, map);
        }
        catch
        {
            map.Dispose();
            throw;
        }
    }

    private static int HeaderLength(string path, MappedFile map)
    {
        if (map.Length < sizeof(ulong))
        {
            throw new ModelFormatException(path, null, 0, "the 8-byte length of a safetensors header", $"{map.Length} bytes");
        }

        var length = BinaryPrimitives.ReadUInt64LittleEndian(map.Head);
        var longest = (ulong)Math.Min(map.Length - sizeof(ulong), LongestHeader);
        return length <= longest
            ? (int)length
            : throw new ModelFormatException(path, null, 0, $"a header of at most {longest} bytes", $"a length of {length} (truncated, or not a safetensors file)");
    }
}
