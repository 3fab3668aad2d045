using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels;

/// <summary>Element type of a key/value cache.</summary>
public enum KvType
{
    /// <summary>binary16, the default.</summary>
    F16,

    /// <summary>binary32, for exact evaluation.</summary>
    F32,

    /// <summary>int8 with one binary32 scale behind the vector of a head, its largest magnitude over 127: half the bytes of <see cref="F16"/>.</summary>
    I8,
}

/// <summary>
/// What one query row may attend to in one layer: a paged cache of <see cref="BlockPositions"/> positions per block.
/// Inside a block and layer, keys lie as [kv head][position][head size], values likewise.
/// </summary>
/// <remarks>
/// Logical position p lives in slot p while p &lt; <see cref="Prefix"/> and in slot <see cref="Tail"/>[p - Prefix] after that (the ancestors of a
/// row of a drafted tree, itself last). Kernels group their reduction by logical position, so a tree row and the
/// same tokens in a plain chain give the same bits.
/// </remarks>
/// <remarks>
/// Where a sequence has outgrown its window, the first <see cref="Sinks"/> logical positions are those of the sequence, and the tail is what is left of the rest. Cached keys
/// keep the rotation of their position in the sequence; the sinks' distance to the row is that within the cache, which is up to <see cref="SinkQueries"/>.
/// </remarks>
public unsafe struct KvView
{
    /// <summary>Positions per cache block.</summary>
    public const int BlockPositions = 64;

    /// <summary>Block table: slot s is in block s / 64.</summary>
    public byte** Blocks;

    /// <summary>Byte offset of this layer's keys inside a block.</summary>
    public long KeyOffset;

    /// <summary>Byte offset of this layer's values inside a block.</summary>
    public long ValueOffset;

    /// <summary>Element type.</summary>
    public KvType Type;

    /// <summary>Key/value heads.</summary>
    public int KvHeads;

    /// <summary>Elements per head.</summary>
    public int HeadSize;

    /// <summary>Number of leading positions whose slot is the position itself.</summary>
    public int Prefix;

    /// <summary>Slots of the later positions.</summary>
    public int* Tail;

    /// <summary>Number of entries in <see cref="Tail"/>.</summary>
    public int TailCount;

    /// <summary>Number of leading positions, at most <see cref="Prefix"/>, whose scores take <see cref="SinkQueries"/> in place of the row's queries.</summary>
    public int Sinks;

    /// <summary>Queries of the row for its sinks, [all query heads][head size].</summary>
    public float* SinkQueries;

    /// <summary>Visible positions in all.</summary>
    public readonly int Count => Prefix + TailCount;

    /// <summary>Slot of logical position p.</summary>
    public readonly int Slot(int p) => p < Prefix ? p : Tail[p - Prefix];

    /// <summary>Address of the key (or value) of one kv head at a slot.</summary>
    public readonly byte* Key(int slot, int kvHead) => Address(slot, kvHead, KeyOffset);

    /// <inheritdoc cref="Key"/>
    public readonly byte* Value(int slot, int kvHead) => Address(slot, kvHead, ValueOffset);

    private readonly byte* Address(int slot, int kvHead, long offset) =>
        Blocks[slot / BlockPositions] + offset + ((((long)kvHead * BlockPositions) + (slot % BlockPositions)) * VectorBytes(Type, HeadSize));

    /// <summary>Bytes of one head's key or value at one position.</summary>
    public static int VectorBytes(KvType type, int headSize) => type switch
    {
        KvType.F16 => headSize * sizeof(ushort),
        KvType.I8 => headSize + sizeof(float),
        _ => headSize * sizeof(float),
    };
}

public unsafe partial class KernelSet
{
    private const int TileQueries = 64;

    /// <summary>
    /// Softmax attention of the query heads that share one key/value head, for rows of one sequence: a decoded token, a stretch of a prompt, a drafted tree.
    /// o_j = sum_p softmax_p(q_j . k[p] * scale) v[p] over the positions that the row sees.
    /// </summary>
    /// <param name="views">Visible positions of each row in this layer, all with the same <see cref="KvView.Blocks"/>.</param>
    /// <param name="kvHead">Key/value head.</param>
    /// <param name="q">First of <paramref name="group"/> consecutive query heads that share it, in the first row.</param>
    /// <param name="ld">Floats from one row to the next, in <paramref name="q"/> and <paramref name="output"/>.</param>
    /// <param name="group">Query heads per key/value head.</param>
    /// <param name="scale">Usually 1 / sqrt(head size).</param>
    /// <param name="output">Receives group heads of head size floats per row.</param>
    public virtual void Attend(ReadOnlySpan<KvView> views, int kvHead, float* q, long ld, int group, float scale, float* output)
    {
        for (var r = 0; r < views.Length; r++)
        {
            for (var j = 0; j < group; j++)
            {
                var head = (r * ld) + ((long)j * views[r].HeadSize);
                AttendHead(views[r], kvHead, q + head, views[r].SinkQueries + ((((long)kvHead * group) + j) * views[r].HeadSize), scale, output + head);
            }
        }
    }

    /// <summary>Rows that one call of <see cref="Attend"/> should take: enough to repay the unpacking of keys and values, few enough that what they need stays near.</summary>
    /// <param name="group">Query heads per key/value head.</param>
    public static int AttentionRows(int group) => Math.Max(1, TileQueries / group);

    private static void AttendHead(in KvView view, int kvHead, float* q, float* sinkQuery, float scale, float* output)
    {
        // Rounded up, so that a sequence that grows token by token rarely needs more.
        var scores = (float*)Scratch.Take(((long)view.Count + 1024) / 1024 * 1024 * sizeof(float));
        var max = float.NegativeInfinity;
        for (var p = 0; p < view.Count; p++)
        {
            scores[p] = scale * DotCache(view.Key(view.Slot(p), kvHead), view.Type, p < view.Sinks ? sinkQuery : q, view.HeadSize);
            max = Math.Max(max, scores[p]);
        }

        var total = 0f;
        new Span<float>(output, view.HeadSize).Clear();
        for (var p = 0; p < view.Count; p++)
        {
            var weight = MathF.Exp(scores[p] - max);
            total += weight;
            AddCache(view.Value(view.Slot(p), kvHead), view.Type, weight, view.HeadSize, output);
        }

        for (var d = 0; d < view.HeadSize; d++)
        {
            output[d] /= total;
        }
    }

    /// <summary>Writes a key or value vector of <paramref name="n"/> finite elements to a cache of that type, rounded to nearest.</summary>
    public void ToCache(float* x, int n, KvType type, byte* cached)
    {
        switch (type)
        {
            case KvType.F16:
                ToHalf(x, n, (ushort*)cached);
                break;
            case KvType.I8:
                ToInt8(x, n, cached);
                break;
            default:
                new Span<float>(x, n).CopyTo(new Span<float>(cached, n));
                break;
        }
    }

    private static void ToInt8(float* x, int n, byte* cached)
    {
        var largest = 0f;
        for (var d = 0; d < n; d++)
        {
            largest = Math.Max(largest, Math.Abs(x[d]));
        }

        // A scale too small to divide by stands for zeros.
        var scale = largest / 127;
        var inverse = float.IsFinite(1 / scale) ? 1 / scale : 0;
        for (var d = 0; d < n; d++)
        {
            ((sbyte*)cached)[d] = (sbyte)Math.Clamp(MathF.Round(x[d] * inverse), -127, 127);
        }

        *(float*)(cached + n) = scale;
    }

    private static float DotCache(byte* cached, KvType type, float* x, int n)
    {
        var sum = 0f;
        for (var d = 0; d < n; d++)
        {
            sum += x[d] * ReadCache(cached, type, d, n);
        }

        return sum;
    }

    private static void AddCache(byte* cached, KvType type, float weight, int n, float* y)
    {
        for (var d = 0; d < n; d++)
        {
            y[d] += weight * ReadCache(cached, type, d, n);
        }
    }

    private static float ReadCache(byte* cached, KvType type, int d, int n) => type switch
    {
        KvType.F16 => (float)BitConverter.UInt16BitsToHalf(((ushort*)cached)[d]),
        KvType.I8 => ((sbyte*)cached)[d] * *(float*)(cached + n),
        _ => ((float*)cached)[d],
    };
}
