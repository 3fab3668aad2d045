using System.Numerics;

namespace RyzenLlm.Engine.Decoding.Constraints;

/// <summary>A set of byte values.</summary>
internal readonly record struct ByteSet(ulong W0, ulong W1, ulong W2, ulong W3)
{
    /// <summary>All values.</summary>
    public static ByteSet All { get; } = new(~0ul, ~0ul, ~0ul, ~0ul);

    /// <summary>Number of values.</summary>
    public int Count => BitOperations.PopCount(W0) + BitOperations.PopCount(W1) + BitOperations.PopCount(W2) + BitOperations.PopCount(W3);

    /// <summary>The smallest value; the set must not be empty.</summary>
    public byte First =>
        (byte)(W0 != 0 ? BitOperations.TrailingZeroCount(W0)
            : W1 != 0 ? 64 + BitOperations.TrailingZeroCount(W1)
            : W2 != 0 ? 128 + BitOperations.TrailingZeroCount(W2)
            : 192 + BitOperations.TrailingZeroCount(W3));

    /// <summary>All values from one to another, both included.</summary>
    public static ByteSet Range(int first, int last)
    {
        Span<ulong> words = stackalloc ulong[4];
        words.Clear();
        for (var b = first; b <= last; b++)
        {
            words[b / 64] |= 1ul << b;
        }

        return new(words[0], words[1], words[2], words[3]);
    }

    /// <summary>The values for which a flag is set.</summary>
    public static ByteSet Of(ReadOnlySpan<bool> flags)
    {
        var set = default(ByteSet);
        for (var b = 0; b < flags.Length; b++)
        {
            set = flags[b] ? set | Range(b, b) : set;
        }

        return set;
    }

    /// <summary>Whether a value is in the set.</summary>
    public bool Contains(byte b) => (((b < 128 ? (b < 64 ? W0 : W1) : b < 192 ? W2 : W3) >> b) & 1) != 0;

    /// <summary>Values not in the set.</summary>
    public static ByteSet operator ~(ByteSet a) => new(~a.W0, ~a.W1, ~a.W2, ~a.W3);

    /// <summary>Values in either set.</summary>
    public static ByteSet operator |(ByteSet a, ByteSet b) => new(a.W0 | b.W0, a.W1 | b.W1, a.W2 | b.W2, a.W3 | b.W3);

    /// <summary>Values in both sets.</summary>
    public static ByteSet operator &(ByteSet a, ByteSet b) => new(a.W0 & b.W0, a.W1 & b.W1, a.W2 & b.W2, a.W3 & b.W3);
}
