using RyzenLlm.Engine.Files;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Engine.Models;

/// <summary>The small weights of a model (norms, biases, mixes) as aligned float vectors; matrices stay in the file.</summary>
internal sealed unsafe class WeightVectors(TensorFile file) : IDisposable
{
    private readonly List<NativeBuffer<float>> _buffers = [];

    /// <summary>The tensor of that name and length.</summary>
    /// <exception cref="ModelFormatException">It is missing or has another shape.</exception>
    public float* Load(string name, int length) => Keep(file.Vector(name, length));

    /// <summary>The tensor of that name as <paramref name="rows"/> rows, one after another.</summary>
    /// <exception cref="ModelFormatException">It is missing or has another shape.</exception>
    public float* Load(string name, int rows, int columns) => Keep(file.Values(name, rows, columns));

    /// <summary>As <see cref="Load(string, int, int)"/>, columns becoming rows.</summary>
    /// <exception cref="ModelFormatException">It is missing or has another shape.</exception>
    public float* LoadTransposed(string name, int rows, int columns)
    {
        var values = file.Values(name, rows, columns);
        var transposed = new float[values.Length];
        for (var i = 0; i < values.Length; i++)
        {
            transposed[(i % columns * rows) + (i / columns)] = values[i];
        }

        return Keep(transposed);
    }

    /// <summary>1 - tensor: RWKV-4 and RWKV-5 weigh the present token where the later ones, and the kernel, weigh the previous one.</summary>
    /// <exception cref="ModelFormatException">It is missing or has another shape.</exception>
    public float* LoadComplement(string name, int length) => Keep([.. file.Vector(name, length).Select(mix => 1 - mix)]);

    /// <summary>A vector computed at load time.</summary>
    public float* Keep(ReadOnlySpan<float> values)
    {
        var buffer = new NativeBuffer<float>(values.Length);
        values.CopyTo(buffer.Span);
        _buffers.Add(buffer);
        return buffer.Pointer;
    }

    /// <summary>A vector of equal values.</summary>
    public float* Constant(float value, int length)
    {
        var values = new float[length];
        Array.Fill(values, value);
        return Keep(values);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var buffer in _buffers)
        {
            buffer.Dispose();
        }

        _buffers.Clear();
    }
}
