using System.Text;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>A range of bytes, or one token if <paramref name="Id"/> is not negative.</summary>
internal readonly record struct Fragment(int Start, int Length, int Id);

/// <summary>
/// Tokens that are matched in the raw text before anything else: user-defined ones always, control and unknown ones on demand. The
/// longest token is cut out everywhere first, then the next, as in llama.cpp; so a token never loses a part to a shorter one.
/// </summary>
internal sealed class SpecialTokens
{
    private readonly (byte[] Text, int Id, bool Always)[] _longestFirst;
    private readonly Dictionary<string, int> _byText = [];

    /// <summary>Collects the special tokens of a vocabulary.</summary>
    public SpecialTokens(TokenizerVocabulary vocabulary)
    {
        _longestFirst = [.. Enumerable.Range(0, vocabulary.Types.Length)
            .Where(id => vocabulary.Type(id) is TokenType.Control or TokenType.UserDefined or TokenType.Unknown && !vocabulary.Tokens[id].IsEmpty)
            .Select(id => (Text: vocabulary.Tokens[id].ToArray(), Id: id, Always: vocabulary.Type(id) == TokenType.UserDefined))
            .OrderByDescending(token => token.Text.Length)];
        foreach (var (text, id, _) in _longestFirst)
        {
            _byText.TryAdd(Encoding.UTF8.GetString(text), id);
        }
    }

    /// <summary>Id of the special token of exactly this text, or null.</summary>
    public int? Find(string text) => _byText.TryGetValue(text, out var id) ? id : null;

    /// <summary>Cuts a text into tokens and the non-empty ranges between them.</summary>
    public List<Fragment> Cut(ReadOnlySpan<byte> text, bool parseSpecial)
    {
        var fragments = new List<Fragment>();
        if (!text.IsEmpty)
        {
            fragments.Add(new Fragment(0, text.Length, -1));
        }

        foreach (var (token, id, always) in _longestFirst)
        {
            if ((always || parseSpecial) && text.IndexOf(token) >= 0)
            {
                fragments = CutOut(text, fragments, token, id);
            }
        }

        return fragments;
    }

    private static List<Fragment> CutOut(ReadOnlySpan<byte> text, List<Fragment> fragments, byte[] token, int id)
    {
        var cut = new List<Fragment>(fragments.Count + 2);
        foreach (var fragment in fragments)
        {
            var (start, length, known) = fragment;
            if (known >= 0)
            {
                cut.Add(fragment);
                continue;
            }

            for (int at; (at = text.Slice(start, length).IndexOf(token)) >= 0;)
            {
                if (at > 0)
                {
                    cut.Add(new Fragment(start, at, -1));
                }

                cut.Add(new Fragment(start + at, token.Length, id));
                start += at + token.Length;
                length -= at + token.Length;
            }

            if (length > 0)
            {
                cut.Add(new Fragment(start, length, -1));
            }
        }

        return cut;
    }
}
