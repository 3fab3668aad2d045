using System.Numerics;

namespace RyzenLlm.Engine.Sampling;

/// <summary>A token and the key it is ranked by. Sorts by key from high to low, equal keys by id from low to high.</summary>
internal readonly record struct Candidate(int Id, float Key) : IComparable<Candidate>
{
    /// <inheritdoc/>
    public int CompareTo(Candidate other)
    {
        var byKey = other.Key.CompareTo(Key);
        return byKey != 0 ? byKey : Id.CompareTo(other.Id);
    }

    /// <summary>
    /// The <paramref name="heap"/>.Length best ids, in sorted order, without sorting the rest: a min-heap of the best so far is kept, and blocks
    /// with nothing above its worst entry are passed over by one vector comparison.
    /// </summary>
    /// <param name="keys">Key of every id; NaN and negative infinity are never candidates.</param>
    /// <param name="heap">Receives the candidates.</param>
    /// <returns>How many there are.</returns>
    public static int Select(ReadOnlySpan<float> keys, Span<Candidate> heap)
    {
        var count = 0;
        var least = heap.IsEmpty ? float.PositiveInfinity : float.NegativeInfinity;
        for (var id = 0; id < keys.Length;)
        {
            if (keys.Length - id >= Vector<float>.Count && !Vector.GreaterThanAny(new Vector<float>(keys[id..]), new Vector<float>(least)))
            {
                id += Vector<float>.Count;
                continue;
            }

            for (var end = Math.Min(keys.Length, id + Vector<float>.Count); id < end; id++)
            {
                if (keys[id] > least)
                {
                    least = Take(new(id, keys[id]), heap, ref count);
                }
            }
        }

        var selected = heap[..count];
        selected.Sort();
        return count;
    }

    // What a key must exceed from now on. Ids come in ascending order, so one that only equals the worst key ranks behind it: strictly greater keys alone
    // replace the root.
    private static float Take(Candidate candidate, Span<Candidate> heap, ref int count)
    {
        if (count < heap.Length)
        {
            heap[count++] = candidate;
            for (var parent = (count / 2) - 1; count == heap.Length && parent >= 0; parent--)
            {
                SiftDown(heap, parent);
            }
        }
        else
        {
            heap[0] = candidate;
            SiftDown(heap, 0);
        }

        return count < heap.Length ? float.NegativeInfinity : heap[0].Key;
    }

    private static void SiftDown(Span<Candidate> heap, int parent)
    {
        var moved = heap[parent];
        while (true)
        {
            var child = (2 * parent) + 1;
            if (child >= heap.Length)
            {
                break;
            }

            if (child + 1 < heap.Length && heap[child + 1].CompareTo(heap[child]) > 0)
            {
                child++;
            }

            if (heap[child].CompareTo(moved) <= 0)
            {
                break;
            }

            heap[parent] = heap[child];
            parent = child;
        }

        heap[parent] = moved;
    }
}
