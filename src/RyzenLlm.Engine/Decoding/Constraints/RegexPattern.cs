using System.Globalization;
using System.Text;

namespace RyzenLlm.Engine.Decoding.Constraints;

/// <summary>
/// Regular expressions: literals, <c>.</c>, classes <c>[a-z]</c> <c>[^a-z]</c> and <c>\d \w \s \D \W \S</c> (ASCII, as in ECMAScript),
/// escapes <c>\n \t \r \f \v \0 \xHH \uHHHH \u{H}</c>, groups <c>( )</c> <c>(?: )</c> <c>(?&lt;name&gt; )</c>, <c>|</c>, and <c>* + ? {n} {n,} {n,m}</c>.
/// <c>^</c> and <c>$</c> only at the ends. What has no place in a description of whole texts is refused by name.
/// </summary>
internal sealed class RegexPattern
{
    private const int DeepestGroup = 200;

    /// <summary>Largest count in braces.</summary>
    private const int MostTimes = 10_000;

    private static readonly CodePoints Digits = CodePoints.Of((('0', '9')));
    private static readonly CodePoints WordCharacters = CodePoints.Of(('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z'));
    private static readonly CodePoints Spaces = CodePoints.Of("\t\n\v\f\r \u00A0\u1680\u2028\u2029\u202F\u205F\u3000\uFEFF").With(CodePoints.Of((0x2000, 0x200A)));
    private static readonly CodePoints LineEnds = CodePoints.Of("\n\r\u2028\u2029");

    private readonly string _text;
    private readonly Func<CodePoints, Pattern> _encode;
    private int _at;
    private int _depth;

    private RegexPattern(string text, Func<CodePoints, Pattern> encode) => (_text, _encode) = (text, encode);

    /// <summary>The texts that an expression matches as a whole.</summary>
    /// <param name="expression">The expression.</param>
    /// <exception cref="ArgumentException">It is malformed, or uses what is not supported; the message names the place.</exception>
    public static Pattern WholeText(string expression) => new RegexPattern(expression, c => c.ToUtf8()).Parse(search: false);

    /// <summary>The texts in which an expression matches somewhere, as the keyword <c>pattern</c> of JSON Schema means it.</summary>
    /// <param name="expression">The expression.</param>
    /// <param name="encode">How one out of a set of characters is written.</param>
    /// <exception cref="ArgumentException">As for <see cref="WholeText"/>.</exception>
    public static Pattern Search(string expression, Func<CodePoints, Pattern> encode) => new RegexPattern(expression, encode).Parse(search: true);

    private Pattern Parse(bool search)
    {
        // With anchors inside alternatives each has ends of its own.
        var alternatives = new List<Pattern>();
        do
        {
            var fromStart = Take('^');
            var body = ParseSequence();
            var toEnd = Take('$');
            var any = search ? _encode(CodePoints.All).Star() : Pattern.Empty;
            alternatives.Add(Pattern.Join(fromStart ? Pattern.Empty : any, body, toEnd ? Pattern.Empty : any));
        }
        while (Take('|'));
        return _at == _text.Length ? Pattern.Either([.. alternatives]) : throw Refuse(Peek() == ')' ? "a ) without (" : $"{Peek()} here");
    }

    private Pattern ParseAlternatives()
    {
        var alternatives = new List<Pattern>();
        do
        {
            alternatives.Add(ParseSequence());
        }
        while (Take('|'));
        return Pattern.Either([.. alternatives]);
    }

    private Pattern ParseSequence()
    {
        var parts = new List<Pattern>();
        while (_at < _text.Length && Peek() is not ('|' or ')'))
        {
            if (Peek() == '$' && _depth == 0 && (_at + 1 == _text.Length || _text[_at + 1] == '|'))
            {
                break;
            }

            parts.Add(ParseQuantified());
        }

        return Pattern.Join([.. parts]);
    }

    private Pattern ParseQuantified()
    {
        var part = ParseSingle();
        while (_at < _text.Length)
        {
            var (min, max) = (0, (int?)null);
            if (Take('?'))
            {
                max = 1;
            }
            else if (Take('+'))
            {
                min = 1;
            }
            else if (!Take('*') && !TakeCount(out min, out max))
            {
                return part;
            }

            Take('?'); // lazy: the same texts
            if (_at < _text.Length && Peek() == '+')
            {
                throw Refuse("the possessive quantifier +");
            }

            part = part.Times(min, max);
            if (_at < _text.Length && (Peek() is '*' or '+' or '?' || LooksLikeCount()))
            {
                throw Refuse("a quantifier after a quantifier");
            }
        }

        return part;
    }

    private bool LooksLikeCount() => Peek() == '{' && _at + 1 < _text.Length && char.IsAsciiDigit(_text[_at + 1]);

    private bool TakeCount(out int min, out int? max)
    {
        (min, max) = (0, null);
        if (!LooksLikeCount())
        {
            return false;
        }

        _at++;
        min = TakeNumber();
        max = min;
        if (Take(','))
        {
            max = Peek('}') ? null : TakeNumber();
        }

        if (!Take('}') || max < min)
        {
            throw Refuse("a malformed count in braces");
        }

        return true;
    }

    private int TakeNumber()
    {
        var begin = _at;
        while (_at < _text.Length && char.IsAsciiDigit(_text[_at]))
        {
            _at++;
        }

        return int.TryParse(_text.AsSpan(begin, _at - begin), NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number <= MostTimes
            ? number
            : throw Refuse($"a count that is no number up to {MostTimes}");
    }

    private Pattern ParseSingle()
    {
        switch (Peek())
        {
            case '(':
                return ParseGroup();
            case '[':
                _at++;
                return _encode(ParseClass());
            case '.':
                _at++;
                return _encode(CodePoints.All.Without(LineEnds));
            case '\\':
                _at++;
                return _encode(ParseEscape(inClass: false));
            case '*' or '+' or '?':
                throw Refuse($"a quantifier {Peek()} with nothing before it");
            case '^' or '$':
                throw Refuse($"the anchor {Peek()} elsewhere than at the end of the expression");
            default:
                Rune.DecodeFromUtf16(_text.AsSpan(_at), out var rune, out var length);
                _at += length;
                return _encode(CodePoints.Of((rune.Value, rune.Value)));
        }
    }

    private Pattern ParseGroup()
    {
        _at++;
        if (Take('?'))
        {
            SkipGroupName();
        }

        if (++_depth > DeepestGroup)
        {
            throw Refuse($"more than {DeepestGroup} groups inside each other");
        }

        var body = ParseAlternatives();
        _depth--;
        return Take(')') ? body : throw Refuse("a ( without )");
    }

    private void SkipGroupName()
    {
        if (Take(':'))
        {
            return;
        }

        if (Peek('=') || Peek('!'))
        {
            throw Refuse("a lookahead");
        }

        if (!Take('<') || Peek('=') || Peek('!'))
        {
            throw Refuse(_at < _text.Length && _text[_at - 1] == '<' ? "a lookbehind" : "inline options");
        }

        while (_at < _text.Length && !Peek('>'))
        {
            _at++;
        }

        Take('>');
    }

    private CodePoints ParseClass()
    {
        var negated = Take('^');
        var set = CodePoints.Of();
        while (!Take(']'))
        {
            var first = ParseClassItem();
            if (!Peek('-') || (_at + 1 < _text.Length && _text[_at + 1] == ']'))
            {
                set = set.With(first);
                continue;
            }

            _at++;
            var last = ParseClassItem();
            if (first.Ranges is not [var (low, lowEnd)] || last.Ranges is not [var (high, highEnd)] || low != lowEnd || high != highEnd || low > high)
            {
                throw Refuse("a range in brackets that does not ascend from one character to another");
            }

            set = set.With(CodePoints.Of((low, high)));
        }

        return negated ? CodePoints.All.Without(set) : set;
    }

    private CodePoints ParseClassItem()
    {
        if (_at >= _text.Length)
        {
            throw Refuse("a [ without ]");
        }

        if (Take('\\'))
        {
            return ParseEscape(inClass: true);
        }

        Rune.DecodeFromUtf16(_text.AsSpan(_at), out var rune, out var length);
        _at += length;
        return CodePoints.Of((rune.Value, rune.Value));
    }

    private CodePoints ParseEscape(bool inClass)
    {
        if (_at >= _text.Length)
        {
            throw Refuse("a \\ at the end");
        }

        var c = _text[_at++];
        switch (c)
        {
            case 'd': return Digits;
            case 'D': return CodePoints.All.Without(Digits);
            case 'w': return WordCharacters;
            case 'W': return CodePoints.All.Without(WordCharacters);
            case 's': return Spaces;
            case 'S': return CodePoints.All.Without(Spaces);
            case 'n': return CodePoints.Of("\n");
            case 't': return CodePoints.Of("\t");
            case 'r': return CodePoints.Of("\r");
            case 'f': return CodePoints.Of("\f");
            case 'v': return CodePoints.Of("\v");
            case 'b' when inClass: return CodePoints.Of("\b");
            case '0' when _at == _text.Length || !char.IsAsciiDigit(_text[_at]): return CodePoints.Of("\0");
            case 'x': return Single(TakeHex(2));
            case 'u': return Single(Take('{') ? TakeBracedHex() : TakeUnicode());
            case 'b' or 'B': throw Refuse($"the word boundary \\{c}");
            case 'p' or 'P': throw Refuse($"the Unicode property \\{c}");
            case 'k' or (>= '0' and <= '9'): throw Refuse($"the back reference \\{c}");
            case 'A' or 'Z' or 'z' or 'G': throw Refuse($"the anchor \\{c}");
            default:
                return char.IsAsciiLetter(c) ? throw Refuse($"the escape \\{c}") : Single(char.IsSurrogate(c) ? TakeRune() : c);
        }
    }

    private int TakeRune()
    {
        _at--;
        Rune.DecodeFromUtf16(_text.AsSpan(_at), out var rune, out var length);
        _at += length;
        return rune.Value;
    }

    private int TakeUnicode()
    {
        var high = TakeHex(4);
        if (char.IsHighSurrogate((char)high) && _text.AsSpan(_at).StartsWith("\\u"))
        {
            _at += 2;
            return TakeHex(4) is var low && char.IsLowSurrogate((char)low)
                ? char.ConvertToUtf32((char)high, (char)low)
                : throw Refuse("half a surrogate pair");
        }

        return high;
    }

    private int TakeBracedHex()
    {
        var end = _text.IndexOf('}', _at);
        var value = TakeHex(Math.Clamp(end - _at, 1, 6));
        return Take('}') ? value : throw Refuse("a malformed \\u{ }");
    }

    private int TakeHex(int digits)
    {
        if (_at + digits > _text.Length || !int.TryParse(_text.AsSpan(_at, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value))
        {
            throw Refuse($"an escape without its {digits} hexadecimal digits");
        }

        _at += digits;
        return value;
    }

    private CodePoints Single(int codePoint) =>
        Rune.IsValid(codePoint) ? CodePoints.Of((codePoint, codePoint)) : throw Refuse("half a surrogate pair or no character at all");

    private char Peek() => _text[_at];

    private bool Peek(char c) => _at < _text.Length && _text[_at] == c;

    private bool Take(char c)
    {
        if (!Peek(c))
        {
            return false;
        }

        _at++;
        return true;
    }

    private ArgumentException Refuse(string what) =>
        new($"The regular expression {_text} cannot be used: at character {Math.Min(_at, _text.Length) + 1} it has {what}, which is not supported.");
}
