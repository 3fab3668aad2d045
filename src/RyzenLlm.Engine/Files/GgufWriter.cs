using System.Buffers.Binary;
using System.Text;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Files;

/// <summary>
/// Writes a GGUF file (version 3). The file appears under its name only when it is complete, on disk, and accepted by
/// <see cref="GgufFile"/>; until then it is called <c>NAME.part</c>.
/// </summary>
public sealed class GgufWriter
{
    private const uint Version = 3;

    private readonly OrderedDictionary<string, GgufValue> _metadata = [];
    private readonly OrderedDictionary<string, Tensor> _tensors = [];

    /// <summary>Starts a file for an architecture (<c>general.architecture</c>).</summary>
    public GgufWriter(string architecture) => Set(GgufHeader.ArchitectureKey, architecture);

    /// <summary>
    /// Sets a metadata value; a key that is there already keeps its place. <c>general.alignment</c> (32 if never set) also decides
    /// where tensors start.
    /// </summary>
    /// <exception cref="ArgumentException">The key is longer than 65535 bytes.</exception>
    public void Set(string key, GgufValue value)
    {
        if (Encoding.UTF8.GetByteCount(key) > GgufHeader.LongestKey)
        {
            throw new ArgumentException($"A metadata key has at most {GgufHeader.LongestKey} bytes.", nameof(key));
        }

        _metadata[key] = value;
    }

    /// <summary>Adds a matrix under its name: dimensions {columns, rows}, or {columns} for a single row.</summary>
    /// <exception cref="ArgumentException">The name is taken or too long.</exception>
    public void Add(WeightMatrix matrix) =>
        Add(matrix.Name, matrix, matrix.Rows == 1 ? [matrix.Columns] : [matrix.Columns, matrix.Rows]);

    /// <summary>Adds a matrix under another name or with other dimensions (fastest first) of the same row length and size.</summary>
    /// <exception cref="ArgumentException">The name is taken or too long, or the dimensions are not those of the matrix.</exception>
    public unsafe void Add(string name, WeightMatrix matrix, params ReadOnlySpan<long> dimensions)
    {
        var info = Describe(name, matrix.Format.Type, dimensions);
        if (info.Dimensions[0] != matrix.Columns || info.Elements != (long)matrix.Rows * matrix.Columns)
        {
            throw new ArgumentException($"{matrix} cannot be written with dimensions {info.Shape}.", nameof(dimensions));
        }

        _tensors.Add(name, new Tensor(info, stream =>
        {
            using var source = new UnmanagedMemoryStream(matrix.Data, matrix.Bytes);
            source.CopyTo(stream, 1 << 20);
            GC.KeepAlive(matrix);
        }));
    }

    /// <summary>Adds a tensor whose encoded bytes <paramref name="write"/> puts into a stream when the file is written.</summary>
    /// <exception cref="ArgumentException">The name is taken or too long, or the dimensions do not fit the type.</exception>
    public void Add(string name, QuantType type, ReadOnlySpan<long> dimensions, Action<Stream> write) =>
        _tensors.Add(name, new Tensor(Describe(name, type, dimensions), write));

    /// <summary>Writes the file; an existing one is replaced in one step at the end.</summary>
    /// <exception cref="IOException">The file cannot be written. Nothing is left behind.</exception>
    /// <exception cref="InvalidOperationException">A tensor gave more or fewer bytes than its dimensions take.</exception>
    /// <exception cref="ModelFormatException">The values do not make a valid file, for example by a bad alignment.</exception>
    public void Write(string path)
    {
        var part = path + ".part";
        try
        {
            using (var stream = new FileStream(part, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 16))
            {
                var alignment = GgufHeader.Alignment(path, null, _metadata);
                WriteHeader(stream, alignment);
                foreach (var tensor in _tensors.Values)
                {
                    Pad(stream, alignment);
                    WriteTensor(stream, tensor);
                }

                // The last tensor is padded as well: other readers expect whole units.
                Pad(stream, alignment);
                stream.Flush(flushToDisk: true);
            }

            GgufFile.Open(part).Dispose();
            File.Move(part, path, overwrite: true);
        }
        catch
        {
            File.Delete(part);
            throw;
        }
    }

    private static void WriteTensor(FileStream stream, Tensor tensor)
    {
        var start = stream.Position;
        tensor.Write(stream);
        if (stream.Position - start != tensor.Info.Bytes)
        {
            throw new InvalidOperationException($"Tensor {tensor.Info.Name} takes {tensor.Info.Bytes} bytes, but {stream.Position - start} were written.");
        }
    }

    private static void Pad(Stream stream, long alignment)
    {
        for (var rest = -stream.Position & (alignment - 1); rest > 0; rest--)
        {
            stream.WriteByte(0);
        }
    }

    private static void WriteString(Stream stream, string text) => ((GgufValue)text).WriteTo(stream);

    private static void WriteUInt32(Stream stream, uint value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        stream.Write(bytes);
    }

    private static void WriteInt64(Stream stream, long value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, value);
        stream.Write(bytes);
    }

    private void WriteHeader(Stream stream, uint alignment)
    {
        WriteUInt32(stream, GgufHeader.Magic);
        WriteUInt32(stream, Version);
        WriteInt64(stream, _tensors.Count);
        WriteInt64(stream, _metadata.Count);
        foreach (var (key, value) in _metadata)
        {
            WriteString(stream, key);
            WriteUInt32(stream, (uint)value.Kind);
            value.WriteTo(stream);
        }

        var offset = 0L;
        foreach (var (info, _) in _tensors.Values)
        {
            WriteString(stream, info.Name);
            WriteUInt32(stream, (uint)info.Dimensions.Count);
            foreach (var size in info.Dimensions)
            {
                WriteInt64(stream, size);
            }

            WriteUInt32(stream, (uint)info.Type);
            WriteInt64(stream, offset);
            offset = (offset + info.Bytes + alignment - 1) & ~((long)alignment - 1);
        }
    }

    private TensorInfo Describe(string name, QuantType type, ReadOnlySpan<long> dimensions)
    {
        if (Encoding.UTF8.GetByteCount(name) > GgufHeader.LongestTensorName)
        {
            throw new ArgumentException($"A tensor name has at most {GgufHeader.LongestTensorName} bytes: {name}", nameof(name));
        }

        if (_tensors.ContainsKey(name))
        {
            throw new ArgumentException($"There is a tensor {name} already.", nameof(name));
        }

        if (dimensions.Length is 0 or > GgufHeader.MostDimensions)
        {
            throw new ArgumentException($"Tensor {name} must have 1 to {GgufHeader.MostDimensions} dimensions, not {dimensions.Length}.", nameof(dimensions));
        }

        var rows = 1L;
        foreach (var size in dimensions[1..])
        {
            rows = checked(rows * size);
        }

        return new TensorInfo(name, type, dimensions.ToArray(), 0, QuantFormat.Of(type).TensorBytes(rows, dimensions[0]));
    }

    private sealed record Tensor(TensorInfo Info, Action<Stream> Write);
}
