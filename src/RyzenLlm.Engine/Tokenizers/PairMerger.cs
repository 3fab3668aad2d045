using System.Buffers;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>Which neighbouring symbols may become one, and in which order.</summary>
internal interface IPairRule
{
    /// <summary>Whether two neighbours join.</summary>
    /// <param name="left">Left symbol.</param>
    /// <param name="right">Right symbol.</param>
    /// <param name="joined">The bytes that both cover.</param>
    /// <param name="rank">Lower is earlier; below <see cref="uint.MaxValue"/>.</param>
    /// <param name="symbol">The symbol that replaces them.</param>
    bool TryJoin(int left, int right, ReadOnlySpan<byte> joined, out uint rank, out int symbol);
}

/// <summary>A symbol and the bytes that it covers.</summary>
internal record struct Piece(int Start, int Length, int Symbol);

/// <summary>
/// Byte-pair encoding (Sennrich et al. 2016): joins the neighbouring pair of the lowest rank, the leftmost first among equals, until
/// none joins.
/// </summary>
internal static class PairMerger
{
    /// <summary>Up to this many pieces a scan of all pairs beats a queue; nearly every word of a natural text is shorter.</summary>
    internal const int ShortWord = 48;

    /// <summary>Merges in place.</summary>
    /// <param name="rule">Pairs that join.</param>
    /// <param name="text">The bytes that the pieces cover.</param>
    /// <param name="pieces">Pieces in order without gaps; the result is at the front.</param>
    /// <returns>Number of pieces left.</returns>
    public static int Merge<TRule>(TRule rule, ReadOnlySpan<byte> text, Span<Piece> pieces)
        where TRule : struct, IPairRule =>
        pieces.Length <= ShortWord ? MergeByScan(rule, text, pieces) : MergeByQueue(rule, text, pieces);

    /// <summary>Quadratic in the number of pieces, at most <see cref="ShortWord"/>; does not allocate.</summary>
    internal static int MergeByScan<TRule>(TRule rule, ReadOnlySpan<byte> text, Span<Piece> pieces)
        where TRule : struct, IPairRule
    {
        Span<uint> ranks = stackalloc uint[ShortWord];
        Span<int> joins = stackalloc int[ShortWord];
        var count = pieces.Length;
        for (var i = 0; i + 1 < count; i++)
        {
            Rank(text, pieces, i, ranks, joins);
        }

        while (count > 1)
        {
            var best = 0;
            for (var i = 1; i < count - 1; i++)
            {
                best = ranks[i] < ranks[best] ? i : best;
            }

            if (ranks[best] == uint.MaxValue)
            {
                break;
            }

            pieces[best] = new Piece(pieces[best].Start, pieces[best].Length + pieces[best + 1].Length, joins[best]);
            pieces[(best + 2)..count].CopyTo(pieces[(best + 1)..]);
            if (best + 2 < count)
            {
                ranks[(best + 2)..(count - 1)].CopyTo(ranks[(best + 1)..]);
                joins[(best + 2)..(count - 1)].CopyTo(joins[(best + 1)..]);
            }

            count--;
            if (best > 0)
            {
                Rank(text, pieces, best - 1, ranks, joins);
            }

            if (best + 1 < count)
            {
                Rank(text, pieces, best, ranks, joins);
            }
        }

        return count;

        void Rank(ReadOnlySpan<byte> text, Span<Piece> pieces, int i, Span<uint> ranks, Span<int> joins)
        {
            var (left, right) = (pieces[i], pieces[i + 1]);
            var joined = text.Slice(left.Start, left.Length + right.Length);
            ranks[i] = rule.TryJoin(left.Symbol, right.Symbol, joined, out var rank, out joins[i]) ? rank : uint.MaxValue;
        }
    }

    /// <summary>The same result in n log n for words of any length.</summary>
    internal static int MergeByQueue<TRule>(TRule rule, ReadOnlySpan<byte> text, Span<Piece> pieces)
        where TRule : struct, IPairRule
    {
        var links = ArrayPool<int>.Shared.Rent(pieces.Length * 2);
        var next = links.AsSpan(0, pieces.Length);
        var previous = links.AsSpan(pieces.Length, pieces.Length);
        var queue = new PriorityQueue<(int Left, int Length, int Symbol), ulong>();
        for (var i = 0; i < pieces.Length; i++)
        {
            (previous[i], next[i]) = (i - 1, i + 1 < pieces.Length ? i + 1 : -1);
        }

        for (var i = 0; i + 1 < pieces.Length; i++)
        {
            Enqueue(text, pieces, i, i + 1);
        }

        while (queue.TryDequeue(out var pair, out _))
        {
            // Boundaries only ever vanish, so a left piece and a joined length name one pair; any other state is out of date.
            ref var left = ref pieces[pair.Left];
            var right = next[pair.Left];
            if (left.Length == 0 || right < 0 || left.Length + pieces[right].Length != pair.Length)
            {
                continue;
            }

            left = new Piece(left.Start, pair.Length, pair.Symbol);
            pieces[right].Length = 0;
            var after = next[right];
            next[pair.Left] = after;
            if (after >= 0)
            {
                previous[after] = pair.Left;
                Enqueue(text, pieces, pair.Left, after);
            }

            if (previous[pair.Left] >= 0)
            {
                Enqueue(text, pieces, previous[pair.Left], pair.Left);
            }
        }

        ArrayPool<int>.Shared.Return(links);
        var count = 0;
        foreach (var piece in pieces)
        {
            if (piece.Length > 0)
            {
                pieces[count++] = piece;
            }
        }

        return count;

        void Enqueue(ReadOnlySpan<byte> text, Span<Piece> pieces, int left, int right)
        {
            var length = pieces[left].Length + pieces[right].Length;
            if (rule.TryJoin(pieces[left].Symbol, pieces[right].Symbol, text.Slice(pieces[left].Start, length), out var rank, out var symbol))
            {
                queue.Enqueue((left, length, symbol), (ulong)rank << 32 | (uint)left);
            }
        }
    }
}
