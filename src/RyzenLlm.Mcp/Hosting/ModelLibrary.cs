using System.Collections.Concurrent;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>A model on disk.</summary>
/// <param name="Name">Name to choose it by: that of its folder, or of its file without the ending.</param>
/// <param name="Path">Full path of the GGUF file, or of a folder with model.safetensors.</param>
public sealed record ModelEntry(string Name, string Path)
{
    /// <summary>Size on disk in bytes.</summary>
    public long Bytes => File.Exists(Path) ? new FileInfo(Path).Length : new FileInfo(System.IO.Path.Combine(Path, "model.safetensors")).Length;
}

/// <summary>No model has the given name; the message says which there are.</summary>
public sealed class ModelNotFoundException(string message) : Exception(message);

/// <summary>
/// Finds models by name: in the folders of the settings, in models/ beside the program, in models/ of a source tree above it, and in the
/// user's cache folder. A folder holds models as NAME.gguf, NAME/model.gguf, NAME/*.gguf or NAME/model.safetensors; the first of a name wins.
/// </summary>
public sealed class ModelLibrary
{
    /// <summary>Model preferred as default among those found.</summary>
    public const string PreferredDefault = "tales-bitnet";

    private readonly string _settingsDefault;
    private readonly ConcurrentDictionary<string, string> _chosen = new(); // by tenant

    /// <summary>A library over the given folders, or the usual ones.</summary>
    public ModelLibrary(ModelSettings settings, IEnumerable<string>? usualFolders = null)
    {
        _settingsDefault = settings.Default;
        Folders = [.. settings.Folders.Select(System.IO.Path.GetFullPath).Concat(usualFolders ?? UsualFolders()).Distinct()];
    }

    /// <summary>Folders that are searched, in order; some may not exist.</summary>
    public IReadOnlyList<string> Folders { get; }

    /// <summary>Folder for models that the user fetched: XDG_CACHE_HOME/ryzenllm/models, normally ~/.cache/ryzenllm/models.</summary>
    public static string CacheFolder
    {
        get
        {
            var cache = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
            if (string.IsNullOrEmpty(cache) || !System.IO.Path.IsPathRooted(cache))
            {
                cache = System.IO.Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache");
            }

            return System.IO.Path.Combine(cache, "ryzenllm", "models");
        }
    }

    /// <summary>All models, in the order of the folders, by name within a folder. Reads directories only, so new files are seen.</summary>
    public IReadOnlyList<ModelEntry> List()
    {
        var seen = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        return [.. Folders.Where(Directory.Exists).SelectMany(ModelsIn).Where(entry => seen.Add(entry.Name))];
    }

    /// <summary>The model used where none is named: the tenant's choice, that of the settings, or the first there is.</summary>
    /// <exception cref="ModelNotFoundException">There is none; the message says what to do.</exception>
    public ModelEntry Default(string tenant = "")
    {
        if (_chosen.TryGetValue(tenant, out var chosen))
        {
            return Resolve(chosen);
        }

        if (_settingsDefault.Length > 0)
        {
            return Resolve(_settingsDefault);
        }

        var models = List();
        return models.FirstOrDefault(m => m.Name.Equals(PreferredDefault, StringComparison.OrdinalIgnoreCase)) ?? models.FirstOrDefault()
            ?? throw new ModelNotFoundException($"No model found. Fetch one with: ryzenllm models pull, put a GGUF file into {CacheFolder}, or name a file with --model PATH.");
    }

    /// <summary>The model used where none is named, or null if there is none.</summary>
    public ModelEntry? TryDefault(string tenant = "")
    {
        try
        {
            return Default(tenant);
        }
        catch (ModelNotFoundException)
        {
            return null;
        }
    }

    /// <summary>Makes a model the default of a tenant as long as this process runs.</summary>
    /// <exception cref="ModelNotFoundException">There is no such model.</exception>
    public ModelEntry Choose(string name, string tenant = "")
    {
        var entry = Resolve(name);
        _chosen[tenant] = name;
        return entry;
    }

    /// <summary>
    /// The model that a call names; empty or null takes the caller's default. Only a caller without credentials, who runs this process, may
    /// name files: for others a name must be listed, so that no answer tells what lies elsewhere on this machine.
    /// </summary>
    /// <exception cref="ModelNotFoundException">There is no such model; the message lists those there are.</exception>
    internal ModelEntry Resolve(string? name, Caller caller)
    {
        if (string.IsNullOrWhiteSpace(name))
        {
            return Default(caller.Tenant);
        }

        return caller.Scopes is null ? Resolve(name) : Listed(name, List(), mayBePath: false);
    }

    /// <summary>The model of a path or name; empty or null takes the default.</summary>
    /// <exception cref="ModelNotFoundException">There is no such model; the message lists those there are.</exception>
    public ModelEntry Resolve(string? nameOrPath)
    {
        if (string.IsNullOrWhiteSpace(nameOrPath))
        {
            return Default();
        }

        if (File.Exists(nameOrPath))
        {
            return new(NameOf(nameOrPath), System.IO.Path.GetFullPath(nameOrPath));
        }

        if (Directory.Exists(nameOrPath))
        {
            var models = ModelsInOwnFolder(System.IO.Path.GetFullPath(nameOrPath)).ToList();
            return models.Count switch
            {
                1 => models[0],
                0 => throw new ModelNotFoundException($"Folder {nameOrPath} holds no model: expected a .gguf file or model.safetensors."),
                _ => throw new ModelNotFoundException($"Folder {nameOrPath} holds several models, name one of: {string.Join(", ", models.Select(m => m.Path))}."),
            };
        }

        return Listed(nameOrPath, List(), LooksLikePath(nameOrPath));
    }

    private static ModelEntry Listed(string name, IReadOnlyList<ModelEntry> all, bool mayBePath)
    {
        if (all.FirstOrDefault(m => m.Name.Equals(name, StringComparison.OrdinalIgnoreCase)) is { } found)
        {
            return found;
        }

        var known = all.Count > 0 ? $"Models found: {string.Join(", ", all.Select(m => m.Name))}." : $"No models were found either; put GGUF files into {CacheFolder}.";
        throw new ModelNotFoundException(
            mayBePath ? $"There is no model file or folder {name}. {known}" : $"There is no model named '{name}'. {known}");
    }

    private static bool LooksLikePath(string text) => text.Contains('/') || text.Contains('\\') || text.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase);

    private static string NameOf(string file)
    {
        var stem = System.IO.Path.GetFileNameWithoutExtension(file);
        return stem == "model" ? System.IO.Path.GetFileName(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(file))) ?? stem : stem;
    }

    private static IEnumerable<ModelEntry> ModelsIn(string folder) =>
        GgufFiles(folder).Select(file => new ModelEntry(NameOf(file), file))
            .Concat(Directory.EnumerateDirectories(folder).Order(StringComparer.Ordinal).SelectMany(ModelsInOwnFolder));

    private static IEnumerable<ModelEntry> ModelsInOwnFolder(string folder)
    {
        var name = System.IO.Path.GetFileName(folder.TrimEnd('/', '\\'));
        var files = GgufFiles(folder).ToList();
        if (files.Count == 1)
        {
            return [new(name, files[0])];
        }

        if (files.Count == 0 && File.Exists(System.IO.Path.Combine(folder, "model.safetensors")))
        {
            return [new(name, folder)];
        }

        return files.Select(file => new ModelEntry(NameOf(file), file));
    }

    private static IEnumerable<string> GgufFiles(string folder) => Directory.EnumerateFiles(folder, "*.gguf").Order(StringComparer.Ordinal);

    private static IEnumerable<string> UsualFolders()
    {
        yield return System.IO.Path.Combine(AppContext.BaseDirectory, "models");
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(System.IO.Path.Combine(folder.FullName, "RyzenLlm.Mcp.sln")))
            {
                yield return System.IO.Path.Combine(folder.FullName, "models");
                break;
            }
        }

        yield return CacheFolder;
    }
}
