using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Decoding;

/// <summary>Same seed, same text: alone and in company, whenever the others come and whatever they ask for.</summary>
public sealed class BatchingTests
{
    private const string Order =
        """{"type":"object","properties":{"identifier":{"type":"integer"},"note":{"type":"string","maxLength":6},"category":{"enum":["tools","toys"]}},"required":["identifier","note","category"]}""";

    private static readonly OutputConstraint?[] Constraints =
        [null, null, OutputConstraint.JsonSchema(Order), null, OutputConstraint.Regex("(one|two|three)( and (four|five))*"), OutputConstraint.Choices(["first", "second"])];

    private static readonly string[] Words = ["the", "cat", "machine", "and", "Lily", "saw", "42", "in", "a", "garden", "\n", "state", "of"];

    /// <summary>Models with a vocabulary, one at least of each architecture.</summary>
    public static string[] Models => ["bitnet-b158-tq2_0", "mamba-f32", "rwkv7-f32", "tales-bitnet", "tales-mamba", "tales-rwkv7"];

    [TestCaseSource(nameof(Models))]
    public async Task TextsAreTheSameAloneAndInABatchOfSixteen(string name)
    {
        var requests = Enumerable.Range(0, 24).Select(Request).ToArray();
        List<GenerationResult> alone = [];
        using (var scheduler = new Scheduler(Golden.Open(name).Load(), new() { MaxSequences = 1 }))
        {
            foreach (var request in requests)
            {
                alone.Add(await scheduler.GenerateAsync(request with { Speculation = SpeculationMode.Off }));
            }
        }

        var sequences = 0;
        using var steps = new SteppedModel(name);
        steps.Before = batch => sequences = Math.Max(sequences, batch.Sessions.Count);
        var first = requests[..12].Select(r => steps.Scheduler.GenerateAsync(r)).ToArray();
        var random = new Random(name.Length);
        foreach (var request in requests[12..])
        {
            // The others come one by one, after a random number of steps.
            steps.Run(random.Next(6));
            first = [.. first, steps.Scheduler.GenerateAsync(request)];
        }

        steps.RunFreely();
        var together = await Task.WhenAll(first);
        for (var i = 0; i < requests.Length; i++)
        {
            Assert.That(
                (together[i].Text, together[i].FinishReason, together[i].GeneratedTokens),
                Is.EqualTo((alone[i].Text, alone[i].FinishReason, alone[i].GeneratedTokens)),
                $"request {i}");
        }

        Assert.That(sequences, Is.GreaterThan(3), "they did share steps");
        Assert.That(steps.Model.OpenSessions, Is.Zero);
    }

    private static GenerationRequest Request(int seed)
    {
        var random = new Random(seed);
        var words = Enumerable.Range(0, seed % 5 == 3 ? 150 : random.Next(3, 40)).Select(_ => Words[random.Next(Words.Length)]);
        return new()
        {
            Turns = [new("user", string.Join(' ', words))],
            MaxTokens = Constraints[seed % Constraints.Length] is null ? random.Next(1, 70) : 90,
            Constraint = Constraints[seed % Constraints.Length],
            Speculation = (seed % 4) switch { 0 => SpeculationMode.Off, 1 => SpeculationMode.Lookup, 2 => SpeculationMode.Recycle, _ => SpeculationMode.Auto },
            Tenant = $"tenant {seed % 3}",
            Priority = seed % 7 == 0 ? RequestPriority.Background : RequestPriority.Interactive,
            Sampling = (seed % 5) switch
            {
                0 => SamplingOptions.Greedy,
                1 => new() { Temperature = 1, Seed = (ulong)seed, TopK = 0, TopP = 1, MinP = 0 },
                2 => new() { Temperature = 0.8f, Seed = (ulong)seed, RepetitionPenalty = 1.3f, PenaltyWindow = 16 },
                3 => new() { Temperature = 1.2f, Seed = (ulong)seed, TypicalP = 0.9f },
                _ => new() { Seed = (ulong)seed },
            },
        };
    }
}
