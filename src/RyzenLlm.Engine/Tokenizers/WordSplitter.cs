using System.Globalization;
using System.Text;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>
/// The pre-tokenisers of byte-level BPE: where the next word of a UTF-8 text ends. Hand-written state machines of the published regular
/// expressions: a .NET expression sees UTF-16 units and so takes no letter beyond U+FFFF for one, and it backtracks. Bytes that are not
/// UTF-8 count as "other", one at a time.
/// </summary>
internal static class WordSplitter
{
    private enum Kind
    {
        End,
        Letter,
        Number,
        Space,
        Other,
    }

    /// <summary>End of the word at <paramref name="start"/> by the rules of GPT-2.</summary>
    /// <remarks><c>'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+</c></remarks>
    public static int NextGpt2(ReadOnlySpan<byte> text, int start)
    {
        if (Contraction(text[start..], ignoreCase: false) is > 0 and var contraction)
        {
            return start + contraction;
        }

        var kind = At(text, start, out _);
        var run = start;
        if (text[start] == ' ' && At(text, start + 1, out _) is not Kind.Space and not Kind.End)
        {
            kind = At(text, ++run, out _);
        }

        return kind == Kind.Space ? SpaceEnd(text, start, stopAtNewline: false) : RunEnd(text, run, kind, int.MaxValue);
    }

    /// <summary>End of the word at <paramref name="start"/> by the rules of Llama-3.</summary>
    /// <remarks>
    /// <c>(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+</c>,
    /// each letter in ASCII only.
    /// </remarks>
    public static int NextLlama3(ReadOnlySpan<byte> text, int start) => NextLlama3(text, start, digits: 3);

    /// <summary>End of the word at <paramref name="start"/> by the rules of Qwen2 and Qwen3: those of Llama-3, every digit a word of its own.</summary>
    public static int NextQwen2(ReadOnlySpan<byte> text, int start) => NextLlama3(text, start, digits: 1);

    private static int NextLlama3(ReadOnlySpan<byte> text, int start, int digits)
    {
        if (Contraction(text[start..], ignoreCase: true) is > 0 and var contraction)
        {
            return start + contraction;
        }

        var kind = At(text, start, out var size);
        if (kind == Kind.Number)
        {
            return RunEnd(text, start, Kind.Number, digits);
        }

        var letters = kind == Kind.Letter || text[start] is (byte)'\r' or (byte)'\n' ? start : start + size;
        if (At(text, letters, out _) == Kind.Letter)
        {
            return RunEnd(text, letters, Kind.Letter, int.MaxValue);
        }

        var others = text[start] == ' ' ? start + 1 : start;
        if (At(text, others, out _) == Kind.Other)
        {
            var end = RunEnd(text, others, Kind.Other, int.MaxValue);
            while (end < text.Length && text[end] is (byte)'\r' or (byte)'\n')
            {
                end++;
            }

            return end;
        }

        return SpaceEnd(text, start, stopAtNewline: true);
    }

    /// <summary>End of up to <paramref name="most"/> characters of one kind.</summary>
    private static int RunEnd(ReadOnlySpan<byte> text, int start, Kind kind, int most)
    {
        for (; most > 0 && At(text, start, out var size) == kind; most--)
        {
            start += size;
        }

        return start;
    }

    /// <summary>
    /// End of white space: through the last line break if that counts; else all of it at the end of the text; else all but its last
    /// character, which belongs to the word that follows; or that one alone.
    /// </summary>
    private static int SpaceEnd(ReadOnlySpan<byte> text, int start, bool stopAtNewline)
    {
        var (end, last, newline) = (start, start, -1);
        while (At(text, end, out var size) == Kind.Space)
        {
            last = end;
            end += size;
            newline = text[last] is (byte)'\r' or (byte)'\n' ? end : newline;
        }

        if (stopAtNewline && newline >= 0)
        {
            return newline;
        }

        return end < text.Length && last > start ? last : end;
    }

    /// <summary>Length of the English contraction at the front, or 0.</summary>
    private static int Contraction(ReadOnlySpan<byte> text, bool ignoreCase)
    {
        if (text.Length < 2 || text[0] != '\'')
        {
            return 0;
        }

        var fold = ignoreCase ? 0x20 : 0;
        var first = (char)(text[1] | fold);
        if (first is 's' or 't' or 'm' or 'd')
        {
            return 2;
        }

        var second = text.Length > 2 ? (char)(text[2] | fold) : '\0';
        return (first, second) is ('r', 'e') or ('v', 'e') or ('l', 'l') ? 3 : 0;
    }

    private static Kind At(ReadOnlySpan<byte> text, int position, out int size)
    {
        size = 1;
        if (position >= text.Length)
        {
            return Kind.End;
        }

        var first = text[position];
        if (first < 0x80)
        {
            return (first | 0x20) is >= (byte)'a' and <= (byte)'z' ? Kind.Letter
                : first is >= (byte)'0' and <= (byte)'9' ? Kind.Number
                : first is (byte)' ' or (>= 9 and <= 13) ? Kind.Space
                : Kind.Other;
        }

        // An invalid sequence gives U+FFFD, which is "other"; taking one byte at a time then keeps every byte.
        if (Rune.DecodeFromUtf8(text[position..], out var rune, out size) != System.Buffers.OperationStatus.Done)
        {
            size = 1;
            return Kind.Other;
        }

        return Rune.GetUnicodeCategory(rune) switch
        {
            UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
                or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => Kind.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Kind.Number,
            _ => Rune.IsWhiteSpace(rune) ? Kind.Space : Kind.Other,
        };
    }
}
