namespace RyzenLlm.Engine.Decoding.Constraints;

/// <summary>A set of Unicode scalar values, as ascending ranges that do not touch; surrogates are never in it.</summary>
internal sealed class CodePoints
{
    private const int Highest = 0x10FFFF;
    private const int FirstSurrogate = 0xD800;
    private const int LastSurrogate = 0xDFFF;

    private CodePoints(List<(int First, int Last)> ranges) => Ranges = ranges;

    /// <summary>All characters.</summary>
    public static CodePoints All { get; } = Of((0, Highest));

    /// <summary>The ranges.</summary>
    public IReadOnlyList<(int First, int Last)> Ranges { get; }

    /// <summary>Whether there is nothing in it.</summary>
    public bool IsEmpty => Ranges.Count == 0;

    /// <summary>The characters of these ranges, which may overlap.</summary>
    public static CodePoints Of(params IEnumerable<(int First, int Last)> ranges)
    {
        var merged = new List<(int First, int Last)>();
        foreach (var (first, last) in ranges.SelectMany(WithoutSurrogates).Order())
        {
            if (merged.Count > 0 && first <= merged[^1].Last + 1)
            {
                merged[^1] = (merged[^1].First, Math.Max(merged[^1].Last, last));
            }
            else
            {
                merged.Add((first, last));
            }
        }

        return new(merged);
    }

    /// <summary>The characters of a text.</summary>
    public static CodePoints Of(string text) => Of(text.EnumerateRunes().Select(r => (r.Value, r.Value)));

    /// <summary>The characters in either set.</summary>
    public CodePoints With(CodePoints other) => Of(Ranges.Concat(other.Ranges));

    /// <summary>The characters that are not in another set.</summary>
    public CodePoints Without(CodePoints other)
    {
        var left = new List<(int, int)>();
        foreach (var (first, last) in Ranges)
        {
            var next = first;
            foreach (var (from, to) in other.Ranges)
            {
                if (from > last)
                {
                    break;
                }

                if (to >= next)
                {
                    if (from > next)
                    {
                        left.Add((next, from - 1));
                    }

                    next = to + 1;
                }
            }

            if (next <= last)
            {
                left.Add((next, last));
            }
        }

        return Of(left);
    }

    /// <summary>The characters in both sets.</summary>
    public CodePoints Within(CodePoints other) => Without(All.Without(other));

    /// <summary>One of these characters in UTF-8.</summary>
    public Pattern ToUtf8()
    {
        var alternatives = new List<Pattern>();
        foreach (var (first, last) in Ranges)
        {
            int[] ends = [0x7F, 0x7FF, 0xFFFF, Highest];
            for (var (length, from) = (1, first); length <= 4; length++)
            {
                var to = Math.Min(last, ends[length - 1]);
                if (from <= to)
                {
                    AddUtf8(alternatives, Encode(from, length), Encode(to, length));
                    from = to + 1;
                }
            }
        }

        return Pattern.Either([.. alternatives]);
    }

    // Splits a range of encodings of one length until each byte ranges independently of the others.
    private static void AddUtf8(List<Pattern> alternatives, byte[] first, byte[] last)
    {
        for (var i = 0; i < first.Length - 1; i++)
        {
            if (first[i] == last[i])
            {
                continue;
            }

            var tail = first.Length - 1 - i;
            if (first.AsSpan(i + 1).ContainsAnyExcept((byte)0x80))
            {
                AddUtf8(alternatives, first, [.. first[..(i + 1)], .. Enumerable.Repeat((byte)0xBF, tail)]);
                AddUtf8(alternatives, [.. first[..i], (byte)(first[i] + 1), .. Enumerable.Repeat((byte)0x80, tail)], last);
                return;
            }

            if (last.AsSpan(i + 1).ContainsAnyExcept((byte)0xBF))
            {
                AddUtf8(alternatives, first, [.. last[..i], (byte)(last[i] - 1), .. Enumerable.Repeat((byte)0xBF, tail)]);
                AddUtf8(alternatives, [.. last[..(i + 1)], .. Enumerable.Repeat((byte)0x80, tail)], last);
                return;
            }

            break;
        }

        alternatives.Add(Pattern.Join([.. first.Zip(last, (f, l) => new Pattern.Byte(ByteSet.Range(f, l)))]));
    }

    private static byte[] Encode(int codePoint, int length) => length switch
    {
        1 => [(byte)codePoint],
        2 => [(byte)(0xC0 | (codePoint >> 6)), Continuation(codePoint)],
        3 => [(byte)(0xE0 | (codePoint >> 12)), Continuation(codePoint >> 6), Continuation(codePoint)],
        _ => [(byte)(0xF0 | (codePoint >> 18)), Continuation(codePoint >> 12), Continuation(codePoint >> 6), Continuation(codePoint)],
    };

    private static byte Continuation(int bits) => (byte)(0x80 | (bits & 0x3F));

    private static IEnumerable<(int First, int Last)> WithoutSurrogates((int First, int Last) range)
    {
        if (range.First <= Math.Min(range.Last, FirstSurrogate - 1))
        {
            yield return (range.First, Math.Min(range.Last, FirstSurrogate - 1));
        }

        if (Math.Max(range.First, LastSurrogate + 1) <= range.Last)
        {
            yield return (Math.Max(range.First, LastSurrogate + 1), range.Last);
        }
    }
}
