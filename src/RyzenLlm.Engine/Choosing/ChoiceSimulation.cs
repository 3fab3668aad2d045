using RyzenLlm.Engine.Profiles;

namespace RyzenLlm.Engine.Choosing;

/// <summary>A way to choose, over all requests of a simulation.</summary>
/// <param name="Policy">auto, auto without feedback, or the model that is always taken.</param>
/// <param name="Worth">Mean worth of an answer; 0 for one that was refused.</param>
/// <param name="Regret">Mean distance to the best model of each request, known afterwards and loaded already.</param>
/// <param name="WorstTask">Task with the most regret.</param>
/// <param name="WorstRegret">Its mean regret.</param>
/// <param name="Refused">Share of the requests that the model could not serve.</param>
/// <param name="Late">Share of the requests that took longer than their latency target.</param>
public sealed record PolicyOutcome(string Policy, double Worth, double Regret, string WorstTask, double WorstRegret, double Refused, double Late);

/// <summary>How often a policy took a model for a task.</summary>
/// <param name="Task">The task.</param>
/// <param name="Model">The model.</param>
/// <param name="Share">Share of the task's requests.</param>
public sealed record TaskShare(string Task, string Model, double Share);

/// <summary>Outcome of a simulation.</summary>
/// <param name="Requests">Number of requests.</param>
/// <param name="Seed">What names its randomness.</param>
/// <param name="Policies">Best first.</param>
/// <param name="Shares">What auto took.</param>
public sealed record SimulationReport(int Requests, int Seed, IReadOnlyList<PolicyOutcome> Policies, IReadOnlyList<TaskShare> Shares);

/// <summary>
/// A day of requests of different kinds against measured profiles, to compare automatic choice with always taking the same model. What the chooser
/// cannot know is added: real times scatter around the curves, and each model has a hidden talent for each task of each tenant, which only feedback
/// shows.
/// </summary>
public static class ChoiceSimulation
{
    /// <summary>Name of the automatic choice with feedback.</summary>
    public const string Auto = "auto";

    /// <summary>Name of the automatic choice that gets no feedback.</summary>
    public const string AutoWithoutFeedback = "auto, no feedback";

    // Standard deviations: of log time, and of the hidden talents in log odds of quality.
    private const double TimeScatter = 0.2;
    private const double TalentScatter = 0.4;

    // Tenants with talents and feedback of their own, among whom the requests go round.
    private const int Tenants = 10;

    // Share of requests that get a thumb, and how clearly it shows the talent.
    private const double ThumbShare = 0.25;
    private const double ThumbSlope = 3;

    // Models kept in memory by a server with default settings; the others are loaded again.
    private const int KeptLoaded = 2;

    private static readonly Kind[] Kinds =
    [
        new("classify", 0.20, (100, 1_500), (2, 6), 1, false),
        new("chat", 0.30, (60, 900), (40, 200), 6, false),
        new("extract", 0.20, (800, 6_000), (60, 160), 12, true),
        new("story", 0.10, (60, 300), (300, 900), 45, false),
        new("summarise", 0.13, (6_000, 40_000), (100, 250), 40, false),
        new("search", 0.07, (30_000, 120_000), (20, 60), 120, false),
    ];

    /// <summary>The kinds of requests: name, share, bytes of prompt, tokens of answer, latency target, whether JSON.</summary>
    public static IReadOnlyList<(string Task, double Share, (int Low, int High) PromptBytes, (int Low, int High) AnswerTokens, double LatencySeconds, bool Json)> Mix { get; } =
        [.. Kinds.Select(k => (k.Task, k.Share, k.Prompt, k.Answer, k.Latency, k.Json))];

    /// <summary>Runs all policies over the same requests.</summary>
    /// <param name="profiles">Measured models, at least one.</param>
    /// <param name="requests">Number of requests.</param>
    /// <param name="seed">Names the randomness.</param>
    /// <exception cref="ArgumentException">There is no profile.</exception>
    public static SimulationReport Run(IReadOnlyList<ModelProfile> profiles, int requests = 5000, int seed = 1)
    {
        if (profiles.Count == 0)
        {
            throw new ArgumentException("A simulation needs measured models: run ryzenllm models profile.");
        }

        var random = new Random(seed);
        var talents = Enumerable.Range(0, Tenants)
            .Select(_ => Kinds.ToDictionary(k => k.Task, _ => profiles.ToDictionary(p => p.Model, _ => Math.Clamp(TalentScatter * Normal(random), -1, 1))))
            .ToArray();
        Policy[] policies = [new(Auto, null, Learns: true), new(AutoWithoutFeedback, null, Learns: false), .. profiles.Select(p => new Policy($"always {p.Model}", p.Model, Learns: false))];
        for (var i = 0; i < requests; i++)
        {
            var (kind, request) = Draw(random);
            var scatter = profiles.ToDictionary(p => p.Model, _ => Math.Exp(TimeScatter * Normal(random)));
            var (given, luck) = (random.NextDouble() < ThumbShare, random.NextDouble());
            var tenant = i % Tenants;
            var talent = talents[tenant][kind.Task];
            var unable = ModelChooser.Choose([.. profiles.Select(p => new Candidate(p, Loaded: true))], request).RuledOut.Select(r => r.Model).ToHashSet();
            var best = profiles.Where(p => !unable.Contains(p.Model))
                .Select(p => Worth(p, request, talent[p.Model], scatter[p.Model], loaded: true).Worth).DefaultIfEmpty().Max();
            foreach (var policy in policies)
            {
                var loaded = policy.Loaded;
                var choice = ModelChooser.Choose(
                    [.. profiles.Where(p => policy.Fixed is null || p.Model == policy.Fixed).Select(p => new Candidate(p, loaded.Contains(p.Model), policy.Preference(tenant, kind.Task, p.Model)))],
                    request);
                var model = choice.Chosen?.Model;
                var (worth, seconds) = model is null ? (0, double.PositiveInfinity) : Worth(Profile(model), request, talent[model], scatter[model], loaded.Contains(model));
                policy.Record(kind.Task, model, worth, best - worth, seconds > request.LatencySeconds);
                if (policy.Learns && given && model is not null)
                {
                    policy.Thumb(tenant, kind.Task, model, luck < 1 / (1 + Math.Exp(-ThumbSlope * talent[model])));
                }
            }
        }

        return new(requests, seed, [.. policies.Select(p => p.Outcome(requests)).OrderByDescending(o => o.Worth)], policies[0].Shares());

        ModelProfile Profile(string model) => profiles.First(p => p.Model == model);
    }

    private static (double Worth, double Seconds) Worth(ModelProfile profile, ChoiceRequest request, double talent, double scatter, bool loaded)
    {
        var expected = ModelChooser.Expect(new(profile, loaded, talent), request);
        var seconds = expected.Seconds * scatter;
        return (expected.Quality * ModelChooser.Timeliness(seconds, request.LatencySeconds), seconds);
    }

    private static (Kind Kind, ChoiceRequest Request) Draw(Random random)
    {
        var (at, index) = (random.NextDouble(), 0);
        while (index < Kinds.Length - 1 && (at -= Kinds[index].Share) >= 0)
        {
            index++;
        }

        var kind = Kinds[index];
        return (kind, new()
        {
            PromptBytes = (long)Between(random, kind.Prompt),
            AnswerTokens = (int)Between(random, kind.Answer),
            LatencySeconds = kind.Latency,
            Json = kind.Json,
        });
    }

    // Uniform in the logarithm: short ones are as frequent as long ones.
    private static double Between(Random random, (int Low, int High) range) => range.Low * Math.Pow((double)range.High / range.Low, random.NextDouble());

    private static double Normal(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());

    private sealed record Kind(string Task, double Share, (int Low, int High) Prompt, (int Low, int High) Answer, double Latency, bool Json);

    private sealed record Policy(string Name, string? Fixed, bool Learns)
    {
        private readonly Dictionary<(int Tenant, string Task, string Model), (long Good, long Bad)> _thumbs = [];
        private readonly Dictionary<string, (int Count, double Regret)> _tasks = [];
        private readonly Dictionary<(string Task, string Model), int> _chosen = [];
        private double _worth;
        private int _refused;
        private int _late;

        // The latest models used, the last one first.
        public List<string> Loaded { get; } = [];

        public double Preference(int tenant, string task, string model) =>
            _thumbs.TryGetValue((tenant, task, model), out var thumbs) ? ModelChooser.Preference(thumbs.Good, thumbs.Bad) : 0;

        public void Thumb(int tenant, string task, string model, bool good)
        {
            var (g, b) = _thumbs.GetValueOrDefault((tenant, task, model));
            _thumbs[(tenant, task, model)] = good ? (g + 1, b) : (g, b + 1);
        }

        public void Record(string task, string? model, double worth, double regret, bool late)
        {
            _worth += worth;
            var (count, sum) = _tasks.GetValueOrDefault(task);
            _tasks[task] = (count + 1, sum + regret);
            if (model is null)
            {
                _refused++;
                return;
            }

            _late += late ? 1 : 0;
            _chosen[(task, model)] = _chosen.GetValueOrDefault((task, model)) + 1;
            Loaded.Remove(model);
            Loaded.Insert(0, model);
            if (Loaded.Count > KeptLoaded)
            {
                Loaded.RemoveAt(KeptLoaded);
            }
        }

        public PolicyOutcome Outcome(int requests)
        {
            var (worst, (count, regret)) = _tasks.MaxBy(t => t.Value.Regret / t.Value.Count);
            return new(
                Name, _worth / requests, _tasks.Values.Sum(t => t.Regret) / requests, worst, regret / count, (double)_refused / requests, (double)_late / requests);
        }

        public IReadOnlyList<TaskShare> Shares() =>
            [.. Kinds.SelectMany(k => _chosen.Where(c => c.Key.Task == k.Task).OrderByDescending(c => c.Value)
                .Select(c => new TaskShare(k.Task, c.Key.Model, (double)c.Value / _tasks[k.Task].Count)))];
    }
}
