using System.Text;
using RyzenLlm.Engine.Choosing;
using RyzenLlm.Engine.Profiles;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Fuzz.Targets;

/// <summary>A file of the cache of measured profiles. Whatever it holds, it is a profile that models can be chosen by, or as good as none.</summary>
internal sealed class ProfileTarget : FuzzTarget
{
    private static readonly ModelProfile Profile = new()
    {
        Model = "made",
        Architecture = "mamba",
        Vocabulary = "v",
        BytesPerToken = 4,
        BitsPerByte = 1.25,
        LoadSeconds = 0.5,
        Prompt = [new(64, 0.5), new(256, 2)],
        Decode = [new(64, 0.01), new(256, 0.02)],
        MemoryBytes = 1 << 20,
        Measured = DateTimeOffset.UnixEpoch,
    };

    private readonly InputFile _files = new();
    private readonly ProfileStore _store;
    private readonly ModelEntry _model;
    private readonly string _path;
    private readonly string _saved;

    public ProfileTarget()
    {
        var model = _files.Write("made.gguf", "weights"u8.ToArray());
        File.SetLastWriteTimeUtc(model, DateTime.UnixEpoch);
        _model = new("made", model);
        var folder = Path.Combine(Path.GetDirectoryName(model)!, "profiles");
        _store = new(new AppSettings { Models = new() { ProfileFolder = folder } });
        _store.Save(_model, Profile);
        _path = Directory.GetFiles(folder).Single();
        _saved = File.ReadAllText(_path);
    }

    public override string Name => "profile";

    public override IReadOnlyList<string> Words =>
        ["null", "[]", "{}", "-1", "1e308", "-1e308", "1e-320", "0", "\"prompt\": ", "\"decode\": ", "\"tokens\": ", "\"seconds\": ", "\"bits_per_byte\": ", "\"model\": ", "\"architecture\": ", "\"measured\": ", ","];

    // Inputs are the profile alone: what it is valid for, which names this machine's paths, is put around it.
    public override IEnumerable<byte[]> Seeds() =>
    [
        Encoding.UTF8.GetBytes(Of(_saved)),
        .. ((string[])["\"prompt\": null", "\"decode\": null", "\"prompt\": [null]", "\"decode\": [{\"tokens\": 1, \"seconds\": -1}]", "\"bytes_per_token\": -3"])
            .Select(part => Encoding.UTF8.GetBytes($$"""{"model": "made", "architecture": "mamba", {{part}}}""")),
    ];

    public override void Run(byte[] input)
    {
        var (before, after) = (_saved[.._saved.IndexOf(Of(_saved), StringComparison.Ordinal)], "\n}");
        File.WriteAllBytes(_path, [.. Encoding.UTF8.GetBytes(before), .. input, .. Encoding.UTF8.GetBytes(after)]);
        if (_store.Find(_model) is not { } found)
        {
            return;
        }

        var sound = new Candidate(Profile with { Model = "sound" });
        foreach (var request in (ChoiceRequest[])[new(), new() { PromptBytes = 100_000, Json = true, MemoryBytes = 1 << 30, MostBitsPerByte = 2, Vocabulary = "v" }])
        {
            var choice = ModelChooser.Choose([new Candidate(found), sound], request);
            if (choice.Chosen is { } chosen && !double.IsFinite(chosen.Worth))
            {
                throw new InvalidOperationException($"A worth of {chosen.Worth}.");
            }
        }
    }

    public override bool IsDocumented(Exception e) => false;

    public override void Dispose() => _files.Dispose();

    private static string Of(string saved)
    {
        var from = saved.IndexOf("\"profile\":", StringComparison.Ordinal) + "\"profile\":".Length;
        return saved[from..saved.LastIndexOf('}')].Trim();
    }
}
