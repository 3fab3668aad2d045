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
            _tables.Set(Kernels, q);
            RunRows(_tables, KernelSet.LookupGroups(q.Columns) / SerialGroups);
            q.HasTables = true;
        }

        _lookup.Set(Kernels, w, q, y);
        Run(_lookup);
    }

    // Equal parts in multiples of the grain: these jobs read tables that fit the caches, so no worker is slower than another for its memory.
    private static (int Begin, int End) Share(int items, int grain, int worker, int workers)
    {
        var grains = (items + grain - 1) / grain;
        var begin = (int)((long)grains * worker / workers) * grain;
        var end = (int)((long)grains * (worker + 1) / workers) * grain;
        return (Math.Min(begin, items), Math.Min(end, items));
    }

    private sealed class TablesJob : OperandJob
    {
        private KernelSet? _kernels;
        private QuantizedRows? _q;

        public void Set(KernelSet kernels, QuantizedRows q) => (_kernels, _q) = (kernels, q);

        public override void Clear() => _q = null;

        public override void Run(int worker, int workers)
        {
            var (begin, end) = Share(KernelSet.LookupGroups(_q!.Columns), 16, worker, workers);
            _kernels!.BuildTables(_q.Values, _q.Columns, begin, end, _q.Tables);
        }
    }

    private sealed class LookupJob : OperandJob
    {
        private KernelSet? _kernels;
        private LookupMatrix? _w;
        private QuantizedRows? _q;
        private float* _y;

        public void Set(KernelSet kernels, LookupMatrix w, QuantizedRows q, float* y)
        {
            (_kernels, _w, _q) = (kernels, w, q);
            _y = y;
        }

        public override void Clear() => (_w, _q) = (null, null);

        public override void Run(int worker, int workers)
        {
            var (begin, end) = Share(_w!.Blocks, 1, worker, workers);
            _w.Multiply(_kernels!, begin, end, _q!.Tables, _q.Multipliers[0], _y);
        }
    }
}
