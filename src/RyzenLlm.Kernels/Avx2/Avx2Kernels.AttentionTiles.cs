using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using RyzenLlm.Kernels.Memory;
using V = System.Runtime.Intrinsics.Vector256<float>;

namespace RyzenLlm.Kernels;

// Attention of the rows of one sequence. 1024 logical positions at a time are scored, weighed by exp(score - largest so far) and their values added; when a
// later stretch holds a larger score, sums and outputs are scaled down first (Milakov and Gimelshein 2018). So working memory has a fixed size, and the
// places where a row is rescaled depend on its positions alone.
//
// What rows have in common, their prefix, is read once: the query heads of all rows that share a key/value head meet it in register tiles of queries x keys
// (scores) and queries x dimensions (values), unpacked to floats for all. The chains are those of a single row, so are the bits. The branches of
// a tree, and a single row, go row by row.
internal unsafe partial class Avx2Kernels
{
    /// <summary>Keys that are unpacked together.</summary>
    private protected const int BlockKeys = 16;

    /// <summary>Queries and keys of a tile.</summary>
    private protected const int TileSide = 4;

    /// <summary>Dimensions of a page of values that are unpacked together.</summary>
    private const int ValueColumns = 64;

    // Positions that are weighed together, a multiple of the positions of a block.
    private const int Stretch = 1024;

    // An odd number of cache lines from query to query, so that they do not crowd into a few sets of the cache.
    private const int LdScores = Stretch + 16;

    public override void Attend(ReadOnlySpan<KvView> views, int kvHead, float* q, long ld, int group, float scale, float* output)
    {
        var h = views[0].HeadSize;
        if (h % 8 != 0)
        {
            base.Attend(views, kvHead, q, ld, group, scale, output);
            return;
        }

        var tile = AttentionTile.Take(views.Length * group, h);
        var heads = group * h;
        var (tiled, longest) = (Limit(tile, views, group), 0);
        for (var r = 0; r < views.Length; r++)
        {
            longest = Math.Max(longest, views[r].Count);
            new Span<float>(q + (r * ld), heads).CopyTo(new Span<float>(tile.Queries + ((long)r * heads), heads));
        }

        for (var begin = 0; begin < longest; begin += Stretch)
        {
            var end = begin + Stretch;
            ScoreShared(tile, views[0], begin, Math.Min(end, tiled), kvHead, scale);
            for (var r = 0; r < views.Length; r++)
            {
                var from = Math.Max(begin, Math.Min(Shared(views[r]), tiled));
                var count = Math.Min(views[r].Count, end) - begin;
                var scores = tile.Scores + ((long)r * group * LdScores);
                if (from < views[r].Sinks)
                {
                    var sinks = Math.Min(views[r].Sinks, end);
                    ScoreRow(views[r], from, sinks, kvHead, views[r].SinkQueries + ((long)kvHead * heads), group, scale, scores + (from - begin), LdScores);
                    from = sinks;
                }

                ScoreRow(views[r], from, begin + count, kvHead, tile.Queries + ((long)r * heads), group, scale, scores + (from - begin), LdScores);
                for (var j = 0; j < group && count > 0; j++)
                {
                    Weigh(tile, (r * group) + j, count);
                }
            }

            AddShared(tile, views[0], begin, Math.Min(end, tiled), kvHead);
            for (var r = 0; r < views.Length; r++)
            {
                var from = Math.Max(begin, tile.Limits[r * group / TileSide]);
                var weights = tile.Scores + ((long)r * group * LdScores) + (from - begin);
                AddRow(views[r], from, Math.Min(views[r].Count, end), kvHead, weights, LdScores, group, tile.Outputs + ((long)r * heads));
            }
        }

        for (var r = 0; r < views.Length; r++)
        {
            for (var j = 0; j < group; j++)
            {
                var at = ((long)r * heads) + (j * h);
                Scale(tile.Outputs + at, 1 / tile.Sums[(r * group) + j], h);
                new Span<float>(tile.Outputs + at, h).CopyTo(new Span<float>(output + (r * ld) + (j * h), h));
            }
        }
    }

    /// <summary>Positions of a row that other rows see likewise: its prefix, but for sinks, which take queries of their own.</summary>
    private static int Shared(in KvView view) => view.Sinks > 0 ? 0 : view.Prefix;

    /// <summary>Finds for each four queries how many positions all of them share. Returns the most; none for a single row, which would not repay unpacking.</summary>
    private static int Limit(in AttentionTile tile, ReadOnlySpan<KvView> views, int group)
    {
        // Rows whose queries fill whole tiles of registers have a limit in common.
        var rows = group % TileSide == 0 ? 1 : group % 2 == 0 ? 2 : TileSide;
        var most = 0;
        for (var first = 0; first < views.Length; first += rows)
        {
            var limit = views.Length == 1 ? 0 : int.MaxValue;
            foreach (ref readonly var view in views[first..Math.Min(first + rows, views.Length)])
            {
                limit = Math.Min(limit, Shared(view));
                most = Math.Max(most, views.Length == 1 ? 0 : Shared(view));
            }

            new Span<int>(tile.Limits, tile.Count / TileSide)[(first * group / TileSide)..].Fill(limit);
        }

        return most;
    }

    /// <summary>Scores of a stretch become weights; what was summed before is scaled down where the largest score has risen.</summary>
    private void Weigh(in AttentionTile tile, int query, int count)
    {
        var before = tile.Largest[query];
        var sum = Weights(tile.Scores + ((long)query * LdScores), count, ref tile.Largest[query]);
        if (tile.Largest[query] > before)
        {
            var factor = MathF.Exp(before - tile.Largest[query]);
            tile.Sums[query] *= factor;
            Scale(tile.Outputs + ((long)query * tile.HeadSize), factor, tile.HeadSize);
        }

        tile.Sums[query] += sum;
    }

    private void ScoreShared(in AttentionTile tile, in KvView view, int begin, int end, int kvHead, float scale)
    {
        for (var p = begin; p < end; p += BlockKeys)
        {
            ScoreKeys(tile, view.Key(p, kvHead), view.Type, Math.Min(BlockKeys, end - p), scale, tile.Scores + (p - begin));
        }
    }

    private void AddShared(in AttentionTile tile, in KvView view, int begin, int end, int kvHead)
    {
        for (var p = begin; p < end; p += KvView.BlockPositions)
        {
            AddValues(tile, view.Value(p, kvHead), view.Type, p, Math.Min(KvView.BlockPositions, end - p), tile.Scores + (p - begin));
        }
    }

    /// <summary>Scores of all queries for up to 16 keys that lie one behind the other.</summary>
    private void ScoreKeys(in AttentionTile tile, byte* keys, KvType type, int count, float scale, float* scores)
    {
        // Scores of keys that fill up the last four land behind those that count.
        var h = tile.HeadSize;
        var whole = (count + TileSide - 1) & -TileSide;
        new Span<float>(tile.Block + ((long)count * h), (whole - count) * h).Clear();
        for (var p = 0; p < count; p++)
        {
            tile.Factors[p] = type == KvType.I8 ? scale * VectorScale(keys, p, h) : scale;
        }

        Unpack(keys, type, count, 0, h, h, tile.Block);
        ScoreBlock(tile.Block, whole, tile.Factors, tile.Queries, tile.Count, h, scores, LdScores);
    }

    /// <summary>Adds up to 64 values from position <paramref name="p"/> on to the outputs of all queries, as far as these see them; uses up the weights.</summary>
    private void AddValues(in AttentionTile tile, byte* values, KvType type, int p, int count, float* weights)
    {
        var h = tile.HeadSize;
        if (type == KvType.I8)
        {
            for (var i = 0; i < count; i++)
            {
                tile.Factors[i] = VectorScale(values, i, h);
            }

            for (var j = 0; j < tile.Count; j++)
            {
                var own = weights + ((long)j * LdScores);
                Multiply(own, tile.Factors, Math.Clamp(tile.Limits[j / TileSide] - p, 0, count), own);
            }
        }

        for (var d = 0; d < h; d += ValueColumns)
        {
            var n = Math.Min(ValueColumns, h - d);
            Unpack(values, type, count, d, n, h, tile.Block);
            for (var j = 0; j < tile.Count; j += TileSide)
            {
                var seen = Math.Min(tile.Limits[j / TileSide] - p, count);
                if (seen > 0)
                {
                    AddBlock(tile.Block, seen, n, weights + ((long)j * LdScores), LdScores, tile.Outputs + ((long)j * h) + d, h);
                }
            }
        }
    }

    private static float VectorScale(byte* vectors, int p, int h) => *(float*)(vectors + ((long)p * KvView.VectorBytes(KvType.I8, h)) + h);

    /// <summary>Elements [from, from + n) of <paramref name="count"/> vectors as floats, [count][n]; n is a multiple of 8.</summary>
    private protected virtual void Unpack(byte* vectors, KvType type, int count, int from, int n, int h, float* block)
    {
        switch (type)
        {
            case KvType.F16:
                Unpack<F16Cache>(vectors, count, from, n, h, block);
                break;
            case KvType.I8:
                Unpack<I8Cache>(vectors, count, from, n, h, block);
                break;
            default:
                Unpack<F32Cache>(vectors, count, from, n, h, block);
                break;
        }
    }

    [MethodImpl(Hot)]
    private static void Unpack<TCache>(byte* vectors, int count, int from, int n, int h, float* block)
        where TCache : struct, ICache
    {
        vectors += from * TCache.Bytes;
        for (var p = 0; p < count; p++, vectors += Stride<TCache>(h), block += n)
        {
            for (var i = 0; i < n; i += 8)
            {
                TCache.Load(vectors + (i * TCache.Bytes)).Store(block + i);
            }
        }
    }

    /// <summary>scores[j ld + p] = factors[p] (q_j . key p); queries and keys by fours.</summary>
    [MethodImpl(Hot)]
    private protected virtual void ScoreBlock(float* keys, int count, float* factors, float* q, int queries, int h, float* scores, int ld)
    {
        for (var j = 0; j < queries; j += 2, q += 2 * h, scores += 2L * ld)
        {
            var key = keys;
            for (var p = 0; p < count; p += TileSide, key += TileSide * h)
            {
                V a0 = default, a1 = default, a2 = default, a3 = default;
                V b0 = default, b1 = default, b2 = default, b3 = default;
                for (var i = 0; i < h; i += 8)
                {
                    var qa = Vector256.Load(q + i);
                    var qb = Vector256.Load(q + h + i);
                    var k = Vector256.Load(key + i);
                    a0 = Fma.MultiplyAdd(k, qa, a0);
                    b0 = Fma.MultiplyAdd(k, qb, b0);
                    k = Vector256.Load(key + h + i);
                    a1 = Fma.MultiplyAdd(k, qa, a1);
                    b1 = Fma.MultiplyAdd(k, qb, b1);
                    k = Vector256.Load(key + (2 * h) + i);
                    a2 = Fma.MultiplyAdd(k, qa, a2);
                    b2 = Fma.MultiplyAdd(k, qb, b2);
                    k = Vector256.Load(key + (3 * h) + i);
                    a3 = Fma.MultiplyAdd(k, qa, a3);
                    b3 = Fma.MultiplyAdd(k, qb, b3);
                }

                var factor = Vector128.Load(factors + p);
                (SumLanes(a0, a1, a2, a3) * factor).Store(scores + p);
                (SumLanes(b0, b1, b2, b3) * factor).Store(scores + ld + p);
            }
        }
    }

    /// <summary>output_j[i] += sum of weights[j ld + p] values[p][i] for four queries and n dimensions i, a multiple of 8.</summary>
    [MethodImpl(Hot)]
    private protected virtual void AddBlock(float* values, int count, int n, float* weights, int ld, float* output, int h)
    {
        var w1 = weights + ld;
        var w2 = w1 + ld;
        var w3 = w2 + ld;
        for (var i = 0; i < n; i += 16)
        {
            var next = n - i >= 16 ? 8 : 0; // where eight dimensions are left, both halves compute the same
            var o = output + i;
            V a0 = Vector256.Load(o), a1 = Vector256.Load(o + next);
            V b0 = Vector256.Load(o + h), b1 = Vector256.Load(o + h + next);
            V c0 = Vector256.Load(o + (2 * h)), c1 = Vector256.Load(o + (2 * h) + next);
            V d0 = Vector256.Load(o + (3 * h)), d1 = Vector256.Load(o + (3 * h) + next);
            var v = values + i;
            for (var p = 0; p < count; p++, v += n)
            {
                var v0 = Vector256.Load(v);
                var v1 = Vector256.Load(v + next);
                var w = Vector256.Create(weights[p]);
                a0 = Fma.MultiplyAdd(v0, w, a0);
                a1 = Fma.MultiplyAdd(v1, w, a1);
                w = Vector256.Create(w1[p]);
                b0 = Fma.MultiplyAdd(v0, w, b0);
                b1 = Fma.MultiplyAdd(v1, w, b1);
                w = Vector256.Create(w2[p]);
                c0 = Fma.MultiplyAdd(v0, w, c0);
                c1 = Fma.MultiplyAdd(v1, w, c1);
                w = Vector256.Create(w3[p]);
                d0 = Fma.MultiplyAdd(v0, w, d0);
                d1 = Fma.MultiplyAdd(v1, w, d1);
            }

            a0.Store(o);
            a1.Store(o + next);
            b0.Store(o + h);
            b1.Store(o + h + next);
            c0.Store(o + (2 * h));
            c1.Store(o + (2 * h) + next);
            d0.Store(o + (3 * h));
            d1.Store(o + (3 * h) + next);
        }
    }

    /// <summary>Working memory for the query heads of a tile, their number rounded up to whole tiles of registers.</summary>
    private readonly struct AttentionTile
    {
        /// <summary>Query heads.</summary>
        public required int Count { get; init; }

        /// <summary>Elements per head.</summary>
        public required int HeadSize { get; init; }

        /// <summary>[count][head size]; zeros where a head is only there to fill up.</summary>
        public required float* Queries { get; init; }

        /// <summary>Weighted values so far, [count][head size].</summary>
        public required float* Outputs { get; init; }

        /// <summary>Scores of a stretch, then weights, [count][LdScores].</summary>
        public required float* Scores { get; init; }

        /// <summary>Keys or values as floats.</summary>
        public required float* Block { get; init; }

        /// <summary>What scores or weights of a block are multiplied by.</summary>
        public required float* Factors { get; init; }

        /// <summary>Positions that go by tiles, [count / 4].</summary>
        public required int* Limits { get; init; }

        /// <summary>Largest score so far, [count].</summary>
        public required float* Largest { get; init; }

        /// <summary>Sum of weights so far, [count].</summary>
        public required float* Sums { get; init; }

        /// <summary>A tile of which nothing was computed.</summary>
        public static AttentionTile Take(int queries, int h)
        {
            var count = (queries + TileSide - 1) & -TileSide;
            var block = Math.Max(BlockKeys * h, KvView.BlockPositions * ValueColumns);
            var floats = ((long)count * (h + h + LdScores + 3)) + block + KvView.BlockPositions;
            var blockAt = (float*)Scratch.Take(floats * sizeof(float));
            var scores = blockAt + block;
            var queriesAt = scores + ((long)count * LdScores);
            var outputs = queriesAt + ((long)count * h);
            var factors = outputs + ((long)count * h);
            var sums = factors + KvView.BlockPositions;
            var largest = sums + count;
            new Span<float>(queriesAt, (int)(sums + count - queriesAt)).Clear();
            new Span<float>(largest, count).Fill(float.NegativeInfinity);
            return new()
            {
                Count = count,
                HeadSize = h,
                Queries = queriesAt,
                Outputs = outputs,
                Scores = scores,
                Block = blockAt,
                Factors = factors,
                Limits = (int*)(largest + count),
                Largest = largest,
                Sums = sums,
            };
        }
    }
}
