using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

// Ternary products by lookup: the tables of a block of tokens once, for all matrices that share the input, then panels of rows.
public sealed unsafe partial class Ops
{
    private readonly TablesJob _tables;
    private readonly LookupJob _lookup;

    /// <summary>The products among these that have a packed copy.</summary>
    private void LookupLinear(ReadOnlySpan<TernaryProduct> products, QuantizedRows q, int n)
    {
        for (var first = 0; first < n; first += LookupTables.MostRows)
        {
            var rows = Math.Min(LookupTables.MostRows, n - first);
            q.Tables.Reserve(rows, q.Columns);
            _tables.Set(q, first, rows);
            RunRows(_tables, rows);
            _lookup.Set(products, q, first, rows);
            Run(_lookup);
        }
    }

    private sealed class TablesJob(KernelSet kernels, WorkShares shares) : OperandJob
    {
        private QuantizedRows? _q;
        private int _first;
        private int _rows;

        public void Set(QuantizedRows q, int first, int rows)
        {
            (_q, _first, _rows) = (q, first, rows);
            shares.Begin(rows, 1);
        }

        public override void Clear() => _q = null;

        public override void Run(int worker, int workers)
        {
            var tables = _q!.Tables;
            for (var helped = 0; shares.TryTake(worker, ref helped, out var t, out _);)
            {
                var (group, place, size) = LookupTables.Group(t, _rows);
                kernels.BuildTables(
                    _q.Values + ((_first + t) * (long)_q.Stride),
                    _q.Columns,
                    tables.Of(group, 0, size) + (place * KernelSet.TableEntries),
                    size * KernelSet.TableEntries,
                    tables.StartsOf(group, 0, size) + place,
                    size);
            }
        }
    }

    private sealed class LookupJob(KernelSet kernels, WorkShares shares) : OperandJob
    {
        // Panels of a piece, whose sums (128 KB of them for most rows) stay in the second-level cache beside the tables of a run.
        private const int MostPanels = 16;

        // One token waits for memory: 8 KB ahead of a stretch that is read in order.
        private const int Ahead = 4096;

        private readonly TernaryProduct[] _products = new TernaryProduct[MostTogether];
        private QuantizedRows? _q;
        private int _first;
        private int _rows;

        // Items are the panels of all matrices, one matrix after the other, whole groups of them.
        public void Set(ReadOnlySpan<TernaryProduct> products, QuantizedRows q, int first, int rows)
        {
            products.CopyTo(_products);
            (_q, _first, _rows) = (q, first, rows);
            var panels = 0;
            foreach (var product in products)
            {
                panels += product.Lookup is { } w ? Items(w) : 0;
            }

            // Whole groups, in the order of memory, as long as there are two or more pieces for each thread.
            var most = rows == 1 ? LookupMatrix.PanelsPerGroup : MostPanels;
            shares.Begin(panels, (panels / (2 * shares.Workers)) switch
            {
                var share when share >= most => most,
                var share when share >= LookupMatrix.PanelsPerGroup => share & -LookupMatrix.PanelsPerGroup,
                _ => 1,
            });
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
                    if (_products[i].Lookup is not { } w)
                    {
                        continue;
                    }

                    if (begin < w.Panels)
                    {
                        Multiply(w, begin, Math.Min(end, w.Panels), _products[i].Y);
                    }

                    begin = Math.Max(begin - Items(w), 0);
                    end -= Items(w);
                }
            }
        }

        private static int Items(LookupMatrix w) => (w.Panels + LookupMatrix.PanelsPerGroup - 1) & -LookupMatrix.PanelsPerGroup;

        // Run by run, so that its tables are in the caches for all panels, and a panel's words for all groups of tokens.
        private void Multiply(LookupMatrix w, int begin, int end, float* y)
        {
            var q = _q!;
            var tables = q.Tables;
            var ld = (end - begin) * KernelSet.LookupRows;
            var sums = (int*)Scratch.TakeOuter((long)_rows * ld * sizeof(int));
            new Span<int>(sums, _rows * ld).Clear();
            for (var word = 0; word < w.Words; word += KernelSet.LookupRun)
            {
                var count = Math.Min(KernelSet.LookupRun, w.Words - word);
                for (var panel = begin; panel < end; panel++)
                {
                    var words = w.At(panel, word);
                    var ahead = _rows == 1 ? words + Ahead : panel + 1 < end ? w.At(panel + 1, word) : w.At(begin, Math.Min(word + KernelSet.LookupRun, w.Words));
                    for (var t = 0; t < _rows;)
                    {
                        var (group, _, size) = LookupTables.Group(t, _rows);
                        kernels.Lookup(words, count, tables.Of(group, word, size), tables.StartsOf(group, word / KernelSet.LookupRun, size), size, ahead, sums + ((long)t * ld) + ((panel - begin) * KernelSet.LookupRows), ld);
                        ahead = words; // fetched once
                        t += size;
                    }
                }
            }

            var firstRow = begin * KernelSet.LookupRows;
            var rows = Math.Min(ld, w.Rows - firstRow);
            for (var t = 0; t < _rows; t++)
            {
                kernels.ScaleSums(sums + ((long)t * ld), rows, q.Multipliers[_first + t], w.Scale, y + ((long)(_first + t) * w.Rows) + firstRow);
            }
        }
    }
}

/// <summary>Tables of up to <see cref="MostRows"/> rows of activations: groups of at most eight rows of about the same size, in a group [table][row][entry].</summary>
internal sealed unsafe class LookupTables : IDisposable
{
    /// <summary>Rows whose tables are held at once: those of 6912 columns take 5 MB, a run of them 172 KB.</summary>
    public const int MostRows = 32;

    private NativeBuffer<short>? _tables;
    private NativeBuffer<short>? _starts;
    private int _tablesOfRow;
    private int _runs;

    /// <summary>The group of row t of n: its first row, the place of t in it, and how many rows it has.</summary>
    public static (int First, int Place, int Size) Group(int t, int n)
    {
        var groups = (n + KernelSet.LookupTokens - 1) / KernelSet.LookupTokens;
        var (size, larger) = (n / groups, n % groups); // the first ones have one more
        var ahead = larger * (size + 1);
        var place = t < ahead ? t % (size + 1) : (t - ahead) % size;
        return (t - place, place, t < ahead ? size + 1 : size);
    }

    /// <summary>Room for n rows of that many columns.</summary>
    public void Reserve(int n, int columns)
    {
        _tablesOfRow = KernelSet.LookupWords(columns) * KernelSet.TablesPerWord;
        _runs = KernelSet.LookupRuns(columns);
        var length = (long)n * _tablesOfRow * KernelSet.TableEntries;
        if (_tables is null || _tables.Length < length)
        {
            _tables?.Dispose();
            _tables = new(length);
        }

        if (_starts is null || _starts.Length < n * _runs)
        {
            _starts?.Dispose();
            _starts = new(n * _runs);
        }
    }

    /// <summary>The tables from a word on of the group of <paramref name="size"/> rows that begins with row <paramref name="group"/>.</summary>
    public short* Of(int group, int word, int size) =>
        _tables!.Pointer + ((((long)group * _tablesOfRow) + ((long)word * KernelSet.TablesPerWord * size)) * KernelSet.TableEntries);

    /// <summary>What the sums of a run start with, for the rows of a group.</summary>
    public short* StartsOf(int group, int run, int size) => _starts!.Pointer + (group * _runs) + (run * size);

    /// <inheritdoc/>
    public void Dispose()
    {
        _tables?.Dispose();
        _starts?.Dispose();
        (_tables, _starts) = (null, null);
    }
}
