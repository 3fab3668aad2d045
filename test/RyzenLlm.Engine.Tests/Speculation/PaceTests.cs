using RyzenLlm.Engine.Decoding.Speculation;

namespace RyzenLlm.Engine.Tests.Speculation;

/// <summary>How much is drafted: the decisions themselves, and their effect in a simulated world whose clock the test moves.</summary>
public class PaceTests
{
    [Test]
    public void GuessesAreTakenWhileTheyRaiseTokensPerSecond()
    {
        var random = new Random(3);
        for (var round = 0; round < 200; round++)
        {
            var chances = Enumerable.Range(0, random.Next(0, 30)).Select(_ => random.NextDouble()).OrderDescending().ToArray();
            var (pass, row, draft) = (0.1 + random.NextDouble(), random.NextDouble() / 2, random.NextDouble() / 3);
            var best = Enumerable.Range(0, chances.Length + 1).MaxBy(n => (1 + chances[..n].Sum()) / (pass + draft + (n * row)));

            var passes = Enumerable.Range(0, chances.Length + 1).Select(n => pass + (n * row)).ToArray();
            Assert.That(Pace.Guesses(chances, passes, draft), Is.EqualTo(best));
        }
    }

    [Test]
    public void StepCostsRecoverALine()
    {
        var costs = new StepCosts();
        for (var i = 0; i < 200; i++)
        {
            var rows = 1 + (i % 9);
            costs.Record(rows, 0.05 * (1 + (0.08 * (rows - 1))));
        }

        Assert.That(costs.Plain, Is.EqualTo(0.05).Within(1e-6));
        Assert.That(costs.Row(1), Is.EqualTo(0.004).Within(1e-4));
        costs.Record(1, 60);
        Assert.That(costs.Plain, Is.LessThan(0.06), "one interruption changes little");
    }

    [Test]
    public void AFirstPassThatReadTheFileIsForgotten()
    {
        var costs = new StepCosts();
        costs.Record(1, 0.9);
        costs.Record(1, 0.004);
        Assert.That(costs.Plain, Is.EqualTo(0.004).Within(1e-12));
        costs.Record(1, 0.006);
        Assert.That(costs.Plain, Is.InRange(0.0041, 0.005), "averaged as ever");
    }

    // (draft cost relative to a plain step, cost of a row, agreement) and what must come of it over 256 tokens.
    [TestCase(0.055, 0.05, 0.8, 1.7, 5)]
    [TestCase(0.055, 0.05, 0.6, 1.3, 5)]
    [TestCase(0.055, 0.05, 0.0, 0.97, 1.01)]
    [TestCase(0.055, 0.3, 0.0, 0.97, 1.01)]
    [TestCase(0.4, 0.5, 0.3, 0.97, 1.3)]
    [TestCase(1.5, 0.05, 0.9, 0.97, 1.3)]
    [TestCase(0.0, 0.05, 0.8, 2.3, 5)]
    [TestCase(0.0, 0.05, 0.0, 0.97, 1.01)]
    [TestCase(0.0, 0.05, 1.0, 7, 25)]
    public void SpeedUpInASimulatedWorld(double draftCost, double rowCost, double agreement, double least, double most)
    {
        var world = new World(draftCost, rowCost, agreement, seed: 11);

        var speedUp = world.Run(tokens: 256, new());

        Assert.That(speedUp, Is.InRange(least, most));
    }

    [Test]
    public void ShortRequestsLoseLittleToADraftThatIsWrong([Values(0.05, 0.12, 0.3, 0.6)] double draftCost, [Values(0.02, 0.09, 0.16, 0.3)] double rowCost, [Values(0, 0.1)] double agreement)
    {
        for (var seed = 0; seed < 6; seed++)
        {
            var world = new World(draftCost, rowCost, agreement, seed);
            var costs = new StepCosts();
            for (var request = 0; request < 5; request++)
            {
                Assert.That(world.Run(48, costs), Is.GreaterThan(0.97), $"request {request} of seed {seed}");
            }
        }
    }

    [Test]
    public void AnAgreementThatComesLateIsFound()
    {
        var world = new World(0.05, 0.05, 0, seed: 5);
        var costs = new StepCosts();
        world.Run(400, costs);
        world.Agreement = 0.9;

        Assert.That(world.Run(800, costs), Is.GreaterThan(1.8), "a draft that did not pay is looked at again");
    }

    [Test]
    public void NothingIsDraftedBeforeAPlainStepWasMeasured()
    {
        var world = new World(0.05, 0.05, 1, seed: 5);
        world.Run(3, new());

        Assert.That(world.FirstRows, Is.EqualTo(1));
    }

    /// <summary>A target, a draft and a clock: a plain step takes a second.</summary>
    private sealed class World(double draftCost, double rowCost, double agreement, int seed) : TimeProvider
    {
        private readonly HitRates _rates = new(0.6);
        private double _now;

        public double Agreement { get; set; } = agreement;

        public int FirstRows { get; private set; }

        public override long TimestampFrequency => 1_000_000_000;

        public override long GetTimestamp() => (long)(_now * TimestampFrequency);

        /// <summary>Decodes so many tokens; how many times faster than plain.</summary>
        public double Run(int tokens, StepCosts costs)
        {
            var begun = _now;
            var order = new int[DraftTree.Capacity];
            var text = new List<int> { 1 };
            using var speculator = new Speculator([new SimulatedDraft(this)], costs, this);
            speculator.Begin(100, new HashSet<int>(), null);
            while (text.Count <= tokens)
            {
                var count = speculator.Guess(text.ToArray(), 1, tokens - text.Count, 0, tokens - text.Count + 1, PassShare.Alone, order);
                FirstRows = FirstRows == 0 ? 1 + count : FirstRows;
                var seconds = 1 + (rowCost * count);
                _now += seconds;
                costs.Record(1 + count, seconds);
                speculator.OpenStep(1 + count, seconds);
                var rows = order[..count].ToHashSet();
                for (var node = DraftTree.Root; ;)
                {
                    var token = Target(text.Count);
                    speculator.Observe(node, text[^1], default, token);
                    text.Add(token);
                    node = speculator.Tree.Find(node, token);
                    if (node < 0 || !rows.Contains(node))
                    {
                        break;
                    }

                    speculator.Accept();
                }
            }

            return tokens / (_now - begun);
        }

        private static int Target(int position) => position * 7 % 50;

        private sealed class SimulatedDraft(World world) : Draft
        {
            private int _skipped;

            public override string Name => "simulated";

            // Costs and conditions as those of a draft model, but for the text.
            public override void Propose(ReadOnlySpan<int> tokens, DraftTree tree, in DraftBudget budget)
            {
                if (!budget.Pays(world._rates.Rate(0), world.DraftCost) && (budget.Suspended || ++_skipped % 32 != 0))
                {
                    return;
                }

                for (var (node, at) = (DraftTree.Root, tokens.Length); node >= DraftTree.Root && tree.Depth(node) < tree.MaxDepth; at++)
                {
                    world._now += world.DraftCost;
                    var right = new Random((world.Seed * 7919) + at).NextDouble() < world.Agreement;
                    node = tree.Add(node, right ? Target(at) : 60, world._rates, 0);
                    if (node < 0 || !budget.Pays(tree.Probability(node) * world._rates.Rate(0), world.DraftCost))
                    {
                        return;
                    }
                }
            }
        }

        private double DraftCost => draftCost;

        private int Seed => seed;
    }
}
