using System.Collections.Frozen;
using System.Text;

namespace RyzenLlm.Memory.Text;

/// <summary>Cuts text into lower-case words: runs of letters and digits, with a possessive 's dropped.</summary>
public static class Words
{
    private static readonly FrozenSet<string> Stop = (
        "a an the of to in on at for and or but if then than so as is are was were be been being am with by from into about over out up "
        + "down off this that these those it its he him his she her hers they them their theirs i me my mine you your yours we us our "
        + "ours do does did done doing has have had having will would could should can may might must shall not no nor what when "
        + "where which who whom whose why how there here just also very too really s t d ll m re ve don didn isn wasn aren "
        + "doesn couldn wouldn im ive its thats").Split(' ').ToFrozenSet();

    /// <summary>Words too common to tell one unit from another.</summary>
    public static bool IsStop(string word) => Stop.Contains(word);

    /// <summary>
    /// The words of <paramref name="text"/> in order. Scripts written without spaces (Han, kana, Hangul syllables)
    /// come as overlapping pairs of characters, so that they can be matched without a dictionary.
    /// </summary>
    public static List<string> Of(ReadOnlySpan<char> text)
    {
        var words = new List<string>(text.Length / 5 + 1);
        var word = new StringBuilder();
        for (int i = 0; i < text.Length; i++)
        {
            char c = text[i];
            if (IsUnspaced(c))
            {
                Flush(words, word);
                if (i + 1 < text.Length && IsUnspaced(text[i + 1]))
                {
                    words.Add(text.Slice(i, 2).ToString());
                }
                else if (i == 0 || !IsUnspaced(text[i - 1]))
                {
                    words.Add(c.ToString());
                }
            }
            else if (char.IsLetterOrDigit(c))
            {
                word.Append(char.ToLowerInvariant(c));
            }
            else if (c is '\'' or '\u2019' && word.Length > 0 && i + 1 < text.Length && text[i + 1] is 's' or 'S'
                     && (i + 2 >= text.Length || !char.IsLetterOrDigit(text[i + 2])))
            {
                i++;
                Flush(words, word);
            }
            else
            {
                Flush(words, word);
            }
        }

        Flush(words, word);
        return words;
    }

    private static bool IsUnspaced(char c) => c is >= '\u3040' and <= '\u30ff' or >= '\u3400' and <= '\u9fff' or >= '\uac00' and <= '\ud7af';

    private static void Flush(List<string> words, StringBuilder word)
    {
        if (word.Length > 0)
        {
            words.Add(word.ToString());
            word.Clear();
        }
    }
}
