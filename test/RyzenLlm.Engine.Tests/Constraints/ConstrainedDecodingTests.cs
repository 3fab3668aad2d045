using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Tests.Models;
using RyzenLlm.Engine.Tests.Speculation;

namespace RyzenLlm.Engine.Tests.Constraints;

/// <summary>Models under a constraint: texts conform, with and without speculation they are the same, and forced stretches cost no choice.</summary>
public class ConstrainedDecodingTests
{
    private const string Order =
        """{"type":"object","properties":{"identifier":{"type":"integer"},"description":{"type":"string","maxLength":8},"category":{"enum":["tools","toys"]}},"required":["identifier","description","category"]}""";

    [Test]
    public void SpeculationKeepsTheConstrainedStream([Values("bitnet-b158-tq2_0", "mamba-f32", "rwkv7-f32")] string target)
    {
        using var model = Golden.Open(target).Load();
        using var small = Golden.Open(target).Load();
        var vocabulary = new TestVocabulary(model.Info.VocabularySize, "identifier", "\"description\"", "category", "\": ", "tools");
        var experience = new Experience(model);
        foreach (var output in (OutputConstraint[])[OutputConstraint.JsonSchema(Order), OutputConstraint.Regex("(one|two|three)( and (four|five))*"), OutputConstraint.Choices(["first", "second"])])
        {
            var constraint = Constrained.For(output, vocabulary);
            for (var seed = 0; seed < 12; seed++)
            {
                var sampling = Streams.Sampling(seed) with { LogitBias = new Dictionary<int, float>() };
                var (prompt, limit) = (Streams.Prompt(model, seed), 75 + (5 * seed));
                var plain = Streams.Decode(model, prompt, sampling, limit, null, constraint, vocabulary.End);
                using var speculator = new Speculator(experience.Drafts(SpeculationMode.Auto, small, sampling, TimeProvider.System), experience.Costs, TimeProvider.System, guesses: 1 + (seed % 8));
                var speculative = Streams.Decode(model, prompt, sampling, limit, speculator, constraint, vocabulary.End);

                var text = ((Engine.Tokenizers.ITokenizer)vocabulary).DecodeText(plain.Tokens);
                Assert.That(Constrained.Matches(output, text), text);
                Streams.AssertEqual(speculative, plain, $"seed {seed}: {text}");
            }
        }
    }

    [Test]
    public void ForcedStretchesAreTakenInOneStep()
    {
        using var model = Golden.Open("mamba-f32").Load();
        var vocabulary = new TestVocabulary(model.Info.VocabularySize);
        var constraint = Constrained.For(OutputConstraint.Regex("the only beginning there is:[A-Z]"), vocabulary);
        using var speculator = new Speculator([], new(), TimeProvider.System);

        var (tokens, session) = Streams.Decode(model, [1, 2, 3], SamplingOptions.Greedy, 60, speculator, constraint, vocabulary.End);
        session.Dispose();

        Assert.That(((Engine.Tokenizers.ITokenizer)vocabulary).DecodeText(tokens), Does.StartWith("the only beginning there is:"));
        Assert.That(speculator.Steps, Is.EqualTo(1), "one step for the stretch, whose logits choose the letter");
    }

    [Test]
    public async Task ARequestGivesAConformingTextAndAReport()
    {
        using var draft = Golden.Open("bitnet-b158-tq1_0").Load();
        using var scheduler = new Scheduler(Golden.Open("bitnet-b158-tq2_0").Load());
        var request = new GenerationRequest
        {
            Turns = [new("user", "An order:")],
            MaxTokens = 100,
            Constraint = OutputConstraint.JsonSchema(Order),
            Speculation = SpeculationMode.Off,
        };

        var plain = await scheduler.GenerateAsync(request);
        var again = await scheduler.GenerateAsync(request with { Speculation = SpeculationMode.Auto, DraftModel = draft });

        Assert.That(SchemaValidation.IsValid(Order, plain.Text), plain.Text);
        Assert.That(again.Text, Is.EqualTo(plain.Text));
        Assert.That(again.FinishReason, Is.EqualTo(plain.FinishReason).And.EqualTo(FinishReason.Eos));
        Assert.That(again.GeneratedTokens, Is.EqualTo(plain.GeneratedTokens));
        Assert.That(plain.Speculation, Is.Null);
        Assert.That(again.Speculation!.Drafts, Is.EqualTo(new[] { "lookup", "draft", "recycle" }));
        Assert.That(again.Speculation.Steps, Is.GreaterThan(0));
    }

    [Test]
    public async Task UnconstrainedTextsAreTheSameInEveryMode()
    {
        using var draft = Golden.Open("bitnet-b158-tq1_0").Load();
        using var scheduler = new Scheduler(Golden.Open("bitnet-b158-tq2_0").Load());
        var request = new GenerationRequest
        {
            Turns = [new("user", "the cat and the dog and the cat and the")],
            MaxTokens = 60,
            Sampling = new() { Temperature = 0.7f, Seed = 5 },
            DraftModel = draft,
        };
        var plain = await scheduler.GenerateAsync(request with { Speculation = SpeculationMode.Off });
        var stop = plain.Text.Substring(plain.Text.Length / 2, 2);
        var stopped = await scheduler.GenerateAsync(request with { Speculation = SpeculationMode.Off, Stop = [stop] });

        foreach (var mode in Enum.GetValues<SpeculationMode>())
        {
            var pieces = new List<string>();
            var whole = await scheduler.GenerateAsync(request with { Speculation = mode }, piece => pieces.Add(piece.Text.ToString()));
            Assert.That(whole.Text, Is.EqualTo(plain.Text), $"{mode}");
            Assert.That(string.Concat(pieces), Is.EqualTo(plain.Text), $"{mode}");
            var cut = await scheduler.GenerateAsync(request with { Speculation = mode, Stop = [stop] });
            Assert.That((cut.Text, cut.FinishReason, cut.GeneratedTokens), Is.EqualTo((stopped.Text, FinishReason.Stop, stopped.GeneratedTokens)), $"{mode}");
        }
    }

    [Test]
    public void RequestsThatCannotBeServedSayWhy()
    {
        using var scheduler = new Scheduler(Golden.Open("bitnet-b158-tq2_0").Load());
        using var stranger = Golden.Open("mamba-f32").Load();
        var request = new GenerationRequest { Turns = [new("user", "Say")], Constraint = OutputConstraint.Choices(["yes", "no"]) };

        Assert.That(() => scheduler.GenerateAsync(request with { Stop = ["."] }), Throws.ArgumentException.With.Message.Contains("list of choices"));
        Assert.That(() => scheduler.GenerateAsync(request with { MaxTokens = 1 }), Throws.ArgumentException.With.Message.Contains("max_tokens"));
        Assert.That(() => scheduler.GenerateAsync(request with { Speculation = SpeculationMode.Draft }), Throws.ArgumentException.With.Message.Contains("draft model"));
        Assert.That(() => scheduler.GenerateAsync(request with { DraftModel = stranger }), Throws.ArgumentException.With.Message.Contains(stranger.Info.Name));
    }
}
