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

    /// <summary>A size of at least 1 from config.json.</summary>
    /// <exception cref="ModelFormatException">The name is missing or the value out of range.</exception>
    public static int Size(this ConfigFile file, string name) => Checked(file, name, file.GetInt32(name));

    /// <summary>A size of at least 1 from config.json, or a default where the name is absent.</summary>
    /// <exception cref="ModelFormatException">The value is out of range.</exception>
    public static int Size(this ConfigFile file, string name, int otherwise) =>
        file.TryGetInt32(name, out var value) ? Checked(file, name, value) : otherwise;

    /// <summary>A dimension of a tensor, 0 being the fastest; 1 where it has fewer.</summary>
    /// <exception cref="ModelFormatException">There is no such tensor, or the size is out of range.</exception>
    public static int Dimension(this TensorFile file, string tensor, int axis)
    {
        if (!file.Tensors.TryGetValue(tensor, out var info))
        {
            throw new ModelFormatException(file.Path, tensor, null, "this tensor", $"none of this name among {file.Tensors.Count} tensors");
        }

        var size = axis < info.Dimensions.Count ? info.Dimensions[axis] : 1;
        return size <= Largest
            ? (int)size
            : throw new ModelFormatException(file.Path, tensor, info.Offset, $"dimensions of at most {Largest}", info.Shape);
    }

    /// <summary>A small positive number, as norms add to a variance.</summary>
    /// <exception cref="ModelFormatException">The key is missing or out of range.</exception>
    public static float Epsilon(this GgufFile file, string key)
    {
        var value = file.GetFloat32(key);
        return value is >= 0 and < 1 ? value : throw Wrong(file, key, "0..1", value);
    }

    /// <summary>As above from config.json, or a default where the name is absent.</summary>
    /// <exception cref="ModelFormatException">The value is out of range.</exception>
    public static float Epsilon(this ConfigFile file, string name, float otherwise)
    {
        var value = file.TryGetFloat32(name, out var found) ? found : otherwise;
        return value is >= 0 and < 1 ? value : throw new ModelFormatException(file.Path, null, null, $"0..1 under '{name}'", $"{value}");
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

    private static int Checked(ConfigFile file, string name, int value) =>
        value is >= 1 and <= Largest ? value : throw new ModelFormatException(file.Path, null, null, $"1..{Largest} under '{name}'", $"{value}");

    private static ModelFormatException Wrong(GgufFile file, string key, string expected, object found) =>
        new(file.Path, null, null, $"{expected} under metadata key '{key}'", $"{found}");
}
