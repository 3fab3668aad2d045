using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

/// <summary>Int8 activation rows of one ternary product: values in the kernel path's own order, multiplier and sum per row.</summary>
public sealed unsafe class QuantizedRows : IDisposable
{
    private readonly NativeBuffer<sbyte> _values;
    private readonly NativeBuffer<float> _multipliers;
    private readonly NativeBuffer<int> _sums;

    /// <summary>Room for rows of up to <paramref name="columns"/> values.</summary>
    public QuantizedRows(int rows, int columns)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        Rows = rows;
        Stride = checked(columns + KernelSet.TernaryPadding - 1) & -KernelSet.TernaryPadding;
        _values = new((long)rows * Stride);
        _multipliers = new(rows);
        _sums = new(rows);
    }

    /// <summary>Row capacity.</summary>
    public int Rows { get; }

    /// <summary>Elements between rows.</summary>
    public int Stride { get; }

    /// <summary>Columns of the rows held now.</summary>
    public int Columns { get; internal set; }

    internal sbyte* Values => _values.Pointer;

    internal float* Multipliers => _multipliers.Pointer;

    internal int* Sums => _sums.Pointer;

    /// <inheritdoc/>
    public void Dispose()
    {
        _values.Dispose();
        _multipliers.Dispose();
        _sums.Dispose();
    }
}

/// <summary>A ternary product that shares its input, and its region, with others: <see cref="Ops.TernaryLinear(ReadOnlySpan{TernaryProduct}, QuantizedRows, int)"/>.</summary>
/// <param name="w">Ternary matrix.</param>
/// <param name="y">Receives [n][w.Rows].</param>
/// <param name="lookup">The packed copy of the matrix to be used instead, if there is one: the same results.</param>
public readonly unsafe struct TernaryProduct(WeightMatrix w, float* y, LookupMatrix? lookup = null)
{
    /// <summary>The matrix.</summary>
    public WeightMatrix W { get; } = w;

    /// <summary>Where the results go.</summary>
    public float* Y { get; } = y;

    /// <summary>The packed copy of <see cref="W"/>, or null.</summary>
    public LookupMatrix? Lookup { get; } = lookup;
}

// Ternary products of rounded activations.
public sealed unsafe partial class Ops
{
    // Ternary products in one region.
    private const int MostTogether = 4;

    private readonly TernaryJob _ternary;
    private readonly QuantizeJob _quantize;

    /// <summary>Rounds n rows [n][columns] of activations to int8 (see <see cref="KernelSet.QuantizeRow"/>).</summary>
    /// <exception cref="ArgumentException">More rows or columns than <paramref name="q"/> holds, or columns no multiple of 128.</exception>
    public void Quantize(float* x, int n, int columns, QuantizedRows q)
    {
        ArgumentNullException.ThrowIfNull(x);
        if (n < 0 || n > q.Rows || columns <= 0 || columns > q.Stride || columns % 128 != 0)
        {
            throw new ArgumentException($"{n} rows of {columns} do not fit {q.Rows} rows of {q.Stride} (columns must be a multiple of 128).");
        }

        q.Columns = columns;
        _quantize.Set(x, n, q);
        RunRows(_quantize, n);
    }

    /// <summary>Ternary product of n quantised rows; y is [n][w.Rows].</summary>
    /// <exception cref="ArgumentException">The rows held have another length than the matrix, or it is not ternary.</exception>
    public void TernaryLinear(WeightMatrix w, QuantizedRows q, int n, float* y) => TernaryLinear([new(w, y)], q, n);

    /// <summary>Up to four ternary products of the same n quantised rows in one region, so that the threads meet once.</summary>
    /// <exception cref="ArgumentException">The rows held have another length than a matrix, or it is not ternary, or there are too many.</exception>
    public void TernaryLinear(ReadOnlySpan<TernaryProduct> products, QuantizedRows q, int n)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(products.Length, MostTogether);
        foreach (var product in products)
        {
            var w = product.W;
            ArgumentNullException.ThrowIfNull(product.Y);
            if (!KernelSet.IsTernary(w.Format.Type))
            {
                throw new ArgumentException($"{w.Name}: {w.Format} is not a ternary format; use Linear.", nameof(products));
            }

            if (q.Columns != w.Columns || n < 0 || n > q.Rows)
            {
                throw new ArgumentException($"{w.Name}: {n} activation rows of {q.Columns} for a matrix of {w.Columns} columns.");
            }
        }

        var packed = 0;
        foreach (var product in products)
        {
            WeightBytes += product.Lookup?.Bytes ?? product.W.Bytes;
            packed += product.Lookup is null ? 0 : 1;
        }

        if (packed < products.Length)
        {
            _ternary.Set(products, q, n);
            Run(_ternary);
        }

        if (packed > 0)
        {
            LookupLinear(products, q, n);
        }
    }

    private sealed class TernaryJob(KernelSet kernels, WorkShares shares) : OperandJob
    {
        private readonly TernaryProduct[] _products = new TernaryProduct[MostTogether];
        private QuantizedRows? _q;
        private int _n;

        // Items are the rows of all matrices, one matrix after the other.
        public void Set(ReadOnlySpan<TernaryProduct> products, QuantizedRows q, int n)
        {
            products.CopyTo(_products);
            _q = q;
            _n = n;
            var rows = 0;
            foreach (var product in products)
            {
                rows += product.Lookup is null ? product.W.Rows : 0;
            }

            shares.Begin(rows, RowsPerPiece(rows, q.Columns, n, shares.Workers));
        }

        public override void Clear()
        {
            Array.Clear(_products);
            _q = null;
        }

        public override void Run(int worker, int workers)
        {
            for (var helped = 0; shares.TryTake(worker, ref helped, out var begin, out var end);)
            {
                for (var i = 0; begin < end; i++)
                {
                    if (_products[i].Lookup is not null)
                    {
                        continue;
                    }

                    var w = _products[i].W;
                    if (begin < w.Rows)
                    {
                        kernels.MatMulTernary(w, begin, Math.Min(end, w.Rows), _q!.Values, _q.Stride, _q.Multipliers, _q.Sums, _n, _products[i].Y, w.Rows);
                    }

                    begin = Math.Max(begin - w.Rows, 0);
                    end -= w.Rows;
                }
            }
        }
    }

    private sealed class QuantizeJob(KernelSet kernels, WorkShares shares) : OperandJob
    {
        private float* _x;
        private QuantizedRows? _q;

        public void Set(float* x, int n, QuantizedRows q)
        {
            _x = x;
            _q = q;
            shares.BeginRows(n);
        }

        public override void Clear() => _q = null;

        public override void Run(int worker, int workers)
        {
            for (var helped = 0; shares.TryTake(worker, ref helped, out var begin, out var end);)
            {
                for (var t = begin; t < end; t++)
                {
                    kernels.QuantizeRow(_x + ((long)t * _q!.Columns), _q.Columns, _q.Values + ((long)t * _q.Stride), out _q.Multipliers[t], out _q.Sums[t]);
                }
            }
        }
    }
}
