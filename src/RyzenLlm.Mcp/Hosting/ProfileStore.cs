using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using RyzenLlm.Engine.Profiles;
using RyzenLlm.Kernels;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// Measured profiles in the user's cache, one small file each. A profile holds for one file as it is (size and time of change) and one way to run
/// it (processor, kernels, threads, precision, version of the program); whatever differs is as good as not measured.
/// </summary>
internal sealed class ProfileStore(AppSettings settings)
{
    private readonly string _folder = settings.Models.ProfileFolder.Length > 0
        ? Path.GetFullPath(settings.Models.ProfileFolder)
        : Path.Combine(Path.GetDirectoryName(ModelLibrary.CacheFolder)!, "profiles");

    /// <summary>A profile with what it holds for.</summary>
    internal sealed record StoredProfile(string File, long Bytes, string Modified, string Machine, ModelProfile Profile);

    /// <summary>What a profile depends on beside the file.</summary>
    public string Machine { get; } = string.Create(
        CultureInfo.InvariantCulture,
        $"{MachineInfo.ProcessorName}; {KernelSet.Select(settings.Engine.Kernels).Name}; {(settings.Engine.Threads == 0 ? Environment.ProcessorCount : settings.Engine.Threads)} threads; {settings.Engine.KvType}; {settings.Engine.Precision}; window {settings.Engine.Window}+{settings.Engine.Sinks}; {ProductInfo.Version}");

    /// <summary>The profile of a model as it is now, or null. A damaged file is none.</summary>
    public ModelProfile? Find(ModelEntry entry)
    {
        try
        {
            using var file = File.OpenRead(PathOf(entry));
            var stored = JsonSerializer.Deserialize(file, ProfileJson.Default.StoredProfile);
            return stored is { Profile: not null } && IsSound(stored.Profile) && stored == Stored(entry, stored.Profile) ? stored.Profile with { Model = entry.Name } : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    // A file that somebody else wrote: lists may be absent, numbers anything that JSON can write.
    private static bool IsSound(ModelProfile profile) =>
        profile is { Model: not null, Architecture: not null, Prompt: { } prompt, Decode: { } decode }
        && prompt.Concat(decode).All(point => point is { Tokens: >= 0 } && IsMeasure(point.Seconds))
        && profile is { ContextLength: >= 0, MemoryBytes: >= 0 }
        && new[] { profile.BytesPerToken, profile.BitsPerByte ?? 0, profile.LoadSeconds, profile.JsonTokenSeconds, profile.StateBytes, profile.StateBytesPerToken }.All(IsMeasure);

    private static bool IsMeasure(double value) => value is >= 0 and <= 1e15;

    /// <summary>Keeps a profile; readers see the old one or the new one, never a part.</summary>
    public void Save(ModelEntry entry, ModelProfile profile)
    {
        Directory.CreateDirectory(_folder);
        var path = PathOf(entry);
        var draft = $"{path}.{Environment.ProcessId}.{Environment.CurrentManagedThreadId}.tmp";
        File.WriteAllBytes(draft, JsonSerializer.SerializeToUtf8Bytes(Stored(entry, profile), ProfileJson.Default.StoredProfile));
        File.Move(draft, path, overwrite: true);
    }

    private StoredProfile Stored(ModelEntry entry, ModelProfile profile)
    {
        var file = File.Exists(entry.Path) ? entry.Path : Path.Combine(entry.Path, "model.safetensors");
        return new(entry.Path, entry.Bytes, File.GetLastWriteTimeUtc(file).ToString("O", CultureInfo.InvariantCulture), Machine, profile);
    }

    // Two ways to run one model, such as with one thread and with two, have a file each.
    private string PathOf(ModelEntry entry)
    {
        var key = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes($"{entry.Path}\n{Machine}")));
        return Path.Combine(_folder, $"{key[..24]}.json");
    }
}

/// <summary>Profiles as they are kept and printed.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ProfileStore.StoredProfile))]
[JsonSerializable(typeof(ModelProfile[]))]
[JsonSerializable(typeof(FeedbackStore.Feedback))]
internal sealed partial class ProfileJson : JsonSerializerContext;
