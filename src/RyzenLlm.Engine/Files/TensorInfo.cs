using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Files;

/// <summary>Where a tensor lies in its file and what it holds.</summary>
/// <param name="Name">Name, unique in the file.</param>
/// <param name="Type">Element type.</param>
/// <param name="Dimensions">Sizes, fastest axis first (GGUF's <c>ne</c>): a matrix of M rows and K columns is {K, M}.</param>
/// <param name="Offset">First byte, counted from the start of the file.</param>
/// <param name="Bytes">Size in bytes.</param>
public sealed record TensorInfo(string Name, QuantType Type, IReadOnlyList<long> Dimensions, long Offset, long Bytes)
{
    /// <summary>Number of values.</summary>
    public long Elements
    {
        get
        {
            var product = 1L;
            foreach (var size in Dimensions)
            {
                product *= size;
            }

            return product;
        }
    }

    /// <summary>The sizes as written in messages, for example {64, 3}.</summary>
    public string Shape => $"{{{string.Join(", ", Dimensions)}}}";
}
