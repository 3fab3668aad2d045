using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

// Ternary products of one token by lookup: tables of the token once, then blocks of rows.
public sealed unsafe partial class Ops
{
    // Tables of so few groups are built before another thread would have looked up: some 8 ns each.
    private const int SerialGroups = 600;

    private readonly TablesJob _tables = new();
    private readonly LookupJob _lookup = new();

    /// <summary>As <see cref="TernaryLinear(WeightMatrix, QuantizedRows, int, float*)"/> for the one row in <paramref name="q"/>, from the packed copy: the same bits.</summary>
    /// <exception cref="ArgumentException">The row held has another length than the matrix.</exception>
    public void TernaryLinear(LookupMatrix w, QuantizedRows q, float* y)
    {
        ArgumentNullException.ThrowIfNull(y);
        if (q.Columns != w.Columns || q.Rows < 1)
        {
            throw new ArgumentException($"An activation row of {q.Columns} for a matrix of {w.Columns} columns.");
        }

        WeightBytes += w.Bytes;
        if (!q.HasTables)
        {
            q.ReserveTables();
            _tables.Set(Kernels, q, _shares);
            RunRows(_tables, KernelSet.LookupGroups(q.Columns) / SerialGroups);
            q.HasTables = true;
        }

        _lookup.Set(Kernels, w, q, y, _shares);
        Run(_lookup);
    }

    private sealed class TablesJob : OperandJob
    {
        private KernelSet? _kernels;
        private WorkShares? _shares;
        private QuantizedRows? _q;

        public void Set(KernelSet kernels, QuantizedRows q, WorkShares shares)
        {
            (_kernels, _q, _shares) = (kernels, q, shares);
            shares.Begin(KernelSet.LookupGroups(q.Columns), 128);
        }

        public override void Clear() => _q = null;

        public override void Run(int worker, int workers)
        {
            for (var helped = 0; _shares!.TryTake(worker, ref helped, out var begin, out var end);)
            {
                _kernels!.BuildTables(_q!.Values, _q.Columns, begin, end, _q.Tables);
            }
        }
    }

    private sealed class LookupJob : OperandJob
    {
        private KernelSet? _kernels;
        private WorkShares? _shares;
        private LookupMatrix? _w;
        private QuantizedRows? _q;
        private float* _y;

        public void Set(KernelSet kernels, LookupMatrix w, QuantizedRows q, float* y, WorkShares shares)
        {
            (_kernels, _w, _q, _shares) = (kernels, w, q, shares);
            _y = y;
            shares.Begin(w.Blocks, Math.Max(1, w.Blocks / (16)));
        }

        public override void Clear() => (_w, _q) = (null, null);

        public override void Run(int worker, int workers)
        {
            for (var helped = 0; _shares!.TryTake(worker, ref helped, out var begin, out var end);)
            {
                _w!.Multiply(_kernels!, begin, end, _q!.Tables, _q.Multipliers[0], _y);
            }
        }
    }
}
