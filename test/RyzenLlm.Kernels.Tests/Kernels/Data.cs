using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>Operands for kernel tests.</summary>
internal static unsafe class Data
{
    /// <summary>0 to two 512-bit vectors and their tails, and real widths.</summary>
    public static readonly int[] Lengths = [.. Enumerable.Range(0, 34), 63, 64, 65, 2560, 6912];

    /// <summary>Uniform numbers in [low, high), <paramref name="offset"/> elements behind an aligned address.</summary>
    public static Operand Uniform(int seed, int length, float low = -1, float high = 1, int offset = 0)
    {
        var operand = new Operand(length, offset);
        var random = new Random(seed);
        for (var i = 0; i < length; i++)
        {
            operand.Pointer[i] = low + (random.NextSingle() * (high - low));
        }

        return operand;
    }

    /// <summary>Floats in native memory with a guard value behind them.</summary>
    internal sealed class Operand : IDisposable
    {
        private const float Guard = 12345.5f;
        private readonly NativeBuffer<float> _memory;
        private readonly int _offset;

        public Operand(int length, int offset = 0)
        {
            _offset = offset;
            _memory = new(length + offset + 1);
            _memory.Span[^1] = Guard;
        }

        public Operand(ReadOnlySpan<float> values, int offset = 0)
            : this(values.Length, offset) => values.CopyTo(Span);

        public float* Pointer => _memory.Pointer + _offset;

        public int Length => (int)_memory.Length - _offset - 1;

        public Span<float> Span => _memory.Span[_offset..^1];

        public float this[int i] => Span[i];

        public float[] ToArray() => Span.ToArray();

        public Operand Copy() => new(Span, _offset);

        public void Dispose()
        {
            Assert.That(_memory.Span[^1], Is.EqualTo(Guard), "a kernel wrote behind its output");
            _memory.Dispose();
        }
    }
}
