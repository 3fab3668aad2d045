using System.Diagnostics.CodeAnalysis;

namespace RyzenLlm.Engine.Files;

/// <summary>
/// A GGUF file (version 2 or 3, little-endian), mapped into memory. Opening reads and checks the header; tensor data is touched
/// only when used. Metadata is copied out of the map, so it outlives the file.
/// </summary>
public sealed class GgufFile : TensorFile
{
    private GgufFile(string path, MappedFile map)
        : base(path, map)
    {
        var header = GgufHeader.Read(path, map.Head, map.Length);
        CheckPlacement(path, header.DataStart, map.Length, header.Tensors.Values);
        Version = header.Version;
        Architecture = header.Architecture;
        Metadata = header.Metadata;
        Tensors = header.Tensors;
    }

    /// <summary>Version of the file format, 2 or 3.</summary>
    public uint Version { get; }

    /// <summary>Value of <c>general.architecture</c>, the prefix of the model's own keys.</summary>
    public string Architecture { get; }

    /// <summary>All metadata in the order of the file.</summary>
    public IReadOnlyDictionary<string, GgufValue> Metadata { get; }

    /// <summary>Opens and checks a file.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="ModelFormatException">The file violates the format or holds a tensor type that is not read here.</exception>
    public static GgufFile Open(string path)
    {
        var map = MappedFile.Open(path);
        try
        {
            return new GgufFile(path, map);
        }
        catch
        {
            map.Dispose();
            throw;
        }
    }

    /// <summary>The integer under a key, whatever its width.</summary>
    /// <exception cref="ModelFormatException">The key is missing, no integer, or outside 0..2^32-1.</exception>
    public uint GetUInt32(string key) => TryGetUInt32(key, out var value) ? value : throw Missing(key);

    /// <summary>As <see cref="GetUInt32"/>, or false if there is no such key.</summary>
    public bool TryGetUInt32(string key, out uint value)
    {
        var found = TryGetInteger(key, uint.MinValue, uint.MaxValue, out var integer);
        value = (uint)integer;
        return found;
    }

    /// <summary>The integer under a key, whatever its width.</summary>
    /// <exception cref="ModelFormatException">The key is missing, no integer, or outside 32 bits signed.</exception>
    public int GetInt32(string key) => TryGetInt32(key, out var value) ? value : throw Missing(key);

    /// <summary>As <see cref="GetInt32"/>, or false if there is no such key.</summary>
    public bool TryGetInt32(string key, out int value)
    {
        var found = TryGetInteger(key, int.MinValue, int.MaxValue, out var integer);
        value = (int)integer;
        return found;
    }

    /// <summary>The integer under a key, whatever its width.</summary>
    /// <exception cref="ModelFormatException">The key is missing, no integer, or outside 0..2^64-1.</exception>
    public ulong GetUInt64(string key) => TryGetUInt64(key, out var value) ? value : throw Missing(key);

    /// <summary>As <see cref="GetUInt64"/>, or false if there is no such key.</summary>
    public bool TryGetUInt64(string key, out ulong value)
    {
        var found = TryGetInteger(key, ulong.MinValue, ulong.MaxValue, out var integer);
        value = (ulong)integer;
        return found;
    }

    /// <summary>The floating-point number (or integer) under a key.</summary>
    /// <exception cref="ModelFormatException">The key is missing or no number.</exception>
    public float GetFloat32(string key) => TryGetFloat32(key, out var value) ? value : throw Missing(key);

    /// <summary>As <see cref="GetFloat32"/>, or false if there is no such key.</summary>
    public bool TryGetFloat32(string key, out float value)
    {
        value = 0;
        if (!Metadata.TryGetValue(key, out var found))
        {
            return false;
        }

        value = found.TryGetNumber(out var number) ? (float)number : throw Wrong(key, "a number", found);
        return true;
    }

    /// <summary>The bool under a key.</summary>
    /// <exception cref="ModelFormatException">The key is missing or no bool.</exception>
    public bool GetBool(string key) => TryGetBool(key, out var value) ? value : throw Missing(key);

    /// <summary>As <see cref="GetBool"/>, or false if there is no such key.</summary>
    public bool TryGetBool(string key, out bool value)
    {
        value = false;
        return Metadata.TryGetValue(key, out var found) && (found.TryGetBool(out value) ? true : throw Wrong(key, "a bool", found));
    }

    /// <summary>The string under a key; its raw bytes are in <see cref="Metadata"/>.</summary>
    /// <exception cref="ModelFormatException">The key is missing or no string.</exception>
    public string GetString(string key) => TryGetString(key, out var value) ? value : throw Missing(key);

    /// <summary>As <see cref="GetString"/>, or false if there is no such key.</summary>
    public bool TryGetString(string key, [NotNullWhen(true)] out string? value)
    {
        value = null;
        return Metadata.TryGetValue(key, out var found) && (found.TryGetString(out value) ? true : throw Wrong(key, "a string", found));
    }

    /// <summary>The array of strings under a key, decoded on access.</summary>
    /// <exception cref="ModelFormatException">The key is missing or no array of strings.</exception>
    public GgufStringArray GetStrings(string key) => TryGetStrings(key, out var values) ? values : throw Missing(key);

    /// <summary>As <see cref="GetStrings"/>, or false if there is no such key.</summary>
    public bool TryGetStrings(string key, [NotNullWhen(true)] out GgufStringArray? values)
    {
        values = null;
        return Metadata.TryGetValue(key, out var found) && (found.TryGetStrings(out values) ? true : throw Wrong(key, "an array of strings", found));
    }

    /// <summary>The array of integers under a key, whatever their width.</summary>
    /// <exception cref="ModelFormatException">The key is missing or no array of 32-bit integers.</exception>
    public int[] GetInt32s(string key) => TryGetInt32s(key, out var values) ? values : throw Missing(key);

    /// <summary>As <see cref="GetInt32s"/>, or false if there is no such key.</summary>
    public bool TryGetInt32s(string key, [NotNullWhen(true)] out int[]? values)
    {
        values = null;
        return Metadata.TryGetValue(key, out var found) && (found.TryGetIntegers(out values) ? true : throw Wrong(key, "an array of 32-bit integers", found));
    }

    /// <summary>The array of numbers under a key.</summary>
    /// <exception cref="ModelFormatException">The key is missing or no array of numbers.</exception>
    public float[] GetFloat32s(string key) => TryGetFloat32s(key, out var values) ? values : throw Missing(key);

    /// <summary>As <see cref="GetFloat32s"/>, or false if there is no such key.</summary>
    public bool TryGetFloat32s(string key, [NotNullWhen(true)] out float[]? values)
    {
        values = null;
        return Metadata.TryGetValue(key, out var found) && (found.TryGetNumbers(out values) ? true : throw Wrong(key, "an array of numbers", found));
    }

    private bool TryGetInteger(string key, Int128 low, Int128 high, out Int128 value)
    {
        value = 0;
        if (!Metadata.TryGetValue(key, out var found))
        {
            return false;
        }

        return found.TryGetInteger(out value) && value >= low && value <= high
            ? true
            : throw Wrong(key, $"an integer of {low}..{high}", found);
    }

    private ModelFormatException Missing(string key) => new(Path, null, null, $"metadata key {ModelFormatException.Quote(key)}", "no such key");

    private ModelFormatException Wrong(string key, string expected, GgufValue found) =>
        new(Path, null, null, $"{expected} under metadata key {ModelFormatException.Quote(key)}", $"{found.Describe()} {ModelFormatException.Quote(found.ToString())}");
}
