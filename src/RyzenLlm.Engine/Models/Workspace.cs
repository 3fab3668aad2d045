using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Engine.Models;

/// <summary>
/// Activations of one forward pass: a single buffer, cut into pieces anew for every batch and grown to the largest batch seen.
/// </summary>
internal sealed unsafe class Workspace : IDisposable
{
    private const int Line = 16; // floats in a cache line

    private NativeBuffer<float> _buffer = new(0);
    private long _taken;

    /// <summary>Starts a batch that takes at most <paramref name="floats"/> in at most <paramref name="pieces"/> pieces.</summary>
    public void Begin(long floats, int pieces)
    {
        var needed = floats + ((long)pieces * Line);
        if (_buffer.Length < needed)
        {
            _buffer.Dispose();
            _buffer = new(needed + (needed / 2));
        }

        _taken = 0;
    }

    /// <summary>The next piece: <paramref name="floats"/> values with arbitrary contents, aligned to a cache line.</summary>
    public float* Take(long floats)
    {
        var piece = _buffer.Pointer + _taken;
        _taken += (floats + Line - 1) / Line * Line;
        if (_taken > _buffer.Length)
        {
            throw new InvalidOperationException("A forward pass takes more activations than it announced.");
        }

        return piece;
    }

    /// <inheritdoc/>
    public void Dispose() => _buffer.Dispose();
}
