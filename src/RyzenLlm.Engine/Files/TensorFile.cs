using System.Diagnostics.CodeAnalysis;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Files;

/// <summary>A mapped file of named tensors: what an architecture needs to know of <see cref="GgufFile"/> and <see cref="SafetensorsFile"/>.</summary>
/// <remarks>
/// Matrices read from the file stay valid after <see cref="Dispose"/>; the map is then released when the last of them is gone.
/// </remarks>
public abstract class TensorFile : IDisposable
{
    private readonly MappedFile _map;
    private bool _hasMatrices;
    private bool _disposed;

    /// <summary>Takes over a mapped file.</summary>
    private protected TensorFile(string path, MappedFile map)
    {
        Path = path;
        _map = map;
    }

    /// <summary>Path the file was opened with.</summary>
    public string Path { get; }

    /// <summary>Size of the file in bytes.</summary>
    public long Length => _map.Length;

    /// <summary>All tensors by name, in the order of the file.</summary>
    public IReadOnlyDictionary<string, TensorInfo> Tensors { get; private protected init; } = new Dictionary<string, TensorInfo>();

    /// <summary>
    /// The tensor as a matrix in its own format, without copying. Its fastest dimension must be <paramref name="columns"/> and
    /// the product of the others <paramref name="rows"/>.
    /// </summary>
    /// <exception cref="ModelFormatException">The tensor is missing or has another shape.</exception>
    /// <exception cref="ObjectDisposedException">The file was disposed.</exception>
    public WeightMatrix Matrix(string name, int rows, int columns) =>
        TryMatrix(name, rows, columns, out var matrix) ? matrix : throw Missing(name, rows, columns);

    /// <summary>As <see cref="Matrix"/>, or false if the file has no such tensor.</summary>
    /// <exception cref="ModelFormatException">The tensor has another shape.</exception>
    /// <exception cref="ObjectDisposedException">The file was disposed.</exception>
    public bool TryMatrix(string name, int rows, int columns, [NotNullWhen(true)] out WeightMatrix? matrix)
    {
        var found = TryFind(name, rows, columns, out matrix);
        _hasMatrices |= found;
        return found;
    }

    /// <summary>A tensor of one dimension (others of size 1 do not count), decoded to floats.</summary>
    /// <exception cref="ModelFormatException">The tensor is missing or is no vector of this length.</exception>
    /// <exception cref="ObjectDisposedException">The file was disposed.</exception>
    public float[] Vector(string name, int length) =>
        TryVector(name, length, out var values) ? values : throw Missing(name, 1, length);

    /// <summary>As <see cref="Vector"/>, or false if the file has no such tensor.</summary>
    /// <exception cref="ModelFormatException">The tensor is no vector of this length.</exception>
    /// <exception cref="ObjectDisposedException">The file was disposed.</exception>
    public bool TryVector(string name, int length, [NotNullWhen(true)] out float[]? values)
    {
        values = TryFind(name, 1, length, out var matrix) ? matrix.Decode() : null;
        return values is not null;
    }

    /// <summary>A matrix decoded to floats, row after row.</summary>
    /// <exception cref="ModelFormatException">The tensor is missing or has another shape.</exception>
    /// <exception cref="ObjectDisposedException">The file was disposed.</exception>
    public float[] Values(string name, int rows, int columns) =>
        TryFind(name, rows, columns, out var matrix) ? matrix.Decode() : throw Missing(name, rows, columns);

    /// <summary>Releases the map if no matrix points into it; otherwise it goes with the last matrix.</summary>
    public void Dispose()
    {
        _disposed = true;
        if (!_hasMatrices)
        {
            _map.Dispose();
        }

        GC.SuppressFinalize(this);
    }

    /// <summary>
    /// Checks that every tensor lies inside the file, from <paramref name="dataStart"/> on, and that no two share a byte.
    /// </summary>
    private protected static void CheckPlacement(string path, long dataStart, long length, IEnumerable<TensorInfo> tensors)
    {
        var end = dataStart;
        var previous = "the header";
        foreach (var tensor in tensors.OrderBy(t => t.Offset))
        {
            if (tensor.Offset < end)
            {
                throw new ModelFormatException(path, tensor.Name, tensor.Offset, $"tensor data behind {previous}, from byte {end} on", "data that overlaps it");
            }

            if (tensor.Bytes > length - tensor.Offset)
            {
                throw new ModelFormatException(
                    path, tensor.Name, tensor.Offset, $"{tensor.Bytes} bytes of tensor data", $"{Math.Max(0, length - tensor.Offset)} bytes up to the end of the file (truncated?)");
            }

            end = tensor.Offset + tensor.Bytes;
            previous = $"tensor {ModelFormatException.Quote(tensor.Name)}";
        }
    }

    /// <summary>
    /// Size in bytes of a tensor, or an error if a dimension is not positive, rows do not hold whole blocks, or the size overflows.
    /// </summary>
    internal static long TensorBytes(string path, string name, long position, QuantFormat format, ReadOnlySpan<long> dimensions)
    {
        var rows = 1L;
        foreach (var size in dimensions)
        {
            if (size <= 0)
            {
                throw new ModelFormatException(path, name, position, "positive dimensions", $"dimension {size}");
            }
        }

        if (dimensions[0] % format.BlockLength != 0)
        {
            throw new ModelFormatException(path, name, position, $"{format.Name} rows of a multiple of {format.BlockLength} values", $"rows of {dimensions[0]}");
        }

        try
        {
            foreach (var size in dimensions[1..])
            {
                rows = checked(rows * size);
            }

            return format.TensorBytes(rows, dimensions[0]);
        }
        catch (OverflowException e)
        {
            throw new ModelFormatException(path, name, position, "a size below 2^63", $"dimensions {{{string.Join(", ", dimensions.ToArray())}}}", e);
        }
    }

    private unsafe bool TryFind(string name, int rows, int columns, [NotNullWhen(true)] out WeightMatrix? matrix)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        matrix = null;
        if (!Tensors.TryGetValue(name, out var tensor))
        {
            return false;
        }

        var outer = tensor.Dimensions.Skip(1).Aggregate(1L, (product, size) => product * size);
        if (tensor.Dimensions[0] != columns || outer != rows)
        {
            throw WrongShape(tensor, rows == 1 ? $"{{{columns}}}" : $"{{{columns}, {rows}}}");
        }

        matrix = new WeightMatrix(name, QuantFormat.Of(tensor.Type), rows, columns, _map.Pointer + tensor.Offset, tensor.Bytes, _map) { IsMapped = true };
        return true;
    }

    private ModelFormatException Missing(string name, int rows, int columns) =>
        new(Path, name, null, $"a tensor of {rows} x {columns}", $"none of this name among {Tensors.Count} tensors");

    private ModelFormatException WrongShape(TensorInfo tensor, string expected) =>
        new(Path, tensor.Name, tensor.Offset, $"shape {expected}", $"shape {tensor.Shape}");
}
