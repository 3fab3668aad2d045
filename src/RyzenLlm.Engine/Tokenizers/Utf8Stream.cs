using System.Text;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>
/// Turns the bytes of one token after another into text, whole characters only: bytes that begin a character wait for the rest, and
/// bytes that are part of none become U+FFFD at once (the "maximal subpart" rule of the Unicode standard). The text of all pushes is
/// the same however the bytes are cut. Does not allocate once its buffer has grown to the longest token.
/// </summary>
public sealed class Utf8Stream
{
    private readonly Decoder _decoder = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false).GetDecoder();
    private char[] _text = new char[256];

    /// <summary>Takes bytes and returns the text that they complete, possibly none; valid until the next call.</summary>
    public ReadOnlySpan<char> Push(ReadOnlySpan<byte> bytes) => Decode(bytes, flush: false);

    /// <summary>Ends the text: U+FFFD for a character of which only a part came, or nothing. The next push begins a new text.</summary>
    public ReadOnlySpan<char> Flush() => Decode([], flush: true);

    private ReadOnlySpan<char> Decode(ReadOnlySpan<byte> bytes, bool flush)
    {
        // Up to three bytes may be waiting, and each byte gives at most one char.
        if (_text.Length < bytes.Length + 4)
        {
            _text = new char[(bytes.Length + 4) * 2];
        }

        return _text.AsSpan(0, _decoder.GetChars(bytes, _text, flush));
    }
}
