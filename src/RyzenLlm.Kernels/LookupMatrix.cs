using System.Runtime.Intrinsics;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

/// <summary>
/// A second copy of a ternary matrix for one token at a time: 1.6 bits per weight, five weights per byte, multiplied by looking up partial sums of the
/// activations. Its results have the bits of <see cref="Ops.TernaryLinear(WeightMatrix, QuantizedRows, int, float*)"/>: both are exact integer sums, scaled alike.
/// </summary>
/// <remarks>
/// Layout: blocks of 256 rows, in a block [group of five columns][row]. Belongs to the kernel path that packed it, whose order of activations it follows.
/// Read at the rate of memory it takes four fifths of the time of two bits per weight, at the price of the copy; several tokens at once go through
/// the original.
/// </remarks>
public sealed unsafe class LookupMatrix : IDisposable
{
    private readonly NativeBuffer<byte> _codes;
    private readonly NativeBuffer<int> _negatives;

    private LookupMatrix(WeightMatrix w, float scale)
    {
        (Rows, Columns, Scale) = (w.Rows, w.Columns, scale);
        Blocks = (w.Rows + KernelSet.LookupRows - 1) / KernelSet.LookupRows;
        Groups = KernelSet.LookupGroups(w.Columns);
        _codes = new((long)Blocks * Groups * KernelSet.LookupRows, zeroed: false);
        _negatives = new((long)Blocks * KernelSet.LookupRows);
    }

    /// <summary>Outputs.</summary>
    public int Rows { get; }

    /// <summary>Inputs.</summary>
    public int Columns { get; }

    /// <summary>Bytes that a product reads.</summary>
    public long Bytes => _codes.Length + (_negatives.Length * sizeof(int));

    internal float Scale { get; }

    internal int Blocks { get; }

    internal int Groups { get; }

    /// <summary>
    /// Packs a matrix on all threads, or returns null where that is of no use: the path has no lookup, blocks have several scales, or the rows make
    /// so few blocks that the thread with the most would have over an eighth more than its share.
    /// </summary>
    /// <exception cref="ArgumentException">The matrix is not ternary.</exception>
    public static LookupMatrix? TryPack(WeightMatrix w, Ops ops)
    {
        if (!KernelSet.IsTernary(w.Format.Type))
        {
            throw new ArgumentException($"{w.Name}: {w.Format} is not a ternary format.", nameof(w));
        }

        var share = ops.Team.Workers * KernelSet.LookupRows;
        var rows = (w.Rows + share - 1) / share * share;
        return ops.Kernels.HasLookup && rows - w.Rows <= w.Rows / 8 && TernaryPacking.TryUniformScale(w, out var scale) ? Pack(w, scale, ops) : null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _codes.Dispose();
        _negatives.Dispose();
    }

    /// <summary>Packs on any path, for comparison with its definition.</summary>
    internal static LookupMatrix Pack(WeightMatrix w, float scale, Ops ops)
    {
        var packed = new LookupMatrix(w, scale);
        ops.Team.Run(new PackJob(packed, w, ops.Kernels));
        return packed;
    }

    /// <summary>Outputs of the blocks [begin, end) for one token.</summary>
    internal void Multiply(KernelSet kernels, int begin, int end, byte* tables, float multiplier, float* y)
    {
        var sums = stackalloc int[2 * KernelSet.LookupRows];
        for (var block = begin; block < end; block += 2)
        {
            var blocks = Math.Min(2, end - block);
            kernels.Lookup(_codes.Pointer + ((long)block * Groups * KernelSet.LookupRows), blocks, tables, Groups, sums);
            var first = block * KernelSet.LookupRows;
            var negatives = _negatives.Pointer + first;
            for (var r = 0; r < Math.Min(blocks * KernelSet.LookupRows, Rows - first); r++)
            {
                y[first + r] = (sums[r] + negatives[r]) / multiplier * Scale;
            }
        }
    }

    private sealed class PackJob(LookupMatrix packed, WeightMatrix w, KernelSet kernels) : TeamJob
    {
        public override void Run(int worker, int workers)
        {
            var groups = packed.Groups;
            using var digits = new NativeBuffer<sbyte>((5L * groups) + 256 + 64);
            using var codes = new NativeBuffer<byte>(groups + 64);
            var (begin, end) = (packed.Blocks * worker / workers, packed.Blocks * (worker + 1) / workers);
            for (var m = begin * KernelSet.LookupRows; m < end * KernelSet.LookupRows; m++)
            {
                codes.Span.Clear();
                if (m < w.Rows)
                {
                    kernels.ReadDigits(w, m, digits.Pointer);
                    packed._negatives.Pointer[m] = Encode(digits.Pointer, groups, codes.Pointer);
                }

                var to = packed._codes.Pointer + ((long)(m / KernelSet.LookupRows) * groups * KernelSet.LookupRows) + (m % KernelSet.LookupRows);
                for (var g = 0; g < groups; g++)
                {
                    to[(long)g * KernelSet.LookupRows] = codes.Pointer[g];
                }
            }
        }

        /// <summary>Codes of the groups of a row, with whatever lies behind them; returns how many are negative.</summary>
        private static int Encode(sbyte* digits, int groups, byte* codes)
        {
            for (var g = 0; g < groups; g += 64)
            {
                var n = Vector512.Load(digits + (4L * groups) + g);
                for (var i = 3; i >= 0; i--)
                {
                    n = n + n + n + Vector512.Load(digits + ((long)i * groups) + g);
                }

                var magnitude = Vector512.ConditionalSelect(Vector512.LessThan(n, Vector512<sbyte>.Zero), -n, n);
                (magnitude.AsByte() | (n.AsByte() & Vector512.Create((byte)0x80))).Store(codes + g);
            }

            var negative = 0;
            for (var g = 0; g < groups; g++)
            {
                negative += codes[g] >> 7;
            }

            return negative;
        }
    }
}
