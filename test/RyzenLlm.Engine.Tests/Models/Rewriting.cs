using RyzenLlm.Engine.Files;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Tests.Models;

/// <summary>Makes variants of a GGUF file.</summary>
internal static class Rewriting
{
    /// <summary>
    /// Copies a file under another path. <paramref name="metadata"/> may set further values; <paramref name="tensor"/> gets each
    /// tensor and the writer and returns true where the tensor is to be copied as it is.
    /// </summary>
    public static string Rewrite(
        this string source, string target, Action<GgufWriter>? metadata = null, Func<GgufWriter, WeightMatrix, bool>? tensor = null)
    {
        using var file = GgufFile.Open(source);
        var writer = new GgufWriter(file.Architecture);
        foreach (var (key, value) in file.Metadata)
        {
            writer.Set(key, value);
        }

        metadata?.Invoke(writer);
        foreach (var info in file.Tensors.Values)
        {
            var matrix = file.Matrix(info.Name, (int)(info.Elements / info.Dimensions[0]), (int)info.Dimensions[0]);
            if (tensor is null || tensor(writer, matrix))
            {
                writer.Add(info.Name, matrix, [.. info.Dimensions]);
            }
        }

        writer.Write(target);
        return target;
    }

    /// <summary>A float vector or matrix to add to a file.</summary>
    public static WeightMatrix Floats(string name, int rows, int columns, params ReadOnlySpan<float> values) =>
        WeightMatrix.Encode(name, QuantType.F32, rows, columns, values);
}
