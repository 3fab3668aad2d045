using System.Buffers.Binary;
using System.Security.Cryptography;

namespace RyzenLlm.Engine.Sessions;

/// <summary>
/// Layout of a saved session, little-endian: magic "RLMS", u32 version, 32 bytes of identity (the model's fingerprint, or what a kept state is filed under),
/// i32 first position, i32 position after the last, what these positions add to the state, SHA-256 of all before it. The length follows from model and positions.
/// </summary>
internal sealed unsafe class SessionFile : IDisposable
{
    private const uint Magic = 0x534D4C52;
    private const uint Version = 2;
    private const int HeaderBytes = 8 + SHA256.HashSizeInBytes + 8;
    private const int ChunkBytes = 1 << 20;

    private readonly Stream _stream;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private readonly bool _writing;

    private SessionFile(Stream stream, bool writing)
    {
        _stream = stream;
        _writing = writing;
    }

    /// <summary>First position that is told here; 0 for a whole session.</summary>
    public int From { get; private init; }

    /// <summary>Position of the saved session.</summary>
    public int Position { get; private init; }

    /// <summary>Starts writing.</summary>
    public static SessionFile Write(Stream target, ReadOnlySpan<byte> identity, int from, int position)
    {
        Span<byte> header = stackalloc byte[HeaderBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(header, Magic);
        BinaryPrimitives.WriteUInt32LittleEndian(header[4..], Version);
        identity.CopyTo(header[8..]);
        BinaryPrimitives.WriteInt32LittleEndian(header[^8..], from);
        BinaryPrimitives.WriteInt32LittleEndian(header[^4..], position);
        var file = new SessionFile(target, writing: true) { From = from, Position = position };
        file.Put(header);
        return file;
    }

    /// <summary>Starts reading and checks that the data belongs to this model.</summary>
    /// <exception cref="InvalidDataException">No saved session, another version or another model.</exception>
    public static SessionFile Read(Stream source, ReadOnlySpan<byte> identity)
    {
        var header = new byte[HeaderBytes];
        Fill(source, header);
        if (BinaryPrimitives.ReadUInt32LittleEndian(header) != Magic)
        {
            throw new InvalidDataException("This is no saved session.");
        }

        var version = BinaryPrimitives.ReadUInt32LittleEndian(header.AsSpan(4));
        if (version != Version)
        {
            throw new InvalidDataException($"The saved session has version {version}; this program reads version {Version}. Save it again.");
        }

        if (!header.AsSpan(8, SHA256.HashSizeInBytes).SequenceEqual(identity))
        {
            throw new InvalidDataException("The saved session belongs to another model, or to this one with another type of key/value cache or another window. Load that model.");
        }

        var from = BinaryPrimitives.ReadInt32LittleEndian(header.AsSpan(HeaderBytes - 8));
        var position = BinaryPrimitives.ReadInt32LittleEndian(header.AsSpan(HeaderBytes - 4));
        if (from < 0 || position < from)
        {
            throw Damaged();
        }

        var file = new SessionFile(source, writing: false) { From = from, Position = position };
        file._hash.AppendData(header);
        return file;
    }

    /// <summary>The error for data that is not what was saved.</summary>
    public static InvalidDataException Damaged() => new("The saved session is damaged or incomplete. Nothing was restored.");

    /// <summary>Writes state.</summary>
    public void Write(void* data, long bytes)
    {
        for (long at = 0; at < bytes; at += ChunkBytes)
        {
            Put(new ReadOnlySpan<byte>((byte*)data + at, (int)Math.Min(ChunkBytes, bytes - at)));
        }
    }

    /// <summary>Reads state.</summary>
    /// <exception cref="InvalidDataException">The data ends too early.</exception>
    public void Read(void* data, long bytes)
    {
        for (long at = 0; at < bytes; at += ChunkBytes)
        {
            var chunk = new Span<byte>((byte*)data + at, (int)Math.Min(ChunkBytes, bytes - at));
            Fill(_stream, chunk);
            _hash.AppendData(chunk);
        }
    }

    /// <summary>Writes the checksum, or reads and compares it.</summary>
    /// <exception cref="InvalidDataException">The data read is damaged.</exception>
    public void Finish()
    {
        Span<byte> sum = stackalloc byte[SHA256.HashSizeInBytes];
        _hash.GetHashAndReset(sum);
        if (_writing)
        {
            _stream.Write(sum);
            return;
        }

        Span<byte> saved = stackalloc byte[SHA256.HashSizeInBytes];
        Fill(_stream, saved);
        if (!saved.SequenceEqual(sum))
        {
            throw Damaged();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _hash.Dispose();

    private void Put(ReadOnlySpan<byte> bytes)
    {
        _hash.AppendData(bytes);
        _stream.Write(bytes);
    }

    private static void Fill(Stream source, Span<byte> bytes)
    {
        if (source.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false) < bytes.Length)
        {
            throw Damaged();
        }
    }
}
