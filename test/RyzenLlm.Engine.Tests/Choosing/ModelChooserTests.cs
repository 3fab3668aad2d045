using RyzenLlm.Engine.Choosing;
using RyzenLlm.Engine.Profiles;

namespace RyzenLlm.Engine.Tests.Choosing;

public sealed class ModelChooserTests
{
    private static readonly ModelProfile Small = Made.Profile("small", bits: 1.4, promptRate: 5000, decodeRate: 500, memory: 2_000_000);
    private static readonly ModelProfile Good = Made.Profile("good", bits: 0.8, promptRate: 200, decodeRate: 40, recurrent: false, quadratic: 2e-6, memory: 900_000_000);
    private static readonly ModelProfile Steady = Made.Profile("steady", bits: 0.85, promptRate: 200, decodeRate: 35, memory: 1_500_000_000);
    private static readonly ModelProfile Worse = Made.Profile("worse", bits: 1.5, promptRate: 4000, decodeRate: 400, memory: 3_000_000);

    [TestCase(400, 40, 20, "good", TestName = "AShortPromptWithTimeGoesToTheModelOfMostQuality")]
    [TestCase(400, 200, 0.5, "small", TestName = "ATightTargetGoesToTheFastModel")]
    [TestCase(14_000, 40, 40, "steady", TestName = "APromptThatGrowsCostlyGoesToTheModelWhoseCostGrowsLess")]
    public void OutcomesFollowFromTheCurves(long promptBytes, int answer, double target, string expected)
    {
        // The transformer's prompt grows with the square and is made dear enough here to show it.
        var good = promptBytes > 10_000 ? Made.Profile("good", bits: 0.8, promptRate: 200, decodeRate: 40, recurrent: false, context: 100_000, quadratic: 2e-6) : Good;
        var choice = Choose(new() { PromptBytes = promptBytes, AnswerTokens = answer, LatencySeconds = target }, Small, good, Steady, Worse);
        Assert.That(choice.Chosen!.Model, Is.EqualTo(expected));
        Assert.That(choice.Chosen, Is.EqualTo(choice.Front.MaxBy(e => e.Worth)));
    }

    [Test]
    public void AModelBeatenInEveryRespectIsNotOnTheFront()
    {
        var choice = Choose(new(), Small, Good, Worse);
        Assert.That(choice.Front.Select(e => e.Model), Is.EquivalentTo(new[] { "small", "good" }));
        Assert.That(choice.Reason, Does.Contain("1 beaten in every respect"));
    }

    [TestCase("context", "context 4,096 of 5,256 tokens")]
    [TestCase("asked", "context 4,096 of 9,000 tokens")]
    [TestCase("quality", "0.80 bits per byte, at most 0.50 asked")]
    [TestCase("memory", "900 MB of memory, 800 left")]
    [TestCase("vocabulary", "it has another vocabulary")]
    [TestCase("none", "it has no vocabulary")]
    public void WhatCannotServeTheRequestIsRuledOutWithTheNumbers(string what, string why)
    {
        var request = what switch
        {
            "context" => new ChoiceRequest { PromptBytes = 20_000 },
            "asked" => new() { ContextTokens = 9_000 },
            "quality" => new() { MostBitsPerByte = 0.5 },
            "memory" => new() { MemoryBytes = 800_000_000 },
            "vocabulary" => new() { Vocabulary = "w" },
            _ => new ChoiceRequest(),
        };
        var choice = Choose(request, what == "none" ? Good with { BitsPerByte = null, Vocabulary = null } : Good);
        Assert.That(choice.Chosen, Is.Null);
        Assert.That(choice.RuledOut.Single(), Is.EqualTo(new RuledOut("good", why)));
        Assert.That(choice.Reason, Is.EqualTo($"No measured model can serve this: good ({why})."));
    }

    [Test]
    public void ARecurrentModelHasNoEndOfContext() => Assert.That(Choose(new() { PromptBytes = 1_000_000 }, Steady).Chosen, Is.Not.Null);

    [Test]
    public void AModelInMemoryNeedsNoLoadingAndTakesOnlyItsState()
    {
        var slow = Good with { LoadSeconds = 7 };
        var cold = ModelChooser.Expect(new(slow), new());
        var warm = ModelChooser.Expect(new(slow, Loaded: true), new());
        Assert.That(cold.Seconds - warm.Seconds, Is.EqualTo(7).Within(1e-9));
        Assert.That(warm.MemoryBytes, Is.EqualTo(256 * 1000));
        Assert.That(cold.MemoryBytes - warm.MemoryBytes, Is.EqualTo(900_000_000));
    }

    [Test]
    public void TheReasonIsOneSentenceWithTheNumbers()
    {
        var reason = Choose(new() { PromptBytes = 400, AnswerTokens = 40, ContextTokens = 0 }, Small, Good, Good with { Model = "short", ContextLength = 64 }).Reason;
        Assert.That(reason, Is.EqualTo(
            "good: 1.52 s expected for 100 prompt and 40 answer tokens (half worth at 20 s) at 0.80 bits per byte, worth 0.571; next small with 0.1 s at 1.40, worth 0.379; ruled out: short (context 64 of 140 tokens)."));
        Assert.That(Choose(new()).Reason, Is.EqualTo("No model has been measured on this machine yet."));
    }

    [Test]
    public void FeedbackShiftsTheChoiceButNotBeyondItsBound()
    {
        var rival = Good with { Model = "rival", BitsPerByte = 0.82 };
        Assert.That(ModelChooser.Choose([new(Good), new(rival)], new()).Chosen!.Model, Is.EqualTo("good"));
        Assert.That(ModelChooser.Choose([new(Good), new(rival, Preference: ModelChooser.Preference(3, 0))], new()).Chosen!.Model, Is.EqualTo("rival"));
        Assert.That(ModelChooser.Preference(1_000_000, 0), Is.LessThan(ModelChooser.MostPreference));
        Assert.That(ModelChooser.Preference(0, 1_000_000), Is.GreaterThan(-ModelChooser.MostPreference));
        Assert.That(ModelChooser.Quality(1, 99), Is.EqualTo(ModelChooser.Quality(1, ModelChooser.MostPreference)));
        var hopeless = Made.Profile("hopeless", bits: 4, promptRate: 200, decodeRate: 40);
        Assert.That(ModelChooser.Choose([new(Good), new(hopeless, Preference: 99)], new()).Chosen!.Model, Is.EqualTo("good"), "no praise makes a bad model the best");
    }

    private static ModelChoice Choose(ChoiceRequest request, params ModelProfile[] profiles) => ModelChooser.Choose([.. profiles.Select(p => new Candidate(p))], request);
}
