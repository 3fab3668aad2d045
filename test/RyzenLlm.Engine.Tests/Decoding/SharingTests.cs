using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Decoding.Scheduling;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Tests.Decoding;

/// <summary>Who gets what of a model: places, prompt rows, time.</summary>
public sealed class SharingTests
{
    private static readonly GenerationRequest Story = new()
    {
        Turns = [new("user", "The state of the machine")],
        MaxTokens = 40,
        Sampling = new SamplingOptions { Seed = 7, Temperature = 1 },
        Speculation = SpeculationMode.Off,
    };

    [Test]
    public void AFreePlaceGoesToTheTenantWithTheFewestRunning()
    {
        var line = new WaitingLine(100);
        string[] comers = ["a", "a", "a", "a", "b", "b", "c"];
        foreach (var tenant in comers)
        {
            line.Add(Waiting(tenant));
        }

        Assert.That(Take(line, 7), Is.EqualTo(new[] { "a", "b", "c", "a", "b", "a", "a" }));
        Assert.That(line.Next(true, out _), Is.Null);
    }

    [Test]
    public void BackgroundWaitsForInteractiveAndLeavesPlacesFree()
    {
        var line = new WaitingLine(100);
        line.Add(Waiting("a", RequestPriority.Background));
        line.Add(Waiting("b", RequestPriority.Background));
        line.Add(Waiting("c"));
        line.Add(Waiting("c"));

        Assert.That(Take(line, 2), Is.EqualTo(new[] { "c", "c" }));
        Assert.That(line.Next(background: false, out _), Is.Null);
        Assert.That(Take(line, 2), Is.EqualTo(new[] { "a", "b" }));
    }

    [Test]
    public void WhoLeftOrIsNotReadYetIsPassedOver()
    {
        var line = new WaitingLine(2);
        using var cancel = new CancellationTokenSource();
        for (var i = 0; i < 20; i++)
        {
            line.Add(Waiting("a", cancel: cancel.Token));
        }

        line.Add(Waiting("b", prepared: false));
        line.Add(Waiting("c"));
        cancel.Cancel();
        Assert.That(Take(line, 1), Is.EqualTo(new[] { "c" }));
        Assert.That(line.Next(true, out _), Is.Null);
    }

    [Test]
    public async Task NeverDoMoreRunThanAllowedAndBackgroundKeepsSomePlacesFree()
    {
        using var steps = new SteppedModel("mamba-f32", new() { MaxSequences = 4 });
        steps.Run(30);
        var background = Enumerable.Range(0, 6).Select(_ => steps.Scheduler.GenerateAsync(Story with { Priority = RequestPriority.Background })).ToArray();
        steps.Await(30);
        Assert.That(steps.Model.OpenSessions, Is.EqualTo(3));
        var interactive = Enumerable.Range(0, 6).Select(_ => steps.Scheduler.GenerateAsync(Story)).ToArray();
        var most = 0;
        steps.Before = _ => most = Math.Max(most, steps.Model.OpenSessions);
        steps.RunFreely();
        await Task.WhenAll([.. background, .. interactive]);
        Assert.That(most, Is.EqualTo(4));
    }

    [Test]
    public async Task PromptsAreReadInTurnForEveryTenant()
    {
        // One tenant has three long prompts, the other one, known by its first token; rows go by turns while both have any.
        using var steps = new SteppedModel("mamba-f32", new() { StepTokens = 16 });
        var text = string.Concat(Enumerable.Repeat("state of the machine ", 60));
        List<(Session Session, int Token, int Position)> rows = [];
        steps.Before = batch => rows.AddRange(batch.Rows.Select(row => (row.Session, row.Token, row.Position)));
        var all = Enumerable.Range(0, 4).Select(i => steps.Scheduler.GenerateAsync(
            Story with { Turns = [new("user", i < 3 ? text : "Z" + text)], Template = ChatTemplate.ByName("plain"), MaxTokens = 1, Tenant = i < 3 ? "a" : "b" })).ToArray();
        steps.RunFreely();
        var results = await Task.WhenAll(all);
        var modest = rows.Where(row => row.Position == 0).GroupBy(row => row.Token).MinBy(group => group.Count())!.Single().Session;
        var until = rows.FindLastIndex(row => row.Session == modest) + 1;
        Assert.That(until, Is.InRange(1.9 * results[3].PromptTokens, 2.3 * results[3].PromptTokens));
    }

    [Test]
    public void AStepWithPromptsStaysWithinAFewTimesTheUsual()
    {
        // A world in which rows of a prompt become dearer as it grows, and steps are interrupted now and then.
        var random = new Random(4);
        var (costs, budget) = (new StepCosts(), new StepBudget(256));
        for (var i = 0; i < 50; i++)
        {
            costs.Record(4, Plain * (0.95 + (0.1 * random.NextDouble())));
        }

        var (position, steps, late) = (0, 0, 0);
        while (position < 4000)
        {
            var usual = costs.Pass(4);
            budget.Begin(4, usual);
            var rows = budget.Rows(position);
            budget.Add(rows, position);
            var seconds = Plain + Seconds(rows, position, 1);
            Assert.That(seconds, Is.LessThan(4 * Plain));
            seconds *= random.Next(20) == 0 ? 1.5 : 1;
            late += seconds > 4 * Plain * 1.5 ? 1 : 0;
            budget.Record(seconds, usual);
            (position, steps) = (position + rows, steps + 1);
        }

        Assert.That(late, Is.Zero);
        Assert.That(steps, Is.LessThan(800), "what is allowed is used");
        budget.Begin(0, 0);
        Assert.That(budget.Rows(0) * budget.Row(0), Is.LessThanOrEqualTo(StepBudget.LongestSeconds + budget.Row(0)), "others can join soon");
        Assert.That(budget.Rows(4000), Is.LessThan(0.7 * budget.Rows(0)), "rows far from the beginning are dearer");
        var first = new StepBudget(256);
        first.Begin(0, 0);
        Assert.That(first.Rows(0), Is.LessThan(256), "nothing is known yet");
    }

    [Test]
    public void APromptThatBeginsFarFromTheBeginning_IsNotTakenForAShortOne([Values(0, 1, 2)] double growth)
    {
        // Only short prompts so far; now one goes on from a kept state, and another short one comes beside it.
        var budget = new StepBudget(256);
        for (var i = 0; i < 30; i++)
        {
            Read(budget, [(10 * (i % 3), 20)], growth);
        }

        for (var i = 0; i < 30; i++)
        {
            var seconds = Read(budget, [(3500 + (8 * i), 250), (0, 20)], growth);
            Assert.That(seconds, Is.LessThan(4 * Plain), $"step {i}");
        }

        Assert.That(Read(budget, [(3740, 250)], growth), Is.GreaterThan(2.2 * Plain), "what is allowed is used");
        Assert.That(Read(budget, [(0, 250)], growth), Is.InRange(2.2 * Plain, 3.4 * Plain));
    }

    [Test]
    public void StepsOfFewRows_TellThatRowsAreCheaperThanThought()
    {
        // What is expected so far from the beginning allows three rows, and there are never more to measure.
        var budget = new StepBudget(256);
        Read(budget, [(0, 8)], 0);
        var first = Read(budget, [(3800, 250)], 0);
        for (var i = 0; i < 40; i++)
        {
            Read(budget, [(3800 + i, 250)], 0);
        }

        Assert.That(first, Is.LessThan(Plain + Seconds(4, 3800, 0)));
        Assert.That(Read(budget, [(3850, 250)], 0), Is.GreaterThan(2.4 * Plain));
    }

    private const double Plain = 0.022;

    // Rows that become dearer by their growth over 4,000 positions.
    private static double Seconds(int rows, int position, double growth) => rows * 0.004 * (1 + (growth * position / 4000));

    private static double Read(StepBudget budget, (int Position, int Rows)[] prompts, double growth)
    {
        budget.Begin(4, Plain);
        var seconds = Plain;
        foreach (var (position, pending) in prompts)
        {
            var rows = Math.Min(pending, budget.Rows(position));
            budget.Add(rows, position);
            seconds += Seconds(rows, position, growth);
        }

        budget.Record(seconds, Plain);
        return seconds;
    }

    [Test]
    public void GuessesPayLessInCompany()
    {
        // A row costs a tenth of a plain step. Alone, a likely guess is worth it; with seven others, who all wait for it, only a sure one.
        double[] chances = [0.9, 0.8, 0.5, 0.3, 0.2];
        var passes = Enumerable.Range(0, 6).Select(n => 1.7 + (0.1 * n)).ToArray();
        Assert.That(Pace.Guesses(chances, [.. passes.Select(p => p - 0.7)], 0), Is.EqualTo(4));
        Assert.That(Pace.Guesses(chances, passes, 0, sequences: 8), Is.EqualTo(2));
        Assert.That(Pace.Guesses(chances, passes, 0, sequences: 16), Is.EqualTo(0));
    }

    [Test]
    public void StepCostsFollowACurveAtEverySizeMeasured()
    {
        var costs = new StepCosts();
        for (var i = 0; i < 400; i++)
        {
            var rows = new[] { 1, 3, 8, 12, 16 }[i % 5];
            costs.Record(rows, Curve(rows));
        }

        foreach (var rows in (int[])[1, 3, 8, 12, 16])
        {
            Assert.That(costs.Pass(rows), Is.EqualTo(Curve(rows)).Within(0.03 * Curve(rows)), $"{rows} rows");
        }

        Assert.That(costs.Pass(24), Is.GreaterThan(costs.Pass(16)));

        static double Curve(int rows) => Math.Max(0.02, 0.005 * rows);
    }

    [Test]
    public async Task ASteadyLoopAllocatesNothing([Values("tales-bitnet", "tales-mamba", "tales-rwkv7")] string model)
    {
        // Models that write text: the decoder of the base class library allocates for bytes that are none.
        using var steps = new SteppedModel(model);
        const int window = 20;
        var bytes = new long[500];
        var step = 0;
        steps.Before = batch =>
        {
            if (batch.Sessions.Count == 4 && step < bytes.Length)
            {
                bytes[step++] = GC.GetAllocatedBytesForCurrentThread();
            }
        };
        var all = Enumerable.Range(0, 4).Select(i => steps.Scheduler.GenerateAsync(
            Story with
            {
                Turns = [new("user", "Once upon a time there was a little girl")],
                Template = ChatTemplate.ByName("plain"),
                MaxTokens = 150,
                Sampling = new() { Seed = (ulong)i },
                Speculation = i < 2 ? SpeculationMode.Off : SpeculationMode.Recycle,
            },
            i % 2 == 0 ? null : _ => { })).ToArray();
        steps.RunFreely();
        await Task.WhenAll(all);
        Assert.That(step, Is.GreaterThan(2 * window));
        Assert.That(Enumerable.Range(0, step - window).Min(i => bytes[i + window] - bytes[i]), Is.Zero, $"of {window} steps in a row");
    }

    [Test]
    public async Task TheTimeToTryAgainFollowsFromTheSpeed()
    {
        var clock = new ManualClock();
        using var steps = new SteppedModel("mamba-f32", new() { MaxSequences = 1, QueueLimit = 1 }, clock);
        steps.After = batch => clock.Advance(TimeSpan.FromSeconds(batch.LogitsCount > 0 ? 2 : 0));
        steps.RunFreely();
        await steps.Scheduler.GenerateAsync(Story with { MaxTokens = 20 });
        using var hold = new ManualResetEventSlim();
        using var started = new ManualResetEventSlim();
        steps.Before = _ =>
        {
            started.Set();
            hold.Wait();
        };
        var first = steps.Scheduler.GenerateAsync(Story);
        var second = steps.Scheduler.GenerateAsync(Story);
        started.Wait();
        Assert.That(
            () => steps.Scheduler.GenerateAsync(Story), Throws.InstanceOf<QueueFullException>().With.Property("RetryAfter").EqualTo(TimeSpan.FromSeconds(40)));
        hold.Set();
        await Task.WhenAll(first, second);
    }

    private static string[] Take(WaitingLine line, int count) =>
        [.. Enumerable.Range(0, count).Select(_ => line.Next(background: true, out var tenant) is null ? "none" : tenant!.Name)];

    private static Ticket Waiting(string tenant, RequestPriority priority = RequestPriority.Interactive, bool prepared = true, CancellationToken cancel = default)
    {
        var request = Story with { Tenant = tenant, Priority = priority };
        return new(request, null, TimeProvider.System, cancel, default, () => { })
        {
            Prepared = prepared ? new(request, [1], 1, 0, null!, new HashSet<int>(), new([]), null) : null,
        };
    }
}
