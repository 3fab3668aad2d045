using System.Runtime.InteropServices;

namespace RyzenLlm.Kernels.Formats;

/// <summary>F32: little-endian IEEE binary32.</summary>
internal sealed class F32Format() : QuantFormat(QuantType.F32, 1, sizeof(float))
{
    private protected override void DecodeBlocks(ReadOnlySpan<byte> blocks, Span<float> values, float scale) =>
        blocks.CopyTo(MemoryMarshal.AsBytes(values));

    private protected override void EncodeBlocks(ReadOnlySpan<float> values, Span<byte> blocks, float scale) =>
        MemoryMarshal.AsBytes(values).CopyTo(blocks);
}
