using System.Globalization;
using RyzenLlm.Engine.Profiles;

namespace RyzenLlm.Engine.Choosing;

/// <summary>
/// Chooses among measured models. Nothing about architectures is written here: what a request asks is put into the measured curves of each
/// model, models that cannot serve it are ruled out, and of those that no other beats in every respect the one of most worth is taken.
/// </summary>
/// <remarks>
/// Worth = quality x timeliness. Quality is 2^-bits, the probability that the model gives the next byte of the sample text, its log odds shifted
/// by feedback. Timeliness is 1 / (1 + (t/T)^2): 1 at once, a half at the latency target T, and vanishing beyond it.
/// </remarks>
public static class ModelChooser
{
    /// <summary>Most that feedback can shift the log odds of quality, either way.</summary>
    public const double MostPreference = 1;

    /// <summary>The model for a request.</summary>
    /// <param name="candidates">Measured models.</param>
    /// <param name="request">What it is wanted for.</param>
    public static ModelChoice Choose(IReadOnlyCollection<Candidate> candidates, ChoiceRequest request)
    {
        List<Expectation> able = [];
        List<RuledOut> ruledOut = [];
        foreach (var candidate in candidates)
        {
            var expected = Expect(candidate, request);
            if (Obstacle(candidate, expected, request) is { } why)
            {
                ruledOut.Add(new(candidate.Profile.Model, why));
            }
            else
            {
                able.Add(expected);
            }
        }

        List<Expectation> front = [.. able.Where(e => !able.Any(other => Beats(other, e)))
            .OrderByDescending(e => e.Worth).ThenBy(e => e.Seconds).ThenBy(e => e.Model, StringComparer.Ordinal)];
        var chosen = front.FirstOrDefault();
        return new(chosen, front, ruledOut, chosen is null ? WhyNone(ruledOut) : Why(front, ruledOut, able.Count, request));
    }

    /// <summary>What the measured curves say about a model for a request.</summary>
    public static Expectation Expect(Candidate candidate, ChoiceRequest request)
    {
        var profile = candidate.Profile;
        var prompt = profile.TokensOf(request.PromptBytes);
        var seconds = (candidate.Loaded ? 0 : profile.LoadSeconds) + profile.AnswerSeconds(prompt, request.AnswerTokens, request.Json);
        var bits = profile.BitsPerByte ?? double.PositiveInfinity;
        var state = profile.StateBytes + (profile.StateBytesPerToken * (prompt + request.AnswerTokens));
        var quality = Quality(bits, candidate.Preference);
        return new(
            profile.Model, seconds, prompt, bits, quality, (candidate.Loaded ? 0 : profile.MemoryBytes) + (long)state,
            quality * Timeliness(seconds, request.LatencySeconds));
    }

    /// <summary>Share of its worth that an answer keeps when it takes so long.</summary>
    public static double Timeliness(double seconds, double target) => 1 / (1 + (seconds / target * (seconds / target)));

    /// <summary>Probability of the next byte, its log odds shifted by feedback within the bound.</summary>
    public static double Quality(double bitsPerByte, double preference)
    {
        var p = Math.Min(Math.Pow(2, -bitsPerByte), 1 - 1e-9);
        var odds = p / (1 - p) * Math.Exp(Math.Clamp(preference, -MostPreference, MostPreference));
        return odds / (1 + odds);
    }

    /// <summary>
    /// What praise and blame say about a model for one kind of task, in log odds: the balance of both, drawn towards 0 as if two of each had come
    /// before, times the bound.
    /// </summary>
    public static double Preference(long good, long bad) => MostPreference * (good - bad) / (good + bad + 4.0);

    private static string? Obstacle(Candidate candidate, Expectation expected, ChoiceRequest request)
    {
        var profile = candidate.Profile;
        var context = Math.Max((long)expected.PromptTokens + request.AnswerTokens, request.ContextTokens);
        return profile.BitsPerByte is null || profile.Vocabulary is null ? "it has no vocabulary"
            : request.Vocabulary is { } wanted && wanted != profile.Vocabulary ? "it has another vocabulary"
            : !profile.IsRecurrent && context > profile.ContextLength ? Text($"context {profile.ContextLength:N0} of {context:N0} tokens")
            : request.MostBitsPerByte is { } most && profile.BitsPerByte > most ? Text($"{profile.BitsPerByte:0.00} bits per byte, at most {most:0.00} asked")
            : request.MemoryBytes is { } left && expected.MemoryBytes > left ? Text($"{Megabytes(expected.MemoryBytes)} MB of memory, {Megabytes(left)} left")
            : null;
    }

    private static bool Beats(Expectation a, Expectation b) =>
        a.Seconds <= b.Seconds && a.Quality >= b.Quality && a.MemoryBytes <= b.MemoryBytes
        && (a.Seconds < b.Seconds || a.Quality > b.Quality || a.MemoryBytes < b.MemoryBytes);

    private static string Why(List<Expectation> front, List<RuledOut> ruledOut, int able, ChoiceRequest request)
    {
        var best = front[0];
        var text = Text($"{best.Model}: {Seconds(best.Seconds)} expected for {best.PromptTokens:N0} prompt and {request.AnswerTokens:N0} answer tokens")
            + Text($" (half worth at {Seconds(request.LatencySeconds)}) at {best.BitsPerByte:0.00} bits per byte, worth {best.Worth:0.000}");
        if (front.Count > 1)
        {
            var next = front[1];
            text += Text($"; next {next.Model} with {Seconds(next.Seconds)} at {next.BitsPerByte:0.00}, worth {next.Worth:0.000}");
        }

        var beaten = able - front.Count;
        text += beaten > 0 ? Text($"; {beaten} beaten in every respect") : "";
        return (ruledOut.Count > 0 ? $"{text}; ruled out: {List(ruledOut)}" : text) + ".";
    }

    private static string WhyNone(List<RuledOut> ruledOut) =>
        ruledOut.Count == 0 ? "No model has been measured on this machine yet." : $"No measured model can serve this: {List(ruledOut)}.";

    private static string List(List<RuledOut> ruledOut) => string.Join(", ", ruledOut.Select(r => $"{r.Model} ({r.Why})"));

    private static string Seconds(double seconds) => Text($"{(seconds < 9.95 ? Math.Round(seconds, seconds < 0.095 ? 3 : 2) : Math.Round(seconds)):0.###} s");

    private static string Megabytes(long bytes) => Text($"{bytes / 1e6:N0}");

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
