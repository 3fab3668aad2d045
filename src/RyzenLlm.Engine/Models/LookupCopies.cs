using RyzenLlm.Engine.Files;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Engine.Models;

/// <summary>
/// Copies of a model's ternary matrices in the layout that the processor multiplies fastest (see <see cref="LookupMatrix"/>), where it has one: in one stretch of
/// memory, so that large pages hold them.
/// </summary>
internal sealed unsafe class LookupCopies : IDisposable
{
    private readonly Ops _ops;
    private readonly NativeBuffer<byte>? _memory;
    private long _used;

    /// <summary>Reserves memory for all ternary matrices of a file; it fills as they are packed.</summary>
    public LookupCopies(GgufFile file, Ops ops, TernaryLayout layout)
    {
        _ops = ops;
        if (layout == TernaryLayout.Auto && ops.Kernels.HasLookup)
        {
            _memory = new(file.Tensors.Values.Sum(BytesOf), zeroed: false);
        }
    }

    /// <summary>What to multiply with: the matrix and its copy, which is null for other formats, several scales, or a processor without lookup.</summary>
    public (WeightMatrix Weight, LookupMatrix? Lookup) Of(WeightMatrix matrix)
    {
        if (!KernelSet.IsTernary(matrix.Format.Type))
        {
            return (matrix, null);
        }

        if (_memory is not null && LookupMatrix.TryPack(matrix, _ops, _memory.Pointer + _used, _memory) is { } copy)
        {
            _used += copy.Bytes;
            matrix.ReleasePages(0, matrix.Rows);
            return (matrix, copy);
        }

        // The digits of TQ1_0 would be unpacked again for every product; the other types are used where they lie in the file.
        return (matrix.Format.Type == QuantType.TQ1_0 && TernaryPacking.TryToI2_S(matrix) is { } unpacked ? unpacked : matrix, null);
    }

    private static long BytesOf(TensorInfo tensor) =>
        KernelSet.IsTernary(tensor.Type) && tensor.Dimensions is [> 0 and <= int.MaxValue, > 0 and <= int.MaxValue]
            ? LookupMatrix.BytesOf((int)tensor.Dimensions[1], (int)tensor.Dimensions[0])
            : 0;

    /// <inheritdoc/>
    public void Dispose() => _memory?.Dispose();
}
