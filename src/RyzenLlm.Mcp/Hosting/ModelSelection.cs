using System.Globalization;
using System.Text;
using RyzenLlm.Engine.Choosing;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Profiles;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>Automatic choice: the measured models of the library, what feedback says about them, and what is in memory.</summary>
internal sealed class ModelSelection(ModelLibrary library, ProfileStore profiles, FeedbackStore feedback, LoadedModels? models = null)
{
    /// <summary>Name that stands for the model chosen for the request.</summary>
    public const string Auto = "auto";

    /// <summary>Time after which an answer is worth half, where the request says nothing.</summary>
    public const double UsualLatencySeconds = 20;

    /// <summary>Whether a name asks for a choice.</summary>
    public static bool IsAuto(string? name) => Auto.Equals(name, StringComparison.OrdinalIgnoreCase);

    /// <summary>The choice for a request; the names of models that were not measured come along.</summary>
    public (ModelChoice Choice, IReadOnlyList<ModelEntry> Unmeasured) Weigh(Caller caller, string task, ChoiceRequest request)
    {
        List<Candidate> candidates = [];
        List<ModelEntry> unmeasured = [];
        foreach (var entry in library.List())
        {
            if (profiles.Find(entry) is { } profile)
            {
                var (good, bad) = feedback.Of(caller, task, entry.Name);
                candidates.Add(new(profile, models?.IsLoaded(entry) ?? false, ModelChooser.Preference(good, bad)));
            }
            else if (ModelFacts.TryRead(entry).Problem is null)
            {
                unmeasured.Add(entry);
            }
        }

        return (ModelChooser.Choose(candidates, request), unmeasured);
    }

    /// <summary>The model for a request and the reason. Where no model was measured yet it is the default one.</summary>
    /// <exception cref="ArgumentException">No measured model can serve it; the message has the numbers.</exception>
    /// <exception cref="ModelNotFoundException">There is no model at all.</exception>
    public (ModelEntry Entry, string Reason) Choose(Caller caller, string task, ChoiceRequest request)
    {
        var (choice, unmeasured) = Weigh(caller, task, request);
        if (choice.Chosen is { } chosen)
        {
            return (library.Resolve(chosen.Model), choice.Reason);
        }

        if (choice.RuledOut.Count > 0)
        {
            var hint = unmeasured.Count > 0 ? $" Not measured: {string.Join(", ", unmeasured.Select(e => e.Name))}; ryzenllm models profile measures them." : "";
            throw new ArgumentException($"{choice.Reason} Ask for less, or name a model.{hint}");
        }

        var entry = library.Default();
        return (entry, $"{entry.Name}, the default: no model has been measured on this machine yet, which ryzenllm models profile does.");
    }

    /// <summary>What a generation asks of a model.</summary>
    /// <param name="asked">The generation.</param>
    /// <param name="moreTokens">Tokens that will be put before the prompt.</param>
    /// <param name="draft">Model that shall draft for it, or null.</param>
    public ChoiceRequest RequestFor(GenerationRequest asked, int moreTokens, string? draft) => new()
    {
        PromptBytes = asked.Turns.Sum(t => (long)Encoding.UTF8.GetByteCount(t.Content)) + (moreTokens * 4L),
        AnswerTokens = asked.MaxTokens,
        MemoryBytes = MemoryLeft(),
        Json = asked.Constraint is not null,
        Vocabulary = VocabularyOf(draft),
    };

    /// <summary>Fingerprint of the vocabulary of a model for which another shall draft.</summary>
    /// <exception cref="ArgumentException">The model was not measured.</exception>
    public string? VocabularyOf(string? name) =>
        string.IsNullOrWhiteSpace(name) ? null
        : library.Resolve(name) is var entry && profiles.Find(entry) is { } profile ? profile.Vocabulary
        : throw new ArgumentException($"{entry.Name} has not been measured yet: run ryzenllm models profile {entry.Name}.");

    /// <summary>Memory that the system can give without swapping, in bytes; null where it does not tell.</summary>
    public static long? MemoryLeft()
    {
        const string Key = "MemAvailable:";
        if (!OperatingSystem.IsLinux())
        {
            return null;
        }

        var line = File.ReadLines("/proc/meminfo").FirstOrDefault(l => l.StartsWith(Key, StringComparison.Ordinal));
        return line is not null && long.TryParse(line[Key.Length..].Replace("kB", "", StringComparison.Ordinal).Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var kilobytes)
            ? Math.Min(kilobytes * 1024, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes)
            : null;
    }
}

/// <summary>The measured figures of a model that people and models ask for.</summary>
/// <param name="LoadSeconds">Time until the first answer can begin.</param>
/// <param name="PromptTokensPerSecond">For a prompt of 256 tokens.</param>
/// <param name="LongPromptTokensPerSecond">For a prompt of 4,096 tokens, by the fitted curve; absent where the context is shorter.</param>
/// <param name="DecodeTokensPerSecond">After a prompt of 256 tokens.</param>
/// <param name="BitsPerByte">Surprise of the built-in text; lower is better.</param>
/// <param name="MemoryBytes">Memory of the model.</param>
/// <param name="StateBytesPerToken">Memory of each token of context.</param>
/// <param name="Measured">When.</param>
internal sealed record ProfileFacts(
    double LoadSeconds,
    double PromptTokensPerSecond,
    double? LongPromptTokensPerSecond,
    double DecodeTokensPerSecond,
    double? BitsPerByte,
    long MemoryBytes,
    double StateBytesPerToken,
    string Measured)
{
    private const int Short = 256;
    private const int Long = 4096;

    /// <summary>The figures of a profile; null for none.</summary>
    public static ProfileFacts? Of(ModelProfile? profile) => profile is null ? null : new(
        Math.Round(profile.LoadSeconds, 3),
        Rate(Short / profile.PromptSeconds(Short)),
        profile.IsRecurrent || profile.ContextLength >= Long ? Rate(Long / profile.PromptSeconds(Long)) : null,
        Rate(1 / profile.TokenSeconds(Short)),
        profile.BitsPerByte is { } bits ? Math.Round(bits, 3) : null,
        profile.MemoryBytes,
        Math.Round(profile.StateBytesPerToken),
        profile.Measured.UtcDateTime.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture));

    private static double Rate(double value) => double.IsFinite(value) ? Math.Round(value, 1) : 0;
}
