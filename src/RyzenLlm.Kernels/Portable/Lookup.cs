using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Kernels;

// Ternary products by lookup (T-MAC, Wei et al. 2024), exact and for any number of tokens: three digits d_0, d_1, d_2 of 0..2 (weight = digit - 1) are the number
// d_0 + 3 d_1 + 9 d_2 below 27, and a table holds the 27 sums of digit times activation, 16 bits each: 32 entries are one 512-bit vector, and one vpermw looks
// up 32 rows. Three such numbers of 5 bits make a word of 16 bits: 9 weights, 1.78 bits each. vpermw ignores the higher bits of an index, so that the second
// and the third cost a shift for all tokens and no mask.
//
// Words follow the order that the path's QuantizeRow writes. Four words (a quad) hold 36 of these columns: number i of word b those of 36 Q + 12 i + b + {0, 4, 8},
// because packing finds four columns of a row in one 32-bit lane. Columns behind the row have digit 1, weight 0.
//
// digit = weight + 1: the sums of a run of 28 words, 252 columns, start with minus the sum of its activations. What is left, sum of weight times activation, is at
// most 252 * 127 = 32004 (QuantizeRow writes -127..127), so 16 bits that wrap on the way hold it.
public unsafe partial class KernelSet
{
    /// <summary>Rows whose words lie side by side.</summary>
    internal const int LookupRows = 64;

    /// <summary>Entries of a table, of which 27 are used.</summary>
    internal const int TableEntries = 32;

    /// <summary>Words whose sums fit 16 bits.</summary>
    internal const int LookupRun = 28;

    /// <summary>Tokens that one call of <see cref="Lookup"/> takes.</summary>
    internal const int LookupTokens = 8;

    internal const int WordsPerQuad = 4;
    internal const int ColumnsPerQuad = 36;
    internal const int TablesPerWord = 3;

    /// <summary>Digits 1, 1, 1 three times over: weights 0.</summary>
    private protected const ushort ZeroWord = 13 | (13 << 5) | (13 << 10);

    /// <summary>Whether this path has instructions for <see cref="Lookup"/>; the portable loop is its definition only.</summary>
    public virtual bool HasLookup => false;

    /// <summary>Words of a row of <paramref name="columns"/> weights.</summary>
    internal static int LookupWords(int columns) => (StoredColumns(columns) + ColumnsPerQuad - 1) / ColumnsPerQuad * WordsPerQuad;

    /// <summary>Words of up to <see cref="LookupRows"/> rows: words[word][row], rows behind the last with weights 0.</summary>
    /// <param name="w">I2_S or TQ2_0, or TQ1_0 on paths that keep activations in their own order.</param>
    /// <param name="first">First row.</param>
    /// <param name="words">Receives <see cref="LookupWords"/> x <see cref="LookupRows"/> words.</param>
    internal virtual void PackLookup(WeightMatrix w, int first, ushort* words)
    {
        var quads = LookupWords(w.Columns) / WordsPerQuad;
        var digits = new sbyte[quads * ColumnsPerQuad];
        new Span<ushort>(words, quads * WordsPerQuad * LookupRows).Fill(ZeroWord);
        for (var r = 0; r < Math.Min(LookupRows, w.Rows - first); r++)
        {
            fixed (sbyte* d = digits)
            {
                for (var block = 0; block < w.Columns / w.Format.BlockLength; block++)
                {
                    _ = DecodeTernary(w, first + r, block, d + (block * w.Format.BlockLength));
                }
            }

            for (var word = 0; word < quads * WordsPerQuad; word++)
            {
                var bits = 0;
                for (var i = TablesPerWord - 1; i >= 0; i--)
                {
                    var k = FirstColumn(word, i);
                    bits = (bits << 5) | (digits[k] + 1 + (3 * (digits[k + 4] + 1)) + (9 * (digits[k + 8] + 1)));
                }

                words[((long)word * LookupRows) + r] = (ushort)bits;
            }
        }

        GC.KeepAlive(w);
    }

    /// <summary>Tables of a run of words of one quantised row; returns minus the sum of its activations.</summary>
    /// <param name="q">Row from <see cref="QuantizeRow"/>, from the run's first column on; up to 40 bytes behind its end are read and count nowhere.</param>
    /// <param name="stored">Columns from there on.</param>
    /// <param name="count">Words, a multiple of 4, at most <see cref="LookupRun"/>.</param>
    /// <param name="tables">Receives table number g, which is 3 word + i, at g * <paramref name="ldt"/>.</param>
    /// <param name="ldt">Elements between tables: those of several tokens lie side by side.</param>
    internal virtual short BuildTables(sbyte* q, int stored, int count, short* tables, long ldt)
    {
        var sum = 0;
        for (var word = 0; word < count; word++)
        {
            for (var i = 0; i < TablesPerWord; i++)
            {
                var k = FirstColumn(word, i);
                var x0 = k < stored ? q[k] : 0;
                var x1 = k + 4 < stored ? q[k + 4] : 0;
                var x2 = k + 8 < stored ? q[k + 8] : 0;
                var table = tables + (((word * TablesPerWord) + i) * ldt);
                for (var e = 0; e < TableEntries; e++)
                {
                    table[e] = (short)(e < 27 ? (e % 3 * x0) + (e / 3 % 3 * x1) + (e / 9 * x2) : 0);
                }

                sum += x0 + x1 + x2;
            }
        }

        return (short)-sum;
    }

    /// <summary>sums[t lds + r] += start of t + sum of the table entries of row r, for <see cref="LookupRows"/> rows.</summary>
    /// <param name="words">[count][<see cref="LookupRows"/>].</param>
    /// <param name="count">Words, at most <see cref="LookupRun"/>.</param>
    /// <param name="tables">[3 count][tokens][<see cref="TableEntries"/>].</param>
    /// <param name="starts">[tokens].</param>
    /// <param name="tokens">1 to <see cref="LookupTokens"/>.</param>
    /// <param name="ahead">What will be read next: as many lines as the words take are fetched from there.</param>
    /// <param name="sums">Sums so far.</param>
    /// <param name="lds">Elements between tokens.</param>
    internal virtual void Lookup(ushort* words, int count, short* tables, short* starts, int tokens, ushort* ahead, int* sums, long lds)
    {
        for (var t = 0; t < tokens; t++)
        {
            for (var r = 0; r < LookupRows; r++)
            {
                int sum = starts[t];
                for (var g = 0; g < count * TablesPerWord; g++)
                {
                    var index = words[(g / TablesPerWord * LookupRows) + r] >> (5 * (g % TablesPerWord)) & 31;
                    sum += tables[(((g * tokens) + t) * TableEntries) + index];
                }

                sums[(t * lds) + r] += sum;
            }
        }
    }

    /// <summary>y[r] = sums[r] / a * scale: what <see cref="MatMulTernary"/> does with a sum.</summary>
    internal virtual void ScaleSums(int* sums, int rows, float a, float scale, float* y)
    {
        for (var r = 0; r < rows; r++)
        {
            y[r] = sums[r] / a * scale;
        }
    }

    /// <summary>Columns of a row as <see cref="QuantizeRow"/> writes it.</summary>
    internal static int StoredColumns(int columns) => (columns + TernaryPadding - 1) & -TernaryPadding;

    /// <summary>First of the three columns of number i of a word; the others are 4 and 8 behind it.</summary>
    private static int FirstColumn(int word, int i) => (word / WordsPerQuad * ColumnsPerQuad) + (12 * i) + (word % WordsPerQuad);
}
