namespace RyzenLlm.Engine.Tokenizers;

/// <summary>
/// GPT-2's printable alphabet for bytes (Radford et al. 2019): 33-126, 161-172 and 174-255 stand for the code point of the same
/// number, the other 68 bytes in increasing order for U+0100 onwards; so a space is U+0120 and a line feed U+010A.
/// </summary>
internal static class ByteAlphabet
{
    private const int Extra = 0x100;
    private const int Moved = 68;

    /// <summary>Byte of code points 0 to 0x143, or -1.</summary>
    private static readonly short[] ByteOf = Create();

    /// <summary>The bytes that a token string stands for.</summary>
    /// <param name="printable">UTF-8 of the token string; characters outside the alphabet stand for their own UTF-8 bytes.</param>
    /// <param name="bytes">Receives them; at least as long as <paramref name="printable"/>.</param>
    /// <param name="length">Number of bytes written.</param>
    /// <returns>Whether every character is of the alphabet.</returns>
    public static bool Decode(ReadOnlySpan<byte> printable, Span<byte> bytes, out int length)
    {
        var pure = true;
        length = 0;
        while (!printable.IsEmpty)
        {
            // The alphabet ends at U+0143: one byte, or two of which the first is 0xC2 to 0xC5. Anything else is copied byte by byte.
            var size = 1;
            int codePoint = printable[0];
            if (codePoint is >= 0xC2 and <= 0xC5 && printable.Length > 1 && (printable[1] & 0xC0) == 0x80)
            {
                codePoint = (codePoint & 0x1F) << 6 | (printable[1] & 0x3F);
                size = 2;
            }
            else if (codePoint >= 0x80)
            {
                codePoint = int.MaxValue;
            }

            if (codePoint < ByteOf.Length && ByteOf[codePoint] >= 0)
            {
                bytes[length++] = (byte)ByteOf[codePoint];
            }
            else
            {
                pure = false;
                printable[..size].CopyTo(bytes[length..]);
                length += size;
            }

            printable = printable[size..];
        }

        return pure;
    }

    private static short[] Create()
    {
        var map = new short[Extra + Moved];
        Array.Fill(map, (short)-1);
        var next = Extra;
        for (short value = 0; value < 256; value++)
        {
            var keeps = value is (>= 33 and <= 126) or (>= 161 and <= 172) or >= 174;
            map[keeps ? value : next++] = value;
        }

        return map;
    }
}
