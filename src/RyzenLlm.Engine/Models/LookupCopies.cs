using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Models;

/// <summary>Copies of a model's ternary matrices in the layout that the processor multiplies fastest (see <see cref="LookupMatrix"/>), where it has one.</summary>
internal sealed class LookupCopies(Ops ops, TernaryLayout layout) : IDisposable
{
    private readonly List<LookupMatrix> _copies = [];

    /// <summary>What to multiply with: the matrix and its copy, which is null for other formats, several scales, or a processor without lookup.</summary>
    public (WeightMatrix Weight, LookupMatrix? Lookup) Of(WeightMatrix matrix)
    {
        if (!KernelSet.IsTernary(matrix.Format.Type))
        {
            return (matrix, null);
        }

        if (layout == TernaryLayout.Auto && LookupMatrix.TryPack(matrix, ops) is { } copy)
        {
            matrix.ReleasePages(0, matrix.Rows);
            _copies.Add(copy);
            return (matrix, copy);
        }

        // The digits of TQ1_0 would be unpacked again for every product; the other types are used where they lie in the file.
        return (matrix.Format.Type == QuantType.TQ1_0 && TernaryPacking.TryToI2_S(matrix) is { } unpacked ? unpacked : matrix, null);
    }

    /// <inheritdoc/>
    public void Dispose() => _copies.ForEach(copy => copy.Dispose());
}
