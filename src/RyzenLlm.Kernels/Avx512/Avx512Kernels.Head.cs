using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using I = System.Runtime.Intrinsics.Vector512<int>;

namespace RyzenLlm.Kernels;

// Scores from an int8 copy of the output head: codes sign-extended to 16 bits, vpmaddwd with broadcast pairs of activations into 32-bit lanes.
internal sealed unsafe partial class Avx512Kernels
{
    private const int ScoreTokens = 8;

    internal override void ScorePanel(sbyte* panel, int columns, short* x, long ldx, int tokens, float* scores)
    {
        new Span<float>(scores, tokens * ScoreRows).Clear();
        for (var first = 0; first < columns; first += ScoreColumns, panel += ScoreRows * ScoreColumns)
        {
            // 16 KB of codes wait in the first-level cache for the next tokens.
            var pairs = Math.Min(ScoreColumns, columns - first) / 2;
            for (var t = 0; t < tokens; t += ScoreTokens)
            {
                var from = x + first + (t * ldx);
                var to = scores + (t * ScoreRows);
                switch (Math.Min(ScoreTokens, tokens - t))
                {
                    case 1:
                        ScoreTile<One>(panel, pairs, from, ldx, to);
                        break;
                    case 2:
                        ScoreTile<Two>(panel, pairs, from, ldx, to);
                        break;
                    case 3:
                        ScoreTile<Three>(panel, pairs, from, ldx, to);
                        break;
                    case 4:
                        ScoreTile<Four>(panel, pairs, from, ldx, to);
                        break;
                    case 5:
                        ScoreTile<Five>(panel, pairs, from, ldx, to);
                        break;
                    case 6:
                        ScoreTile<Six>(panel, pairs, from, ldx, to);
                        break;
                    case 7:
                        ScoreTile<Seven>(panel, pairs, from, ldx, to);
                        break;
                    default:
                        ScoreTile<Eight>(panel, pairs, from, ldx, to);
                        break;
                }
            }
        }
    }

    /// <summary>32 rows and up to 8 tokens over up to 512 columns, added to scores.</summary>
    [MethodImpl(Hot)]
    private static void ScoreTile<TTokens>(sbyte* q, int pairs, short* x, long ldx, float* scores)
        where TTokens : struct, ICount
    {
        I a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
        I b0 = default, b1 = default, b2 = default, b3 = default, b4 = default, b5 = default, b6 = default, b7 = default;
        var x4 = x + (4 * ldx);
        for (var end = x + (2 * pairs); x < end; x += 2, x4 += 2, q += 2 * ScoreRows)
        {
            Sse.Prefetch0(q + 4096);
            var w0 = Avx512BW.ConvertToVector512Int16(Vector256.Load(q));
            var w1 = Avx512BW.ConvertToVector512Int16(Vector256.Load(q + ScoreRows));
            MultiplyQuad<TTokens>(0, ref a0, ref b0, ref a1, ref b1, ref a2, ref b2, ref a3, ref b3, w0, w1, x, ldx);
            MultiplyQuad<TTokens>(4, ref a4, ref b4, ref a5, ref b5, ref a6, ref b6, ref a7, ref b7, w0, w1, x4, ldx);
        }

        AddScores<TTokens>(0, a0, b0, scores);
        AddScores<TTokens>(1, a1, b1, scores);
        AddScores<TTokens>(2, a2, b2, scores);
        AddScores<TTokens>(3, a3, b3, scores);
        AddScores<TTokens>(4, a4, b4, scores);
        AddScores<TTokens>(5, a5, b5, scores);
        AddScores<TTokens>(6, a6, b6, scores);
        AddScores<TTokens>(7, a7, b7, scores);
    }

    /// <summary>Up to four tokens of a tile. Products first, then sums: in turn, sums would take the ports of the multipliers (18 % slower on Zen 4).</summary>
    [MethodImpl(Inline)]
    private static void MultiplyQuad<TTokens>(int t, ref I a0, ref I b0, ref I a1, ref I b1, ref I a2, ref I b2, ref I a3, ref I b3, Vector512<short> w0, Vector512<short> w1, short* x, long ldx)
        where TTokens : struct, ICount
    {
        I p0 = default, p1 = default, p2 = default, p3 = default, q0 = default, q1 = default, q2 = default, q3 = default;
        if (TTokens.Value > t)
        {
            Products(w0, w1, x, out p0, out q0);
        }

        if (TTokens.Value > t + 1)
        {
            Products(w0, w1, x + ldx, out p1, out q1);
        }

        if (TTokens.Value > t + 2)
        {
            Products(w0, w1, x + (2 * ldx), out p2, out q2);
        }

        if (TTokens.Value > t + 3)
        {
            Products(w0, w1, x + (3 * ldx), out p3, out q3);
        }

        a0 += p0;
        b0 += q0;
        a1 += p1;
        b1 += q1;
        a2 += p2;
        b2 += q2;
        a3 += p3;
        b3 += q3;
    }

    [MethodImpl(Inline)]
    private static void Products(Vector512<short> w0, Vector512<short> w1, short* x, out I p, out I q)
    {
        var v = Vector512.Create(*(int*)x).AsInt16();
        p = Avx512BW.MultiplyAddAdjacent(w0, v);
        q = Avx512BW.MultiplyAddAdjacent(w1, v);
    }

    [MethodImpl(Inline)]
    private static void AddScores<TTokens>(int t, I a, I b, float* scores)
        where TTokens : struct, ICount
    {
        if (t < TTokens.Value)
        {
            var to = scores + (t * ScoreRows);
            (Vector512.Load(to) + Vector512.ConvertToSingle(a)).Store(to);
            (Vector512.Load(to + 16) + Vector512.ConvertToSingle(b)).Store(to + 16);
        }
    }

    // A number that the compiler knows: a tile without the accumulators that it does not need.
    private interface ICount
    {
        static abstract int Value { get; }
    }

    private readonly struct One : ICount
    {
        public static int Value => 1;
    }

    private readonly struct Two : ICount
    {
        public static int Value => 2;
    }

    private readonly struct Three : ICount
    {
        public static int Value => 3;
    }

    private readonly struct Four : ICount
    {
        public static int Value => 4;
    }

    private readonly struct Five : ICount
    {
        public static int Value => 5;
    }

    private readonly struct Six : ICount
    {
        public static int Value => 6;
    }

    private readonly struct Seven : ICount
    {
        public static int Value => 7;
    }

    private readonly struct Eight : ICount
    {
        public static int Value => 8;
    }
}
