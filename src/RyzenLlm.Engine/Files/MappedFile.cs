using System.IO.MemoryMappedFiles;

namespace RyzenLlm.Engine.Files;

/// <summary>
/// A file mapped for reading. Matrices point into the map and refer to this object, so the map goes when the last of them is
/// gone, or at once by <see cref="Dispose"/> where nothing points into it.
/// </summary>
internal sealed unsafe class MappedFile : IDisposable
{
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private byte* _pointer;

    private MappedFile(MemoryMappedFile file, long length)
    {
        _file = file;
        Length = length;
        _view = file.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _pointer);
        _pointer += _view.PointerOffset;
    }

    ~MappedFile() => Release();

    /// <summary>Size of the file in bytes, at least 1.</summary>
    public long Length { get; }

    /// <summary>First byte of the file.</summary>
    /// <exception cref="ObjectDisposedException">The map was released.</exception>
    public byte* Pointer
    {
        get
        {
            ObjectDisposedException.ThrowIf(_pointer is null, this);
            return _pointer;
        }
    }

    /// <summary>Maps a file.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="ModelFormatException">It is a folder or empty.</exception>
    public static MappedFile Open(string path)
    {
        if (Directory.Exists(path))
        {
            throw new ModelFormatException(path, null, null, "a model file", "a folder");
        }

        if (!File.Exists(path))
        {
            throw new FileNotFoundException($"There is no file {path}. Check the path.", path);
        }

        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete, bufferSize: 0);
        if (stream.Length == 0)
        {
            throw new ModelFormatException(path, null, 0, "a model file", "an empty file");
        }

        var file = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
        return new MappedFile(file, stream.Length);
    }

    /// <summary>The first bytes of the file, up to the 2 GiB that a span can hold: more than any header takes.</summary>
    public ReadOnlySpan<byte> Head => new(Pointer, (int)Math.Min(Length, int.MaxValue));

    /// <inheritdoc/>
    public void Dispose()
    {
        Release();
        GC.SuppressFinalize(this);
    }

    private void Release()
    {
        // Also from the finalizer: the view's own handle never releases a pointer that was acquired from it.
        if (_pointer is null)
        {
            return;
        }

        _pointer = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }
}
