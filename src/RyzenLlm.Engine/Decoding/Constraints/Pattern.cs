using System.Text;

namespace RyzenLlm.Engine.Decoding.Constraints;

/// <summary>
/// A language of byte strings as an expression: the common form of regular expressions, JSON schemas and choices. With <see cref="Rule"/>s
/// that contain themselves it is a context-free grammar.
/// </summary>
internal abstract record Pattern
{
    /// <summary>The empty text.</summary>
    public static Pattern Empty { get; } = new Sequence([]);

    /// <summary>No text at all.</summary>
    public static Pattern Nothing { get; } = new Alternatives([]);

    /// <summary>One byte out of a set.</summary>
    public sealed record Byte(ByteSet Set) : Pattern;

    /// <summary>Parts one after another.</summary>
    public sealed record Sequence(Pattern[] Parts) : Pattern;

    /// <summary>Any one of the parts.</summary>
    public sealed record Alternatives(Pattern[] Parts) : Pattern;

    /// <summary>A part at least <paramref name="Min"/> and at most <paramref name="Max"/> times; null means any number.</summary>
    public sealed record Repetition(Pattern Part, int Min, int? Max) : Pattern;

    /// <summary>A part with a name of its own, built once however often it occurs; its body may contain it.</summary>
    public sealed record Rule(string Name) : Pattern
    {
        /// <summary>What it stands for; set after construction where it contains itself.</summary>
        public Pattern Body { get; set; } = Nothing;

        /// <inheritdoc/>
        public bool Equals(Rule? other) => ReferenceEquals(this, other);

        /// <inheritdoc/>
        public override int GetHashCode() => System.Runtime.CompilerServices.RuntimeHelpers.GetHashCode(this);
    }

    /// <summary>Exactly this text.</summary>
    public static Pattern Literal(string text) => Literal(Encoding.UTF8.GetBytes(text));

    /// <summary>Exactly these bytes.</summary>
    public static Pattern Literal(ReadOnlySpan<byte> bytes)
    {
        var parts = new Pattern[bytes.Length];
        for (var i = 0; i < parts.Length; i++)
        {
            parts[i] = new Byte(ByteSet.Range(bytes[i], bytes[i]));
        }

        return new Sequence(parts);
    }

    /// <summary>Parts one after another.</summary>
    public static Pattern Join(params Pattern[] parts) => parts.Length == 1 ? parts[0] : new Sequence(parts);

    /// <summary>Any one of the parts.</summary>
    public static Pattern Either(params Pattern[] parts) => parts.Length == 1 ? parts[0] : new Alternatives(parts);

    /// <summary>The part or nothing.</summary>
    public Pattern Optional() => new Repetition(this, 0, 1);

    /// <summary>The part any number of times.</summary>
    public Pattern Star() => new Repetition(this, 0, null);

    /// <summary>The part so many times.</summary>
    public Pattern Times(int min, int? max) => new Repetition(this, min, max);
}
