namespace RyzenLlm.Memory.Text;

/// <summary>Cuts text at sentence and paragraph ends.</summary>
public static class Sentences
{
    private static readonly HashSet<string> Abbreviations = new(StringComparer.OrdinalIgnoreCase)
    {
        "mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "no", "fig", "approx", "inc", "ltd", "jr", "sr",
    };

    /// <summary>The sentences of a text, with their end marks, without the white space between them. Nothing else is lost.</summary>
    public static IEnumerable<string> Of(string text)
    {
        int start = 0;
        for (int i = 0; i < text.Length; i++)
        {
            if (EndsSentence(text, i))
            {
                foreach (string piece in Trimmed(text, start, i + 1))
                {
                    yield return piece;
                }

                start = i + 1;
            }
        }

        foreach (string piece in Trimmed(text, start, text.Length))
        {
            yield return piece;
        }
    }

    /// <summary>
    /// Pieces of at most <paramref name="limit"/> tokens: paragraphs where they fit, else runs of whole sentences, else
    /// runs of whole words. A single longer word stays whole.
    /// </summary>
    public static IEnumerable<string> Segment(string text, int limit, Func<string, int> countTokens)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(limit, 1);
        foreach (string paragraph in text.Replace("\r\n", "\n", StringComparison.Ordinal).Split("\n\n", StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            if (countTokens(paragraph) <= limit)
            {
                yield return paragraph;
                continue;
            }

            IEnumerable<string> parts = Of(paragraph).SelectMany(s => countTokens(s) <= limit ? [s] : s.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
            foreach (string run in Join(parts, limit, countTokens))
            {
                yield return run;
            }
        }
    }

    private static IEnumerable<string> Join(IEnumerable<string> parts, int limit, Func<string, int> countTokens)
    {
        var run = new List<string>();
        int used = 0;
        foreach (string part in parts)
        {
            int tokens = countTokens(part);
            if (run.Count > 0 && used + tokens > limit)
            {
                yield return string.Join(' ', run);
                run.Clear();
                used = 0;
            }

            run.Add(part);
            used += tokens;
        }

        if (run.Count > 0)
        {
            yield return string.Join(' ', run);
        }
    }

    private static bool EndsSentence(string text, int i)
    {
        char c = text[i];
        if (c is '\u3002' or '\uff01' or '\uff1f')
        {
            return true;
        }

        if (c == '\n')
        {
            return i + 1 < text.Length && (text[i + 1] is '\n' or '-' or '*' or '#' || char.IsDigit(text[i + 1]));
        }

        if (c is not ('.' or '!' or '?') || i + 1 >= text.Length || !char.IsWhiteSpace(text[i + 1]))
        {
            return false;
        }

        int word = i;
        while (word > 0 && !char.IsWhiteSpace(text[word - 1]))
        {
            word--;
        }

        return c != '.' || !(Abbreviations.Contains(text[word..i]) || (i - word == 1 && char.IsUpper(text[word])));
    }

    private static IEnumerable<string> Trimmed(string text, int start, int end)
    {
        string piece = text[start..end].Trim();
        return piece.Length == 0 ? [] : [piece];
    }
}
