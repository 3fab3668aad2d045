using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;

namespace RyzenLlm.Memory.Text;

/// <summary>
/// The stems of one text with how often each occurs. A term is the 31-bit murmur3 hash of its stem, the same number
/// that Qdrant's own BM25 uses as a sparse index, so both stores rank over the same vocabulary without a dictionary.
/// </summary>
public sealed class TermBag
{
    private TermBag(uint[] terms, byte[] counts)
    {
        Terms = terms;
        Counts = counts;
        foreach (byte count in counts)
        {
            Length += count;
        }
    }

    /// <summary>Distinct terms in rising order.</summary>
    public uint[] Terms { get; }

    /// <summary>Occurrences of <see cref="Terms"/>, 1 to 255.</summary>
    public byte[] Counts { get; }

    /// <summary>Occurrences in all.</summary>
    public int Length { get; }

    /// <summary>Stems every word of <paramref name="text"/> that is not a stop word.</summary>
    public static TermBag Of(ReadOnlySpan<char> text)
    {
        var counts = new SortedDictionary<uint, byte>();
        foreach (string word in Words.Of(text))
        {
            if (!Words.IsStop(word))
            {
                uint term = Term(PorterStemmer.Stem(word));
                counts.TryGetValue(term, out byte count);
                counts[term] = (byte)Math.Min(255, count + 1);
            }
        }

        return new TermBag([.. counts.Keys], [.. counts.Values]);
    }

    /// <summary>The term of one stem.</summary>
    public static uint Term(string stem)
    {
        Span<byte> utf8 = stem.Length <= 80 ? stackalloc byte[256] : new byte[Encoding.UTF8.GetMaxByteCount(stem.Length)];
        int hash = (int)Murmur3(utf8[..Encoding.UTF8.GetBytes(stem, utf8)]);
        return hash == int.MinValue ? 0x80000000u : (uint)Math.Abs(hash);
    }

    /// <summary>Little-endian terms, then counts: five bytes for each term.</summary>
    public byte[] ToBytes()
    {
        byte[] bytes = new byte[Terms.Length * 5];
        for (int i = 0; i < Terms.Length; i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(i * 4), Terms[i]);
        }

        Counts.CopyTo(bytes, Terms.Length * 4);
        return bytes;
    }

    /// <summary>Reads what <see cref="ToBytes"/> wrote.</summary>
    /// <exception cref="InvalidDataException">The length is not a multiple of five.</exception>
    public static TermBag FromBytes(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length % 5 != 0)
        {
            throw new InvalidDataException($"A term bag has five bytes for each term; found {bytes.Length} bytes. The memory file is damaged: restore a backup.");
        }

        uint[] terms = new uint[bytes.Length / 5];
        for (int i = 0; i < terms.Length; i++)
        {
            terms[i] = BinaryPrimitives.ReadUInt32LittleEndian(bytes[(i * 4)..]);
        }

        return new TermBag(terms, bytes[(terms.Length * 4)..].ToArray());
    }

    /// <summary>Shared terms over all terms, 0 to 1 (Jaccard).</summary>
    public double Overlap(TermBag other)
    {
        int shared = Shared(other), all = Terms.Length + other.Terms.Length - shared;
        return all == 0 ? 1 : (double)shared / all;
    }

    /// <summary>How many distinct terms both bags hold.</summary>
    public int Shared(TermBag other)
    {
        int shared = 0;
        for (int i = 0, j = 0; i < Terms.Length && j < other.Terms.Length;)
        {
            int order = Terms[i].CompareTo(other.Terms[j]);
            shared += order == 0 ? 1 : 0;
            i += order <= 0 ? 1 : 0;
            j += order >= 0 ? 1 : 0;
        }

        return shared;
    }

    /// <summary>MurmurHash3 x86 32-bit with seed 0 (A. Appleby, public domain algorithm).</summary>
    internal static uint Murmur3(ReadOnlySpan<byte> data)
    {
        uint h = 0;
        ReadOnlySpan<uint> blocks = MemoryMarshal.Cast<byte, uint>(data);
        foreach (uint block in blocks)
        {
            uint little = BitConverter.IsLittleEndian ? block : BinaryPrimitives.ReverseEndianness(block);
            h ^= uint.RotateLeft(little * 0xcc9e2d51, 15) * 0x1b873593;
            h = uint.RotateLeft(h, 13) * 5 + 0xe6546b64;
        }

        ReadOnlySpan<byte> tail = data[(blocks.Length * 4)..];
        uint k = 0;
        for (int i = tail.Length - 1; i >= 0; i--)
        {
            k = (k << 8) | tail[i];
        }

        h ^= uint.RotateLeft(k * 0xcc9e2d51, 15) * 0x1b873593;
        h ^= (uint)data.Length;
        h = (h ^ (h >> 16)) * 0x85ebca6b;
        h = (h ^ (h >> 13)) * 0xc2b2ae35;
        return h ^ (h >> 16);
    }
}
