namespace RyzenLlm.Kernels;

/// <summary>Operands of one float product: weight rows at <see cref="W"/>, one output column per row at <see cref="Y"/>.</summary>
internal readonly unsafe struct Product(byte* w, long rowBytes, byte* end, int rows, int columns, float* x, long ldx, int n, float* y, long ldy)
{
    public readonly byte* W = w;
    public readonly long RowBytes = rowBytes;

    /// <summary>End of the matrix in memory: nothing behind it is read.</summary>
    public readonly byte* End = end;
    public readonly int Rows = rows;
    public readonly int Columns = columns;
    public readonly float* X = x;
    public readonly long LdX = ldx;
    public readonly int N = n;
    public readonly float* Y = y;
    public readonly long LdY = ldy;

    /// <summary>The same weights without activations.</summary>
    public Product WithoutTokens() => new(W, RowBytes, End, Rows, Columns, null, 0, 0, null, 0);
}

/// <summary>The last columns of a row that fill no group of vectors.</summary>
internal unsafe struct TailColumns
{
    /// <summary>Activations, padded with zeros to a group, one row behind the other.</summary>
    public float* X;

    /// <summary>One group of lanes, all bits set in those that are columns.</summary>
    public int* Mask;

    /// <summary>Zeroed room for the bytes of one group.</summary>
    public byte* Spare;

    /// <summary>Columns, 0 where there is no tail.</summary>
    public int Columns;

    /// <summary>Bytes of those columns in one row.</summary>
    public int Bytes;

    /// <summary>Room that <see cref="Prepare"/> needs.</summary>
    public static long Floats(int tokens, int group) => (tokens + 2L) * group;

    /// <summary>Copies the last columns % group activations of every token and sets the mask.</summary>
    /// <param name="product">Operands.</param>
    /// <param name="group">Columns of a group.</param>
    /// <param name="groupBytes">Bytes of a group in a row of weights, at most 4 per column.</param>
    /// <param name="to">Receives <see cref="Floats"/> floats.</param>
    public static TailColumns Prepare(in Product product, int group, int groupBytes, float* to)
    {
        var columns = product.Columns % group;
        if (columns == 0)
        {
            return default;
        }

        new Span<float>(to, (int)Floats(product.N, group)).Clear();
        for (var t = 0; t < product.N; t++)
        {
            new Span<float>(product.X + (t * product.LdX) + product.Columns - columns, columns).CopyTo(new Span<float>(to + (t * group), columns));
        }

        var mask = (int*)to + (product.N * group);
        new Span<int>(mask, columns).Fill(-1);
        return new TailColumns
        {
            X = to,
            Mask = mask,
            Spare = (byte*)(mask + group),
            Columns = columns,
            Bytes = (int)(product.RowBytes - (product.Columns / group * (long)groupBytes)),
        };
    }
}
