using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Eval;

namespace RyzenLlm.Engine.Tests.Decoding;

/// <summary>Many clients with cancels, deadlines, hang-ups and a queue too short for them; the evaluation program runs the same for minutes.</summary>
public sealed class CrowdTests
{
    [Test]
    public async Task ACrowdGetsTheRightTextsAndLeavesNothingBehind([Values("tales-bitnet", "tales-mamba", "tales-rwkv7")] string name)
    {
        var options = new SchedulerOptions { MaxSequences = 6, QueueLimit = 12 };
        using var steps = new SteppedModel(name, options);
        var (mostSessions, shared) = (0, 0);
        steps.Before = batch => (mostSessions, shared) = (Math.Max(mostSessions, steps.Model.OpenSessions), Math.Max(shared, batch.Sessions.Count));
        steps.RunFreely();
        var crowd = await Crowd.Gather(steps.Scheduler, 16);

        await crowd.Run(clients: 30, requests: 12, patience: 20, CancellationToken.None);

        Assert.That(crowd.Wrong, Is.Zero, crowd.FirstWrong);
        Assert.That(crowd.Ends.Keys, Is.SupersetOf(new[] { "length", "eos", "hung up", "turned away" }));
        Assert.That(mostSessions, Is.EqualTo(options.MaxSequences));
        Assert.That(shared, Is.GreaterThan(2));
        Assert.That(crowd.MostPending, Is.LessThanOrEqualTo(options.MaxSequences + options.QueueLimit));
        Assert.That(steps.Model.OpenSessions, Is.Zero);
        Assert.That(steps.Scheduler.Pending, Is.Zero);
    }
}
