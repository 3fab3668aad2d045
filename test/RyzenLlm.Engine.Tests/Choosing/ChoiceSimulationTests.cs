using RyzenLlm.Engine.Choosing;
using RyzenLlm.Engine.Profiles;

namespace RyzenLlm.Engine.Tests.Choosing;

public sealed class ChoiceSimulationTests
{
    private static readonly ModelProfile[] Profiles =
    [
        Made.Profile("small", bits: 1.4, promptRate: 5000, decodeRate: 500, load: 0.1),
        Made.Profile("good", bits: 0.75, promptRate: 220, decodeRate: 45, recurrent: false, quadratic: 1e-6, load: 0.5),
        Made.Profile("steady", bits: 0.8, promptRate: 170, decodeRate: 32, load: 0.8),
    ];

    [TestCase(1)]
    [TestCase(2)]
    [TestCase(3)]
    public void AutoBeatsEveryFixedChoiceAndLearns(int seed)
    {
        var report = ChoiceSimulation.Run(Profiles, 3000, seed);
        Assert.That(report.Policies, Has.Count.EqualTo(5));
        Assert.That(report.Policies[0].Policy, Is.EqualTo(ChoiceSimulation.Auto));
        Assert.That(report.Policies[1].Policy, Is.EqualTo(ChoiceSimulation.AutoWithoutFeedback));
        Assert.That(report.Policies.Select(p => p.Regret), Is.Ordered.Ascending);
        Assert.That(report.Policies.Select(p => p.Regret), Is.All.GreaterThanOrEqualTo(0));
    }

    [Test]
    public void TheSameSeedGivesTheSameDayAndAnotherSeedAnother()
    {
        var one = ChoiceSimulation.Run(Profiles, 500, 7);
        Assert.That(ChoiceSimulation.Run(Profiles, 500, 7).Policies, Is.EqualTo(one.Policies));
        Assert.That(ChoiceSimulation.Run(Profiles, 500, 8).Policies, Is.Not.EqualTo(one.Policies));
    }

    [Test]
    public void AModelOfShortContextRefusesWhatIsTooLongForIt()
    {
        var policy = ChoiceSimulation.Run([Profiles[1] with { ContextLength = 512 }, Profiles[2]], 2000).Policies.Single(p => p.Policy == "always good");
        Assert.That(policy.Refused, Is.InRange(0.2, 0.6));
    }

    [Test]
    public void OneModelAloneHasNothingToRegretButItsLoading()
    {
        var report = ChoiceSimulation.Run([Profiles[0] with { LoadSeconds = 0 }], 200);
        Assert.That(report.Policies.Select(p => p.Regret), Is.All.EqualTo(0).Within(1e-12));
        Assert.That(() => ChoiceSimulation.Run([]), Throws.ArgumentException);
    }

    [Test]
    public void TheMixIsWhole() => Assert.That(ChoiceSimulation.Mix.Sum(k => k.Share), Is.EqualTo(1).Within(1e-9));
}
