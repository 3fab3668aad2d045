using System.Text;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>Many short byte strings in one array, so that a vocabulary of 128,000 tokens is three objects and not 128,000.</summary>
internal sealed class ByteStrings
{
    private byte[] _data;
    private int[] _ends;

    /// <summary>An empty list with room for a number of strings.</summary>
    public ByteStrings(int count = 0)
    {
        _ends = new int[Math.Max(count, 4)];
        _data = new byte[Math.Max(count, 4) * 8];
    }

    /// <summary>The UTF-8 bytes of strings, in their order.</summary>
    public static ByteStrings From(IReadOnlyCollection<string> texts)
    {
        var strings = new ByteStrings(texts.Count);
        foreach (var text in texts)
        {
            strings.Add(Encoding.UTF8.GetBytes(text));
        }

        return strings;
    }

    /// <summary>Number of strings.</summary>
    public int Count { get; private set; }

    /// <summary>String <paramref name="index"/>, 0 to <see cref="Count"/> - 1; valid until the next <see cref="Add"/>.</summary>
    public ReadOnlySpan<byte> this[int index]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)Count, nameof(index));
            var start = index == 0 ? 0 : _ends[index - 1];
            return _data.AsSpan(start, _ends[index] - start);
        }
    }

    /// <summary>Appends a copy of the bytes and returns their index.</summary>
    public int Add(ReadOnlySpan<byte> bytes)
    {
        var start = Count == 0 ? 0 : _ends[Count - 1];
        if (Count == _ends.Length)
        {
            Array.Resize(ref _ends, Count * 2);
        }

        if (bytes.Length > _data.Length - start)
        {
            Array.Resize(ref _data, (int)Math.Min(Math.Max(_data.Length * 2L, (long)start + bytes.Length), Array.MaxLength));
        }

        bytes.CopyTo(_data.AsSpan(start));
        _ends[Count] = start + bytes.Length;
        return Count++;
    }
}

/// <summary>Finds strings of a <see cref="ByteStrings"/> by content. Hashes are seeded per process, so no file can be made to collide.</summary>
internal sealed class ByteStringIndex : IEqualityComparer<int>, IAlternateEqualityComparer<ReadOnlySpan<byte>, int>
{
    private readonly ByteStrings _strings;
    private readonly HashSet<int> _indices;
    private readonly HashSet<int>.AlternateLookup<ReadOnlySpan<byte>> _byContent;

    /// <summary>An empty index over <paramref name="strings"/>.</summary>
    public ByteStringIndex(ByteStrings strings)
    {
        _strings = strings;
        _indices = new HashSet<int>(strings.Count, this);
        _byContent = _indices.GetAlternateLookup<ReadOnlySpan<byte>>();
    }

    /// <summary>Length in bytes of the longest indexed string.</summary>
    public int Longest { get; private set; }

    /// <summary>Indexes a string, unless one of equal content is indexed already.</summary>
    public void Add(int index)
    {
        _indices.Add(index);
        Longest = Math.Max(Longest, _strings[index].Length);
    }

    /// <summary>Index of the string of this content, or -1. Takes no longer for a long argument than for the longest string.</summary>
    public int Find(ReadOnlySpan<byte> content) =>
        content.Length <= Longest && _byContent.TryGetValue(content, out var index) ? index : -1;

    bool IEqualityComparer<int>.Equals(int x, int y) => _strings[x].SequenceEqual(_strings[y]);

    int IEqualityComparer<int>.GetHashCode(int index) => Hash(_strings[index]);

    bool IAlternateEqualityComparer<ReadOnlySpan<byte>, int>.Equals(ReadOnlySpan<byte> content, int index) =>
        _strings[index].SequenceEqual(content);

    int IAlternateEqualityComparer<ReadOnlySpan<byte>, int>.GetHashCode(ReadOnlySpan<byte> content) => Hash(content);

    int IAlternateEqualityComparer<ReadOnlySpan<byte>, int>.Create(ReadOnlySpan<byte> content) =>
        throw new InvalidOperationException("Strings are indexed by their position, never added by content.");

    private static int Hash(ReadOnlySpan<byte> content)
    {
        var hash = default(HashCode);
        hash.AddBytes(content);
        return hash.ToHashCode();
    }
}
