using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace RyzenLlm.Memory.Ranking;

/// <summary>
/// Unit vectors as int8 with one float scale each, in chunks, scanned whole: exact over the codes, and within about
/// half a percent of the float dot product. A doc without a vector has scale 0.
/// </summary>
internal sealed class VectorBlock
{
    private const int DocsPerChunk = 2048;
    private readonly List<sbyte[]> _chunks = [];
    private readonly List<float> _scales = [];

    /// <summary>Numbers in each vector; 0 until the first was added.</summary>
    public int Dimensions { get; private set; }

    /// <summary>Adds the vector of the next doc; an empty one means that it has none.</summary>
    public void Add(ReadOnlySpan<sbyte> vector, float scale)
    {
        if (Dimensions == 0 && vector.Length > 0)
        {
            Dimensions = vector.Length;
            int chunks = _scales.Count / DocsPerChunk + 1;
            for (int i = 0; i < chunks; i++)
            {
                _chunks.Add(new sbyte[DocsPerChunk * Dimensions]);
            }
        }

        int doc = _scales.Count;
        if (Dimensions > 0 && doc / DocsPerChunk == _chunks.Count)
        {
            _chunks.Add(new sbyte[DocsPerChunk * Dimensions]);
        }

        bool fits = vector.Length > 0 && vector.Length == Dimensions;
        _scales.Add(fits ? scale : 0);
        if (fits)
        {
            vector.CopyTo(_chunks[doc / DocsPerChunk].AsSpan(doc % DocsPerChunk * Dimensions));
        }
    }

    /// <summary>Whether a doc has a vector.</summary>
    public bool Has(int doc) => _scales[doc] != 0;

    /// <summary>Writes the approximate dot product of every doc with <paramref name="query"/>; 0 for a doc without a vector.</summary>
    public void Dot(ReadOnlySpan<float> query, Span<float> scores)
    {
        if (Dimensions == 0)
        {
            scores.Clear();
            return;
        }

        sbyte[] code = new sbyte[Dimensions];
        float queryScale = Quantise(query, code);
        ReadOnlySpan<float> scales = CollectionsMarshal.AsSpan(_scales);
        for (int doc = 0; doc < scores.Length; doc++)
        {
            ReadOnlySpan<sbyte> stored = _chunks[doc / DocsPerChunk].AsSpan(doc % DocsPerChunk * Dimensions, Dimensions);
            scores[doc] = scales[doc] == 0 ? 0 : Dot(code, stored) * scales[doc] * queryScale;
        }
    }

    /// <summary>Rounds to int8 so that the largest magnitude becomes 127; returns the scale that undoes it (0 for all zeros).</summary>
    public static float Quantise(ReadOnlySpan<float> vector, Span<sbyte> code)
    {
        float largest = vector.Length == 0 ? 0 : Math.Abs(TensorPrimitives.MaxMagnitude(vector));
        for (int i = 0; i < vector.Length; i++)
        {
            code[i] = largest == 0 ? (sbyte)0 : (sbyte)MathF.Round(vector[i] * 127 / largest);
        }

        return largest / 127;
    }

    /// <summary>
    /// Codes are -127..127, so a product is at most 16,129 and the sum of two still fits in 16 bits (32,258); pairs are
    /// added before they widen to 32 bits, where 2^31 / 16,129 allows vectors of 130,000 numbers.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static int Dot(ReadOnlySpan<sbyte> a, ReadOnlySpan<sbyte> b)
    {
        Vector<int> sums = Vector<int>.Zero;
        int i = 0;
        for (; i + Vector<sbyte>.Count <= a.Length; i += Vector<sbyte>.Count)
        {
            Vector.Widen(new Vector<sbyte>(a[i..]), out Vector<short> aLow, out Vector<short> aHigh);
            Vector.Widen(new Vector<sbyte>(b[i..]), out Vector<short> bLow, out Vector<short> bHigh);
            Vector.Widen(aLow * bLow + aHigh * bHigh, out Vector<int> low, out Vector<int> high);
            sums += low + high;
        }

        int sum = Vector.Sum(sums);
        for (; i < a.Length; i++)
        {
            sum += a[i] * b[i];
        }

        return sum;
    }
}
