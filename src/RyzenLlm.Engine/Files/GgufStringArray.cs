using System.Buffers.Binary;
using System.Collections;
using System.Text;

namespace RyzenLlm.Engine.Files;

/// <summary>
/// An array of strings in its packed form with four bytes of index per string; text is made only on access. A vocabulary of
/// 128,000 tokens so costs its bytes and half a megabyte.
/// </summary>
public sealed class GgufStringArray : IReadOnlyList<string>
{
    private readonly byte[] _payload;
    private readonly int[] _starts;

    /// <summary>Indexes packed strings whose lengths were checked when the file was opened.</summary>
    internal GgufStringArray(byte[] payload, int count)
    {
        _payload = payload;
        _starts = new int[count + 1];
        ReadOnlySpan<byte> bytes = payload;
        var position = 0;
        for (var i = 0; i < count; i++)
        {
            position += sizeof(ulong);
            _starts[i] = position;
            position += (int)BinaryPrimitives.ReadUInt64LittleEndian(bytes[(position - sizeof(ulong))..]);
        }

        // As if one more string followed, so that the end of string i is the start of string i + 1 less its length field.
        _starts[count] = position + sizeof(ulong);
    }

    /// <inheritdoc/>
    public int Count => _starts.Length - 1;

    /// <summary>The string, with U+FFFD for bytes that are not UTF-8.</summary>
    public string this[int index] => Encoding.UTF8.GetString(Bytes(index));

    /// <summary>The bytes of the string as they are in the file.</summary>
    public ReadOnlySpan<byte> Bytes(int index) => _payload.AsSpan(_starts[index]..(_starts[index + 1] - sizeof(ulong)));

    /// <inheritdoc/>
    public IEnumerator<string> GetEnumerator()
    {
        for (var i = 0; i < Count; i++)
        {
            yield return this[i];
        }
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
