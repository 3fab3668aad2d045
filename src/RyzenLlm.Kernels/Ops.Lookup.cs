using RyzenLlm.Kernels.Memory;
using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels;

// Ternary products by lookup. A thread takes a stretch of panels, of all matrices that share the input, and goes through it run by run: it builds the tables of the
// run for all tokens (5 KB each) and looks all its panels up in them. So tables never leave its caches, which matters: those of a whole row of 6912 columns
// are 147 KB.
public sealed unsafe partial class Ops
{
    private readonly LookupJob _lookup;

    /// <summary>The products among these that have a packed copy.</summary>
    private void LookupLinear(ReadOnlySpan<TernaryProduct> products, QuantizedRows q, int n)
    {
        for (var first = 0; first < n; first += LookupJob.MostRows)
        {
            _lookup.Set(products, q, first, Math.Min(LookupJob.MostRows, n - first));
            Run(_lookup);
        }
    }

    private sealed class LookupJob(KernelSet kernels, WorkShares shares) : OperandJob
    {
        /// <summary>Tokens at a time: 172 KB of tables.</summary>
        public const int MostRows = 32;

        // Panels of a piece: 256 KB of sums for most rows.
        private const int MostPanels = 32;

        // Panels that are fetched ahead of the one at work: 7 KB.
        private const int Ahead = 2;

        private readonly TernaryProduct[] _products = new TernaryProduct[MostTogether];
        private QuantizedRows? _q;
        private int _columns;
        private int _first;
        private int _rows;

        /// <summary>Items are the panels of all matrices, one matrix after the other.</summary>
        public void Set(ReadOnlySpan<TernaryProduct> products, QuantizedRows q, int first, int rows)
        {
            products.CopyTo(_products);
            (_q, _columns, _first, _rows) = (q, q.Columns, first, rows);
            var panels = 0;
            foreach (var product in products)
            {
                panels += product.Lookup?.Panels ?? 0;
            }

            var workers = shares.Workers;
            var pieces = Math.Max(2, DivideUp(DivideUp(panels, MostPanels), workers)) * workers; // as many for each thread: they wait for the one with the most
            shares.Begin(panels, DivideUp(panels, pieces));
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
                Multiply(begin, end);
            }
        }

        private static int DivideUp(int n, int by) => (n + by - 1) / by;

        private void Multiply(int begin, int end)
        {
            var q = _q!;
            var ld = (end - begin) * KernelSet.LookupRows;
            var sums = (int*)Scratch.TakeOuter((long)_rows * ld * sizeof(int));
            new Span<int>(sums, _rows * ld).Clear();
            var tables = (short*)Scratch.Take((long)_rows * KernelSet.LookupRun * KernelSet.TablesPerWord * KernelSet.TableEntries * sizeof(short));
            var starts = stackalloc short[MostRows];
            var words = KernelSet.LookupWords(_columns);
            for (var word = 0; word < words; word += KernelSet.LookupRun)
            {
                var count = Math.Min(KernelSet.LookupRun, words - word);
                for (var t = 0; t < _rows;)
                {
                    // The tables of a group lie side by side.
                    var size = GroupOf(t, _rows);
                    var ofGroup = tables + ((long)t * count * KernelSet.TablesPerWord * KernelSet.TableEntries);
                    var column = word / KernelSet.WordsPerQuad * KernelSet.ColumnsPerQuad;
                    for (var i = 0; i < size; i++)
                    {
                        starts[t + i] = kernels.BuildTables(
                            q.Values + ((long)(_first + t + i) * q.Stride) + column,
                            KernelSet.StoredColumns(_columns) - column,
                            count,
                            ofGroup + (i * KernelSet.TableEntries),
                            size * KernelSet.TableEntries);
                    }

                    LookUp(begin, end, word, count, ofGroup, starts + t, size, isFirst: t == 0, sums + ((long)t * ld), ld);
                    t += size;
                }
            }

            Scale(begin, end, sums, ld);
        }

        // One group of tokens with a run of all panels of a piece; the first group fetches what comes next.
        private void LookUp(int begin, int end, int word, int count, short* tables, short* starts, int size, bool isFirst, int* sums, long ld)
        {
            for (int i = 0, at = 0; at < end; i++)
            {
                if (_products[i].Lookup is not { } w)
                {
                    continue;
                }

                var last = Math.Min(end - at, w.Panels);
                for (var panel = Math.Max(begin - at, 0); panel < last; panel++)
                {
                    var words = w.At(panel, word);
                    var ahead = !isFirst ? words
                        : panel + Ahead < last ? w.At(panel + Ahead, word)
                        : word + count < w.Words ? w.At(Math.Max(begin - at, 0) + panel + Ahead - last, word + count) : words;
                    kernels.Lookup(words, count, tables, starts, size, ahead, sums + ((at + panel - begin) * KernelSet.LookupRows), ld);
                }

                at += w.Panels;
            }
        }

        private void Scale(int begin, int end, int* sums, long ld)
        {
            for (int i = 0, at = 0; at < end; i++)
            {
                if (_products[i].Lookup is not { } w)
                {
                    continue;
                }

                var panel = Math.Max(begin - at, 0);
                var firstRow = panel * KernelSet.LookupRows;
                var rows = Math.Min(Math.Min(end - at, w.Panels) * KernelSet.LookupRows, w.Rows) - firstRow;
                var from = sums + ((at + panel - begin) * KernelSet.LookupRows);
                for (var t = 0; t < _rows && rows > 0; t++)
                {
                    kernels.ScaleSums(from + (t * ld), rows, _q!.Multipliers[_first + t], w.Scale, _products[i].Y + ((long)(_first + t) * w.Rows) + firstRow);
                }

                at += w.Panels;
            }
        }
    }

    /// <summary>Tokens of the group that begins with token t of n: at most eight, all groups of about the same size, larger ones first.</summary>
    internal static int GroupOf(int t, int n)
    {
        var groups = (n + KernelSet.LookupTokens - 1) / KernelSet.LookupTokens;
        var (size, larger) = (n / groups, n % groups);
        return t < larger * (size + 1) ? size + 1 : size;
    }
}
