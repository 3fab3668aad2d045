using System.Security.Cryptography;
using System.Text;
using RyzenLlm.Engine.Files;

namespace RyzenLlm.Engine.Models;

/// <summary>Identifies a model in saved sessions.</summary>
internal static class ModelFingerprint
{
    private const int SampleBytes = 64;

    /// <summary>
    /// SHA-256 over name, type, shape and the first bytes of every tensor: two models of one architecture differ, and the file need
    /// not be read as a whole.
    /// </summary>
    /// <param name="file">Weights.</param>
    /// <param name="variant">What else decides whether a state fits, such as the type of a cache.</param>
    public static byte[] Of(TensorFile file, string variant = "")
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(variant + "\n"));
        foreach (var tensor in file.Tensors.Values.OrderBy(t => t.Name, StringComparer.Ordinal))
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"{tensor.Name} {tensor.Type} {tensor.Shape}\n"));
            var rows = tensor.Dimensions.Skip(1).Aggregate(1L, (product, size) => product * size);
            var first = file.Matrix(tensor.Name, checked((int)rows), checked((int)tensor.Dimensions[0])).Row(0);
            hash.AppendData(first[..Math.Min(first.Length, SampleBytes)]);
        }

        return hash.GetHashAndReset();
    }
}
