using System.Text.Json;

namespace RyzenLlm.Engine.Files;

/// <summary>The <c>config.json</c> beside a safetensors file: a JSON object with the model's sizes under their published names.</summary>
public sealed class ConfigFile
{
    // Real files have a few kilobytes.
    private const int Longest = 1 << 20;

    private readonly JsonElement _root;

    private ConfigFile(string path, JsonElement root)
    {
        Path = path;
        _root = root;
    }

    /// <summary>Path it was read from.</summary>
    public string Path { get; }

    /// <summary>Reads a file.</summary>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    /// <exception cref="ModelFormatException">It is no JSON object, or longer than a megabyte.</exception>
    public static ConfigFile Read(string path)
    {
        if (!File.Exists(path))
        {
            throw new FileNotFoundException($"There is no file {path}. A folder with safetensors needs its config.json.", path);
        }

        var length = new FileInfo(path).Length;
        if (length > Longest)
        {
            throw new ModelFormatException(path, null, null, $"a configuration of at most {Longest} bytes", $"{length} bytes");
        }

        try
        {
            using var document = JsonDocument.Parse(File.ReadAllBytes(path), new JsonDocumentOptions { AllowDuplicateProperties = false });
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? new ConfigFile(path, document.RootElement.Clone())
                : throw new ModelFormatException(path, null, 0, "a JSON object", $"JSON {document.RootElement.ValueKind}");
        }
        catch (JsonException e)
        {
            throw new ModelFormatException(path, null, null, "a JSON object", e.Message, e);
        }
    }

    /// <summary>The integer under a name.</summary>
    /// <exception cref="ModelFormatException">The name is missing or no integer of 32 bits.</exception>
    public int GetInt32(string name) => TryGetInt32(name, out var value) ? value : throw Missing(name);

    /// <summary>As <see cref="GetInt32"/>, or false if the name is missing or null.</summary>
    public bool TryGetInt32(string name, out int value)
    {
        value = 0;
        return TryGet(name, out var found)
            && ((found.ValueKind == JsonValueKind.Number && found.TryGetInt32(out value)) ? true : throw Wrong(name, "a 32-bit integer", found));
    }

    /// <summary>The number under a name.</summary>
    /// <exception cref="ModelFormatException">The name is missing or no number.</exception>
    public float GetFloat32(string name) => TryGetFloat32(name, out var value) ? value : throw Missing(name);

    /// <summary>As <see cref="GetFloat32"/>, or false if the name is missing or null.</summary>
    public bool TryGetFloat32(string name, out float value)
    {
        value = 0;
        return TryGet(name, out var found)
            && ((found.ValueKind == JsonValueKind.Number && found.TryGetSingle(out value)) ? true : throw Wrong(name, "a number", found));
    }

    /// <summary>The text under a name.</summary>
    /// <exception cref="ModelFormatException">The name is missing or no text.</exception>
    public string GetString(string name) =>
        !TryGet(name, out var found) ? throw Missing(name)
        : found.ValueKind == JsonValueKind.String ? found.GetString()!
        : throw Wrong(name, "a text", found);

    private bool TryGet(string name, out JsonElement value) =>
        _root.TryGetProperty(name, out value) && value.ValueKind != JsonValueKind.Null;

    private ModelFormatException Missing(string name) => new(Path, null, null, $"a value under {ModelFormatException.Quote(name)}", "none");

    private ModelFormatException Wrong(string name, string expected, JsonElement found) =>
        new(Path, null, null, $"{expected} under {ModelFormatException.Quote(name)}", ModelFormatException.Quote(found.GetRawText()));
}
