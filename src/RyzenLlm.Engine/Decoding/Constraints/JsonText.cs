using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.Json;

namespace RyzenLlm.Engine.Decoding.Constraints;

/// <summary>JSON as it is generated (RFC 8259): one space may follow <c>:</c> and <c>,</c>, and there is no other white space.</summary>
internal static class JsonText
{
    private static readonly CodePoints Controls = CodePoints.Of((0, 0x1F));
    private static readonly CodePoints Escaped = Controls.With(CodePoints.Of("\"\\"));
    private static readonly Pattern Digit = new Pattern.Byte(ByteSet.Range('0', '9'));

    /// <summary>Between a name and its value.</summary>
    public static Pattern Colon { get; } = Pattern.Join(Pattern.Literal(":"), Pattern.Literal(" ").Optional());

    /// <summary>Between values.</summary>
    public static Pattern Comma { get; } = Pattern.Join(Pattern.Literal(","), Pattern.Literal(" ").Optional());

    /// <summary>A quote.</summary>
    public static Pattern Quote { get; } = Pattern.Literal("\"");

    /// <summary>One character of a string; control characters only where they have a short escape.</summary>
    public static Pattern Character { get; } = Named("a character", Encode(CodePoints.All.Without(Controls).With(CodePoints.Of("\b\f\n\r\t"))));

    /// <summary>Any string.</summary>
    public static Pattern String { get; } = Named("a string", Pattern.Join(Quote, Character.Star(), Quote));

    /// <summary>Any integer, up to 15 digits so that every reader keeps its value.</summary>
    public static Pattern Integer { get; } = Named("an integer", Pattern.Join(Pattern.Literal("-").Optional(), Natural(15)));

    /// <summary>Any number, with up to 15 digits before and after the point and a small exponent.</summary>
    public static Pattern Number { get; } = Named("a number", Pattern.Join(
        Integer,
        Pattern.Join(Pattern.Literal("."), Digit.Times(1, 15)).Optional(),
        Pattern.Join(Either("e", "E"), Either("+", "-").Optional(), Digit.Times(1, 2)).Optional()));

    /// <summary>true or false.</summary>
    public static Pattern Boolean { get; } = Either("true", "false");

    /// <summary>null.</summary>
    public static Pattern Null { get; } = Pattern.Literal("null");

    /// <summary>Any value.</summary>
    public static Pattern Value { get; } = MakeValue();

    /// <summary>One out of a set of characters as a string contains it.</summary>
    public static Pattern Encode(CodePoints characters)
    {
        var alternatives = new List<Pattern> { characters.Without(Escaped).ToUtf8() };
        foreach (var (first, last) in characters.Within(Escaped).Ranges)
        {
            for (var c = first; c <= last; c++)
            {
                var shorthand = "\"\\\b\f\n\r\t".IndexOf((char)c);
                alternatives.Add(Pattern.Literal(shorthand >= 0 ? $"\\{"\"\\bfnrt"[shorthand]}" : $"\\u{c:x4}"));
            }
        }

        return Pattern.Either([.. alternatives]);
    }

    /// <summary>Exactly this value, in its shortest form.</summary>
    public static Pattern Constant(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => Pattern.Join([Pattern.Literal("{"), .. Separate(value.EnumerateObject().Select(p => Pattern.Join(Name(p.Name), Colon, Constant(p.Value)))), Pattern.Literal("}")]),
        JsonValueKind.Array => Pattern.Join([Pattern.Literal("["), .. Separate(value.EnumerateArray().Select(Constant)), Pattern.Literal("]")]),
        JsonValueKind.String => Name(value.GetString()!),
        _ => Pattern.Literal(value.GetRawText()),
    };

    /// <summary>Exactly this string, with quotes.</summary>
    public static Pattern Name(string name)
    {
        var text = new StringBuilder("\"");
        foreach (var c in name)
        {
            var shorthand = "\"\\\b\f\n\r\t".IndexOf(c);
            text.Append(shorthand >= 0 ? $"\\{"\"\\bfnrt"[shorthand]}" : c < ' ' || char.IsSurrogate(c) ? $"\\u{(int)c:x4}" : c.ToString());
        }

        return Pattern.Literal(text.Append('"').ToString());
    }

    /// <summary>Integers from one to another, null meaning no bound.</summary>
    public static Pattern Integers(BigInteger? least, BigInteger? most)
    {
        var alternatives = new List<Pattern>();
        if (most is null || most > 0)
        {
            alternatives.Add(Naturals(BigInteger.Max(least ?? 1, 1), most, point: 0));
        }

        if ((least is null || least <= 0) && (most is null || most >= 0))
        {
            alternatives.Add(Pattern.Literal("0"));
        }

        if (least is null || least < 0)
        {
            var (low, high) = (BigInteger.Max(-(most ?? -1), 1), -least);
            alternatives.Add(Pattern.Join(Pattern.Literal("-"), Naturals(low, high, point: 0)));
        }

        return Pattern.Either([.. alternatives]);
    }

    /// <summary>Numbers from one to another, null meaning no bound: integers, and decimals with up to as many places as the bounds have, at least two.</summary>
    public static Pattern Numbers(decimal? least, bool leastExcluded, decimal? most, bool mostExcluded)
    {
        var places = Math.Max(2, Math.Max(Places(least), Places(most)));
        var alternatives = new List<Pattern>();
        for (var point = 0; point <= places; point++)
        {
            var scale = BigInteger.Pow(10, point);
            var low = least is { } l ? Ceiling(l, scale, leastExcluded) : (BigInteger?)null;
            var high = most is { } m ? -Ceiling(-m, scale, mostExcluded) : (BigInteger?)null;
            alternatives.Add(point == 0 ? Integers(low, high) : Decimals(low, high, point));
        }

        return Pattern.Either([.. alternatives]);
    }

    // Scaled integers with a point before the last digits, zero and both signs.
    private static Pattern Decimals(BigInteger? low, BigInteger? high, int point)
    {
        var alternatives = new List<Pattern>();
        if (high is null || high >= 0)
        {
            alternatives.Add(Naturals(BigInteger.Max(low ?? 0, 0), high, point));
        }

        if (low is null || low < 0)
        {
            alternatives.Add(Pattern.Join(Pattern.Literal("-"), Naturals(BigInteger.Max(-(high ?? -1), 1), -low, point)));
        }

        return Pattern.Either([.. alternatives]);
    }

    // Naturals from low to high without leading zeros; with a point, at least one digit stands before it. No upper bound means 15 digits.
    private static Pattern Naturals(BigInteger low, BigInteger? bound, int point)
    {
        var high = bound ?? BigInteger.Max(BigInteger.Pow(10, 15 + point) - 1, BigInteger.Pow(10, Digits(low).Length + 1) - 1);
        if (low > high)
        {
            return Pattern.Nothing;
        }

        var alternatives = new List<Pattern>();
        for (var length = Math.Max(Digits(low).Length, point + 1); length <= Math.Max(Digits(high).Length, point + 1); length++)
        {
            var first = length == point + 1 ? 0 : BigInteger.Pow(10, length - 1);
            var (from, to) = (BigInteger.Max(low, first), BigInteger.Min(high, BigInteger.Pow(10, length) - 1));
            if (from <= to)
            {
                alternatives.Add(Between(Digits(from).PadLeft(length, '0'), Digits(to).PadLeft(length, '0'), length - point));
            }
        }

        return Pattern.Either([.. alternatives]);
    }

    // Digit strings of one length between two others; the point stands before the digit number pointAt, if there is one.
    private static Pattern Between(string from, string to, int pointAt)
    {
        if (from.Length == 0)
        {
            return Pattern.Empty;
        }

        var point = pointAt == 0 ? Pattern.Literal(".") : Pattern.Empty;
        if (from.All(c => c == '0') && to.All(c => c == '9'))
        {
            return pointAt > 0 && pointAt < from.Length
                ? Pattern.Join(Digit.Times(pointAt, pointAt), Pattern.Literal("."), Digit.Times(from.Length - pointAt, from.Length - pointAt))
                : Pattern.Join(point, Digit.Times(from.Length, from.Length));
        }

        if (from[0] == to[0])
        {
            return Pattern.Join(point, Pattern.Literal(from[..1]), Between(from[1..], to[1..], pointAt - 1));
        }

        var (nines, zeros) = (new string('9', from.Length - 1), new string('0', from.Length - 1));
        var alternatives = new List<Pattern> { Pattern.Join(Pattern.Literal(from[..1]), Between(from[1..], nines, pointAt - 1)) };
        if (to[0] - from[0] > 1)
        {
            alternatives.Add(Pattern.Join(new Pattern.Byte(ByteSet.Range(from[0] + 1, to[0] - 1)), Between(zeros, nines, pointAt - 1)));
        }

        alternatives.Add(Pattern.Join(Pattern.Literal(to[..1]), Between(zeros, to[1..], pointAt - 1)));
        return Pattern.Join(point, Pattern.Either([.. alternatives]));
    }

    /// <summary>A pattern that is built once however often it is used.</summary>
    public static Pattern Named(string name, Pattern body) => new Pattern.Rule(name) { Body = body };

    /// <summary>Items between the brackets of an array or object, so many of them.</summary>
    public static Pattern List(Pattern item, int min, int? max)
    {
        if (max == 0)
        {
            return Pattern.Empty;
        }

        var further = Pattern.Join(Comma, item).Times(Math.Max(0, min - 1), max - 1);
        var some = Pattern.Join(item, further);
        return min == 0 ? some.Optional() : some;
    }

    private static Pattern MakeValue()
    {
        var value = new Pattern.Rule("a value");
        value.Body = Pattern.Either(
            String,
            Number,
            Boolean,
            Null,
            Pattern.Join(Pattern.Literal("["), List(value, 0, null), Pattern.Literal("]")),
            Pattern.Join(Pattern.Literal("{"), List(Pattern.Join(String, Colon, value), 0, null), Pattern.Literal("}")));
        return value;
    }

    private static Pattern Natural(int digits) => Pattern.Either(
        Pattern.Literal("0"),
        Pattern.Join(new Pattern.Byte(ByteSet.Range('1', '9')), Digit.Times(0, digits - 1)));

    private static Pattern Either(params string[] texts) => Pattern.Either([.. texts.Select(Pattern.Literal)]);

    private static IEnumerable<Pattern> Separate(IEnumerable<Pattern> parts) => parts.SelectMany((part, i) => i == 0 ? [part] : new[] { Comma, part });

    private static string Digits(BigInteger number) => number.ToString(CultureInfo.InvariantCulture);

    private static int Places(decimal? number) => number is { } n ? (n / 1.0000000000000000000000000000m).Scale : 0;

    /// <summary>The smallest integer that is at least the number times the scale, or above it.</summary>
    public static BigInteger Ceiling(decimal number, BigInteger scale, bool excluded)
    {
        var digits = decimal.GetBits(number);
        var mantissa = ((BigInteger)(uint)digits[2] << 64) | ((BigInteger)(uint)digits[1] << 32) | (uint)digits[0];
        var quotient = BigInteger.DivRem((number < 0 ? -mantissa : mantissa) * scale, BigInteger.Pow(10, number.Scale), out var rest);
        quotient += rest > 0 ? 1 : 0;
        return excluded && rest.IsZero ? quotient + 1 : quotient;
    }
}
