using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

/// <summary>How <see cref="Ops.Linear"/> treats activations.</summary>
public enum Precision
{
    /// <summary>As floats, for every format.</summary>
    Exact,

    /// <summary>
    /// In 16-bit fixed point with a unit per 32 where that is faster (Q8_0 and Q4_0, on paths with <see cref="KernelSet.HasFixedPoint"/>): an error
    /// of 2^-16 of the block's largest activation, far below that of the weights. As independent of batch and split as the exact product.
    /// </summary>
    Fast,

    /// <summary>As <see cref="Fast"/> with 8 bits: an error of 2^-8 of the block's largest activation, still below that of 4-bit weights. For guesses.</summary>
    Coarse,
}

/// <summary>
/// The checked entries to the kernels: one kernel path and one thread team, shared by all models of a process that run one after the other.
/// Pointers are to <see cref="NativeBuffer{T}"/> memory of the stated extent.
/// </summary>
/// <remarks>Not for concurrent use: a region owns the team until it returns.</remarks>
public sealed unsafe partial class Ops : IDisposable
{
    // Multiply-adds of a piece of work: some 5 µs, of which taking it is a hundredth. The threads wait for one another for half a piece, in hundreds of regions per token.
    private const long PieceOfWork = 1_000_000;

    private readonly WorkShares _shares;
    private readonly LinearJob _linear;
    private readonly RowsJob _rows;
    private readonly FixedRowsJob _fixedRows;
    private readonly FixedJob _fixed;
    private readonly bool _ownsTeam;

    /// <summary>Binds a kernel path to a team of <paramref name="threads"/> threads.</summary>
    /// <param name="kernels">Kernel path.</param>
    /// <param name="threads">Threads, the caller included.</param>
    /// <param name="pin">Whether the threads are tied to processors, see <see cref="ThreadTeam(int, bool?)"/>.</param>
    public Ops(KernelSet kernels, int threads, bool? pin = null)
        : this(kernels, new ThreadTeam(threads, pin)) => _ownsTeam = true;

    /// <summary>Binds a kernel path to a team that others use as well, though never at the same time; its owner disposes of it.</summary>
    /// <param name="kernels">Kernel path.</param>
    /// <param name="team">The threads.</param>
    public Ops(KernelSet kernels, ThreadTeam team)
    {
        Kernels = kernels;
        Team = team;
        _shares = new(team.Workers);
        _linear = new(kernels, _shares);
        _ternary = new(kernels, _shares);
        _quantize = new(kernels, _shares);
        _rows = new(_shares);
        _fixedRows = new(kernels, _shares);
        _fixed = new(kernels, _shares);
        _lookup = new(kernels, _shares);
    }

    /// <summary>Work on one row (or one head, or one channel block) of a batch.</summary>
    public delegate void RowWork(int index);

    /// <summary>The kernel path.</summary>
    public KernelSet Kernels { get; }

    /// <summary>The thread team.</summary>
    public ThreadTeam Team { get; }

    /// <summary>Bytes of weights that the products so far have read.</summary>
    public long WeightBytes { get; internal set; }

    /// <summary>Precision of <see cref="Linear"/>.</summary>
    public Precision Precision { get; set; }

    /// <summary>y[t, m] = sum_k w[m, k] x[t, k] for n rows, activations as <see cref="Precision"/> says; x is [n][w.Columns], y is [n][w.Rows].</summary>
    /// <exception cref="ArgumentOutOfRangeException">n is negative.</exception>
    /// <exception cref="ArgumentNullException">x or y is null.</exception>
    public void Linear(WeightMatrix w, float* x, int n, float* y)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(n);
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(y);
        WeightBytes += w.Bytes;
        if (Precision != Precision.Exact && Kernels.HasFixedPoint && KernelSet.IsFixed(w.Format.Type))
        {
            _fixedRows.Reserve(n, w.Columns);
            _fixedRows.Set(x, n, w.Columns, Precision == Precision.Fast ? KernelSet.FixedSteps : KernelSet.CoarseSteps);
            RunRows(_fixedRows, n);
            _fixed.Set(w, _fixedRows, n, y);
            Run(_fixed);
            return;
        }

        _linear.Set(w, x, n, y);
        Run(_linear);
    }

    /// <summary>Runs <paramref name="work"/> for every index in [0, n), on whichever thread is free. Keep the delegate: creating one allocates.</summary>
    /// <param name="n">Number of indices.</param>
    /// <param name="work">What to do for each.</param>
    /// <param name="grain">Indices that a thread takes at a time; by default an eighth of its share, which suits work of a few microseconds.</param>
    public void ForEach(int n, RowWork work, int grain = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(n);
        if (n == 1)
        {
            work(0); // the row of a decoded token: others would only wait
            return;
        }

        _rows.Set(n, work, grain);
        Run(_rows);
    }

    /// <summary>Runs what is done once while a model is loaded: on all threads, or on the caller alone where the team is another's, who may be using it now.</summary>
    internal void Prepare(TeamJob job)
    {
        if (_ownsTeam)
        {
            Team.Run(job);
        }
        else
        {
            job.Run(0, 1);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_ownsTeam)
        {
            Team.Dispose();
        }

        _shares.Dispose();
        _fixedRows.Dispose();
    }

    // Jobs let go of their operands afterwards, so that an unloaded model is not kept alive by the last product it ran.
    private void Run(OperandJob job)
    {
        try
        {
            Team.Run(job);
        }
        finally
        {
            job.Clear();
        }
    }

    // A single row, that of a decoded token, is done before another thread would have looked up.
    private void RunRows(OperandJob job, int rows)
    {
        if (rows > 1)
        {
            Run(job);
            return;
        }

        job.Run(0, 1);
        job.Clear();
    }

    // Pieces are multiples of 32 output rows, so that no two threads write one cache line and tiles stay whole; sixteen or more per thread, so that none has
    // much more than its part where a single token makes little work.
    private static int RowsPerPiece(int rows, int columns, int n, int workers, int least = 32) =>
        (int)Math.Clamp((Math.Min(PieceOfWork / ((long)columns * Math.Max(n, 1)), rows / (16 * workers)) + 31) & ~31L, least, int.MaxValue & ~31);

    // Float products rearrange the activations anew for every piece: 256 rows repay that. Smaller matrices are still cut for all threads.
    private static int RowsPerFloatPiece(WeightMatrix w, int n, int workers) =>
        RowsPerPiece(w.Rows, w.Columns, n, workers, Math.Clamp(((w.Rows / workers) + 31) & ~31, 32, 256));

    private abstract class OperandJob : TeamJob
    {
        public abstract void Clear();
    }

    private sealed class LinearJob(KernelSet kernels, WorkShares shares) : OperandJob
    {
        private WeightMatrix? _w;
        private float* _x;
        private float* _y;
        private int _n;

        public void Set(WeightMatrix w, float* x, int n, float* y)
        {
            _w = w;
            _x = x;
            _n = n;
            _y = y;
            shares.Begin(w.Rows, RowsPerFloatPiece(w, n, shares.Workers));
        }

        public override void Clear() => _w = null;

        public override void Run(int worker, int workers)
        {
            var w = _w!;
            for (var helped = 0; shares.TryTake(worker, ref helped, out var begin, out var end);)
            {
                kernels.MatMul(w, begin, end, _x, w.Columns, _n, _y, w.Rows);
            }
        }
    }

    private sealed class RowsJob(WorkShares shares) : OperandJob
    {
        private RowWork? _work;

        public void Set(int n, RowWork work, int grain)
        {
            _work = work;
            if (grain > 0)
            {
                shares.Begin(n, grain);
            }
            else
            {
                shares.BeginRows(n);
            }
        }

        public override void Clear() => _work = null;

        public override void Run(int worker, int workers)
        {
            for (var helped = 0; shares.TryTake(worker, ref helped, out var begin, out var end);)
            {
                for (var i = begin; i < end; i++)
                {
                    _work!(i);
                }
            }
        }
    }

    private sealed class FixedRowsJob(KernelSet kernels, WorkShares shares) : OperandJob, IDisposable
    {
        private NativeBuffer<short>? _values;
        private NativeBuffer<float>? _units;
        private float* _x;
        private int _columns;

        public short* Values => _values!.Pointer;

        public float* Units => _units!.Pointer;

        /// <summary>Grows to the largest batch seen.</summary>
        public void Reserve(int n, int columns)
        {
            var length = (long)n * columns;
            if (_values is null || _values.Length < length)
            {
                Dispose();
                _values = new(length);
                _units = new(length / KernelSet.FixedBlock);
            }
        }

        /// <summary>Largest value.</summary>
        public int Steps { get; private set; }

        public void Set(float* x, int n, int columns, int steps)
        {
            _x = x;
            _columns = columns;
            Steps = steps;
            shares.BeginRows(n);
        }

        public override void Clear() => _x = null;

        public override void Run(int worker, int workers)
        {
            for (var helped = 0; shares.TryTake(worker, ref helped, out var begin, out var end);)
            {
                for (var t = (long)begin; t < end; t++)
                {
                    kernels.QuantizeFixed(_x + (t * _columns), _columns, Steps, Values + (t * _columns), Units + (t * (_columns / KernelSet.FixedBlock)));
                }
            }
        }

        public void Dispose()
        {
            _values?.Dispose();
            _units?.Dispose();
            (_values, _units) = (null, null);
        }
    }

    private sealed class FixedJob(KernelSet kernels, WorkShares shares) : OperandJob
    {
        private WeightMatrix? _w;
        private FixedRowsJob? _x;
        private int _n;
        private float* _y;

        public void Set(WeightMatrix w, FixedRowsJob x, int n, float* y)
        {
            _w = w;
            _x = x;
            _n = n;
            _y = y;
            shares.Begin(w.Rows, RowsPerPiece(w.Rows, w.Columns, n, shares.Workers));
        }

        public override void Clear() => (_w, _x) = (null, null);

        public override void Run(int worker, int workers)
        {
            var w = _w!;
            for (var helped = 0; shares.TryTake(worker, ref helped, out var begin, out var end);)
            {
                kernels.MatMulFixed(w, begin, end, _x!.Values, _x.Units, _x.Steps, _n, _y, w.Rows);
            }
        }
    }
}
