using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Kernels;

// Ternary products by lookup (T-MAC, Wei et al. 2024), exact: five weights d_0..d_4 of -1, 0, 1 are the balanced number sum of d_i 3^i, from -121 to 121.
// A code is its magnitude, with the sign in bit 7. A table holds the sum of d_i x_i of every magnitude, and a negative number takes the complement
// ~v = -v - 1 of its entry, so that sign and entry combine by exclusive or; the missing ones are the number of negative codes of a row, known beforehand.
//
// Group g holds the columns g, g + G, .., g + 4 G of the order that the path's QuantizeRow writes, G being the number of groups.
public unsafe partial class KernelSet
{
    /// <summary>Rows whose codes lie side by side.</summary>
    internal const int LookupRows = 256;

    /// <summary>Bytes of the table of a group: low bytes of the 128 sums, then high bytes.</summary>
    internal const int TableBytes = 256;

    /// <summary>Entry by entry, the digits of 0..121: [5][128], zeros behind.</summary>
    private protected static readonly short[] BalancedDigits = MakeBalancedDigits();

    /// <summary>Whether this path has instructions for <see cref="Lookup"/>; the portable loop is its definition only.</summary>
    public virtual bool HasLookup => false;

    /// <summary>Groups of five of a row of <paramref name="columns"/> weights, padded to a multiple of 256.</summary>
    internal static int LookupGroups(int columns) => (((columns + TernaryPadding - 1) & -TernaryPadding) + 4) / 5;

    /// <summary>The weights -1..1 of a row of I2_S, TQ1_0 or TQ2_0, without scales, in the order of <see cref="QuantizeRow"/>; zeros up to a multiple of 256.</summary>
    internal virtual void ReadDigits(WeightMatrix w, int m, sbyte* digits)
    {
        for (var block = 0; block < w.Columns / w.Format.BlockLength; block++)
        {
            _ = DecodeTernary(w, m, block, digits + ((long)block * w.Format.BlockLength));
        }

        new Span<sbyte>(digits + w.Columns, -w.Columns & (TernaryPadding - 1)).Clear();
        GC.KeepAlive(w);
    }

    /// <summary>Tables of the groups [begin, end) of a quantised row.</summary>
    /// <param name="q">Row from <see cref="QuantizeRow"/>.</param>
    /// <param name="columns">Its length.</param>
    /// <param name="begin">First group.</param>
    /// <param name="end">Behind the last group.</param>
    /// <param name="tables">Receives group g at g * <see cref="TableBytes"/>.</param>
    internal virtual void BuildTables(sbyte* q, int columns, int begin, int end, byte* tables)
    {
        var groups = LookupGroups(columns);
        var stored = (columns + TernaryPadding - 1) & -TernaryPadding;
        for (var g = begin; g < end; g++)
        {
            var table = tables + ((long)g * TableBytes);
            for (var u = 0; u < 128; u++)
            {
                var sum = 0;
                for (var i = 0; i < 5; i++)
                {
                    var k = g + (i * groups);
                    sum += k < stored ? BalancedDigits[(i * 128) + u] * q[k] : 0;
                }

                table[u] = (byte)sum;
                table[128 + u] = (byte)(sum >> 8);
            }
        }
    }

    /// <summary>sums[r] = sum over the groups of v or, where the code is negative, ~v, for all rows of some blocks.</summary>
    /// <param name="codes">[blocks][groups][<see cref="LookupRows"/>].</param>
    /// <param name="blocks">1 or 2.</param>
    /// <param name="tables">From <see cref="BuildTables"/>.</param>
    /// <param name="groups">Groups.</param>
    /// <param name="sums">Receives a sum per row, [blocks][<see cref="LookupRows"/>].</param>
    internal virtual void Lookup(byte* codes, int blocks, byte* tables, int groups, int* sums)
    {
        new Span<int>(sums, blocks * LookupRows).Clear();
        for (var i = 0; i < blocks * groups; i++, codes += LookupRows)
        {
            var (block, g) = Math.DivRem(i, groups);
            var table = tables + ((long)g * TableBytes);
            for (var r = 0; r < LookupRows; r++)
            {
                var u = codes[r] & 127;
                var v = (short)(table[u] | (table[128 + u] << 8));
                sums[(block * LookupRows) + r] += codes[r] > 127 ? ~v : v;
            }
        }
    }

    private static short[] MakeBalancedDigits()
    {
        var digits = new short[5 * 128];
        for (var u = 0; u <= 121; u++)
        {
            var rest = u;
            for (var i = 0; i < 5; i++)
            {
                var d = ((rest + 1) % 3) - 1;
                digits[(i * 128) + u] = (short)d;
                rest = (rest - d) / 3;
            }
        }

        return digits;
    }
}
