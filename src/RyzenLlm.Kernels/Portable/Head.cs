namespace RyzenLlm.Kernels;

// The int8 copy of an output head. It lies in panels of 32 rows, [panel][pair of columns][32 rows][2 columns]: lanes are rows, so that no sum runs across
// lanes, and any number of tokens reads one stream.
public unsafe partial class KernelSet
{
    /// <summary>Rows of a panel.</summary>
    internal const int ScoreRows = 32;

    /// <summary>Columns whose products are added as integers: 512 * 127 * 32767 &lt; 2^31.</summary>
    internal const int ScoreColumns = 512;

    /// <summary>Codes q of a row w = s q + d with |q| at most 127; any rounding will do, what it misses is in d.</summary>
    /// <param name="row">Finite values.</param>
    /// <param name="columns">Length.</param>
    /// <param name="codes">Receives the codes.</param>
    /// <param name="squares">Receives |d|², |s q|² and |w|², up to the rounding of double sums.</param>
    /// <returns>The scale s.</returns>
    internal virtual float PackInt8(float* row, int columns, sbyte* codes, out (double Residual, double Quantised, double Values) squares)
    {
        var largest = 0f;
        for (var k = 0; k < columns; k++)
        {
            largest = Math.Max(largest, Math.Abs(row[k]));
        }

        var scale = largest / 127;
        PackInt8(row, columns, scale, codes, out squares);
        return scale;
    }

    private protected static void PackInt8(float* row, int columns, float scale, sbyte* codes, out (double Residual, double Quantised, double Values) squares)
    {
        var inverse = scale == 0 ? 0 : 1 / scale;
        squares = default;
        for (var k = 0; k < columns; k++)
        {
            var q = (int)Math.Clamp(MathF.Round(row[k] * inverse), -127, 127);
            codes[k] = (sbyte)q;
            var value = (double)scale * q;
            squares.Quantised += value * value;
            squares.Values += (double)row[k] * row[k];
            squares.Residual += (row[k] - value) * (row[k] - value);
        }
    }

    /// <summary>Bytes of a row of nibbles: 32 columns in 16 bytes, column k in the low half of byte k, column k + 16 in the high half.</summary>
    internal static int NibbleRowBytes(int columns) => (columns + 31) / 32 * 16;

    /// <summary>Nibbles c that go on where the codes of a row end: w = s (q + (c - 7.5) / 16) + d'; any rounding will do, what it misses is in d'.</summary>
    /// <param name="row">Finite values.</param>
    /// <param name="codes">Codes q.</param>
    /// <param name="scale">Their scale s.</param>
    /// <param name="columns">Length.</param>
    /// <param name="nibbles">Receives <see cref="NibbleRowBytes"/> bytes.</param>
    /// <returns>|d'|², up to a ten-thousandth of it and (2^-22 |d|)², d = w - s q.</returns>
    internal virtual double PackNibbles(float* row, sbyte* codes, float scale, int columns, byte* nibbles)
    {
        new Span<byte>(nibbles, NibbleRowBytes(columns)).Clear();
        var inverse = scale == 0 ? 0 : 16 / (double)scale;
        var squares = 0d;
        for (var k = 0; k < columns; k++)
        {
            var missed = row[k] - ((double)scale * codes[k]);
            var c = (int)Math.Clamp((missed * inverse) + 8, 0, 15);
            var left = missed - (scale * (c - 7.5) / 16);
            squares += left * left;
            nibbles[(k / 32 * 16) + (k % 16)] |= (byte)(c << (k % 32 / 16 * 4));
        }

        return squares;
    }

    /// <summary>Sum over k of c[k] x[k].</summary>
    /// <param name="nibbles">As <see cref="PackNibbles"/> writes them.</param>
    /// <param name="x">From -32767 to 32767, with zeros up to a multiple of 32.</param>
    /// <param name="columns">Length.</param>
    internal virtual long DotNibbles(byte* nibbles, short* x, int columns)
    {
        var sum = 0L;
        for (var k = 0; k < columns; k++)
        {
            sum += (nibbles[(k / 32 * 16) + (k % 16)] >> (k % 32 / 16 * 4) & 15) * x[k];
        }

        return sum;
    }

    /// <summary>32 rows of codes as a panel.</summary>
    /// <param name="codes">Row r at codes + r columns.</param>
    /// <param name="columns">Length of a row, even.</param>
    /// <param name="panel">Receives 32 columns codes.</param>
    internal virtual void PackPanel(sbyte* codes, int columns, sbyte* panel)
    {
        for (var r = 0; r < ScoreRows; r++)
        {
            var row = (short*)(codes + ((long)r * columns));
            for (var pair = 0; pair < columns / 2; pair++)
            {
                ((short*)panel)[((long)pair * ScoreRows) + r] = row[pair];
            }
        }
    }

    /// <summary>
    /// scores[t, r] = sum over k of q[r, k] x[t, k] of one panel. All paths give the same bits: 512 columns are added as integers, exact in 32 bits,
    /// and these sums, rounded to floats, from zero in the order of the columns.
    /// </summary>
    /// <param name="panel">Codes from -127 to 127.</param>
    /// <param name="columns">Columns, even.</param>
    /// <param name="x">Tokens, token t at x + t ldx, from -32767 to 32767.</param>
    /// <param name="ldx">Elements between tokens.</param>
    /// <param name="tokens">Number of tokens.</param>
    /// <param name="scores">Receives [tokens][32].</param>
    internal virtual void ScorePanel(sbyte* panel, int columns, short* x, long ldx, int tokens, float* scores)
    {
        new Span<float>(scores, tokens * ScoreRows).Clear();
        for (var first = 0; first < columns; first += ScoreColumns)
        {
            var last = Math.Min(columns, first + ScoreColumns);
            for (var t = 0; t < tokens; t++)
            {
                for (var r = 0; r < ScoreRows; r++)
                {
                    var sum = 0;
                    for (var k = first; k < last; k++)
                    {
                        sum += panel[((k & ~1) * ScoreRows) + (2 * r) + (k & 1)] * x[(t * ldx) + k];
                    }

                    scores[(t * ScoreRows) + r] += sum;
                }
            }
        }
    }
}
