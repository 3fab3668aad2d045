using RyzenLlm.Engine.Files;

namespace RyzenLlm.Engine.Models;

/// <summary>Reads a model's sizes from GGUF metadata and refuses values that no model has.</summary>
internal static class Hyperparameters
{
    // Far above any published size and small enough that products of two of them fit 64 bits.
    private const int Largest = 1 << 24;

    /// <summary>A size of at least 1.</summary>
    /// <exception cref="ModelFormatException">The key is missing or out of range.</exception>
    public static int Size(this GgufFile file, string key) => Checked(file, key, file.GetInt32(key));

    /// <summary>A size of at least 1, or a default where the key is absent.</summary>
    /// <exception cref="ModelFormatException">The value is out of range.</exception>
    public static int Size(this GgufFile file, string key, int otherwise) =>
        file.TryGetInt32(key, out var value) ? Checked(file, key, value) : otherwise;

    /// <summary>A small positive number, as norms add to a variance.</summary>
    /// <exception cref="ModelFormatException">The key is missing or out of range.</exception>
    public static float Epsilon(this GgufFile file, string key)
    {
        var value = file.GetFloat32(key);
        return value is >= 0 and < 1 ? value : throw Wrong(file, key, "0..1", value);
    }

    /// <summary>A positive finite number, or a default where the key is absent.</summary>
    /// <exception cref="ModelFormatException">The value is out of range.</exception>
    public static float Positive(this GgufFile file, string key, float otherwise)
    {
        if (!file.TryGetFloat32(key, out var value))
        {
            return otherwise;
        }

        return value > 0 && float.IsFinite(value) ? value : throw Wrong(file, key, "a positive number", value);
    }

    /// <summary>Checks that one size divides another.</summary>
    /// <exception cref="ModelFormatException">It does not.</exception>
    public static void RequireMultiple(this TensorFile file, string what, int size, int divisor)
    {
        if (size % divisor != 0)
        {
            throw new ModelFormatException(file.Path, null, null, $"{what} to be a multiple of {divisor}", $"{size}");
        }
    }

    private static int Checked(GgufFile file, string key, int value) =>
        value is >= 1 and <= Largest ? value : throw Wrong(file, key, $"1..{Largest}", value);

    private static ModelFormatException Wrong(GgufFile file, string key, string expected, object found) =>
        new(file.Path, null, null, $"{expected} under metadata key '{key}'", $"{found}");
}
