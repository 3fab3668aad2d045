using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

/// <summary>
/// A second copy of a ternary matrix, 1.78 bits per weight: nine weights are three numbers of five bits, multiplied by looking up the sum of three
/// activations. Its results have the bits of the product in place: both are exact integer sums, scaled alike.
/// </summary>
/// <remarks>
/// Layout: [run of 28 words][panel of 64 rows][word][row], so that the tables of a run stay in the caches while all panels pass, in the order of memory. Belongs to the kernel path that packed it, whose order of activations it follows. Nothing
/// reads the original any more, whose pages may go.
/// </remarks>
public sealed unsafe class LookupMatrix
{
    private readonly ushort* _words;
    private readonly object _owner;

    /// <summary>Wraps words that lie at <paramref name="words"/>.</summary>
    /// <param name="rows">Outputs.</param>
    /// <param name="columns">Inputs.</param>
    /// <param name="scale">What a sum of weights -1..1 times activations is multiplied by.</param>
    /// <param name="words"><see cref="BytesOf"/> bytes, aligned to 64.</param>
    /// <param name="owner">Object whose life keeps the memory valid.</param>
    public LookupMatrix(int rows, int columns, float scale, byte* words, object owner)
    {
        ArgumentNullException.ThrowIfNull(words);
        ArgumentOutOfRangeException.ThrowIfNotEqual((nuint)words % 64, 0u, nameof(words));
        (Rows, Columns, Scale, _owner) = (rows, columns, scale, owner);
        _words = (ushort*)words;
        Panels = PanelsOf(rows);
        Words = KernelSet.LookupWords(columns);
    }

    /// <summary>Outputs.</summary>
    public int Rows { get; }

    /// <summary>Inputs.</summary>
    public int Columns { get; }

    /// <summary>Bytes that a product reads.</summary>
    public long Bytes => BytesOf(Rows, Columns);

    /// <summary>What a sum of weights -1..1 times activations is multiplied by.</summary>
    public float Scale { get; }

    /// <summary>Runs of <see cref="KernelSet.LookupRows"/> rows.</summary>
    internal int Panels { get; }

    /// <summary>Words of a row.</summary>
    internal int Words { get; }

    /// <summary>Bytes of the copy of a matrix, a multiple of 64.</summary>
    public static long BytesOf(int rows, int columns) => (long)PanelsOf(rows) * KernelSet.LookupWords(columns) * KernelSet.LookupRows * sizeof(ushort);

    /// <summary>Packs a matrix (see <see cref="Ops.Prepare"/>), or returns null where it has no use: the path has no lookup, or blocks have several scales.</summary>
    /// <param name="w">Ternary matrix.</param>
    /// <param name="ops">Kernel path and threads.</param>
    /// <param name="words">Where to: <see cref="BytesOf"/> bytes, aligned to 64.</param>
    /// <param name="owner">Object whose life keeps that memory valid.</param>
    /// <exception cref="ArgumentException">The matrix is not ternary.</exception>
    public static LookupMatrix? TryPack(WeightMatrix w, Ops ops, byte* words, object owner)
    {
        if (!KernelSet.IsTernary(w.Format.Type))
        {
            throw new ArgumentException($"{w.Name}: {w.Format} is not a ternary format.", nameof(w));
        }

        return ops.Kernels.HasLookup && TernaryPacking.TryUniformScale(w, out var scale) ? Pack(w, scale, ops, words, owner) : null;
    }

    /// <summary>Packs on any path, for comparison with its definition.</summary>
    internal static LookupMatrix Pack(WeightMatrix w, float scale, Ops ops, byte* words, object owner)
    {
        var packed = new LookupMatrix(w.Rows, w.Columns, scale, words, owner);
        w = w.Format.Type == QuantType.TQ1_0 ? TernaryPacking.TryToI2_S(w)! : w;
        ops.Prepare(new PackJob(packed, w, ops.Kernels));
        return packed;
    }

    /// <summary>The words of a panel from the first of a run on, up to the end of that run: [word][row].</summary>
    internal ushort* At(int panel, int word)
    {
        var count = Math.Min(KernelSet.LookupRun, Words - word);
        return _words + ((((long)word * Panels) + ((long)panel * count)) * KernelSet.LookupRows);
    }

    private static int PanelsOf(int rows) => (rows + KernelSet.LookupRows - 1) / KernelSet.LookupRows;

    private sealed class PackJob(LookupMatrix packed, WeightMatrix w, KernelSet kernels) : TeamJob
    {
        private int _next = -1;

        public override void Run(int worker, int workers)
        {
            using var words = new NativeBuffer<ushort>((long)packed.Words * KernelSet.LookupRows, zeroed: false);
            for (int panel; (panel = Interlocked.Increment(ref _next)) < packed.Panels;)
            {
                kernels.PackLookup(w, panel * KernelSet.LookupRows, words.Pointer);
                for (var word = 0; word < packed.Words; word += KernelSet.LookupRun)
                {
                    var length = Math.Min(KernelSet.LookupRun, packed.Words - word) * KernelSet.LookupRows;
                    words.Span.Slice(word * KernelSet.LookupRows, length).CopyTo(new(packed.At(panel, word), length));
                }
            }
        }
    }
}
