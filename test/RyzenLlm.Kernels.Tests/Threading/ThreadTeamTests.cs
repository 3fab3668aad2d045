using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels.Tests.Threading;

/// <summary>The team runs every share exactly once per region, whether its threads spin or sleep.</summary>
public sealed class ThreadTeamTests
{
    private static readonly int[] Sizes = [1, 2, 3, Environment.ProcessorCount + 2];

    [Test]
    public void Run_EveryShareOncePerRegion([ValueSource(nameof(Sizes))] int workers, [Values] bool pin)
    {
        const int Regions = 400;
        using var team = new ThreadTeam(workers, pin);
        var job = new CountJob(workers);
        for (var region = 1; region <= Regions; region++)
        {
            team.Run(job);
            for (var worker = 0; worker < workers; worker++)
            {
                // Plain reads: the return of Run must publish what the workers wrote.
                Assert.That(job.Shares[worker * CountJob.Stride], Is.EqualTo(region), $"worker {worker}");
            }
        }
    }

    [Test]
    public void Run_AfterTheWorkersWentToSleep([ValueSource(nameof(Sizes))] int workers)
    {
        using var team = new ThreadTeam(workers);
        var job = new CountJob(workers);
        for (var region = 1; region <= 12; region++)
        {
            // Long enough for spinning workers to give up in most rounds; correctness must not depend on it.
            for (var i = 0; i < region % 4 * 20_000; i++)
            {
                Thread.SpinWait(10);
            }

            team.Run(job);
            Assert.That(Enumerable.Range(0, workers).Select(w => job.Shares[w * CountJob.Stride]), Is.All.EqualTo(region));
        }
    }

    [Test]
    public void Run_WithManyTeamsAtOnce()
    {
        var failures = 0;
        var threads = Enumerable.Range(0, 4).Select(_ => new Thread(() =>
        {
            using var team = new ThreadTeam(2, pin: false);
            var job = new CountJob(2);
            for (var region = 1; region <= 100; region++)
            {
                team.Run(job);
                if (job.Shares[0] != region || job.Shares[CountJob.Stride] != region)
                {
                    Interlocked.Increment(ref failures);
                }
            }
        })).ToList();
        threads.ForEach(t => t.Start());
        threads.ForEach(t => t.Join());
        Assert.That(failures, Is.Zero);
    }

    [Test]
    public void Run_AShareThatThrows_IsReportedAndTheTeamGoesOn([Values(0, 1)] int thrower)
    {
        using var team = new ThreadTeam(2);
        var failing = new ThrowJob(thrower);
        if (thrower == 0)
        {
            Assert.That(() => team.Run(failing), Throws.InvalidOperationException);
        }
        else
        {
            Assert.That(() => team.Run(failing), Throws.InstanceOf<AggregateException>().With.InnerException.InstanceOf<InvalidOperationException>());
        }

        Assert.That(failing.Others, Is.EqualTo(1), "the other share was finished");
        var job = new CountJob(2);
        team.Run(job);
        Assert.That(job.Shares[CountJob.Stride], Is.EqualTo(1));
    }

    [Test]
    public void Run_AllocatesNothing([Values(1, 2)] int workers)
    {
        using var team = new ThreadTeam(workers);
        var job = new AllocationJob(workers);
        for (var i = 0; i < 50; i++)
        {
            team.Run(job);
        }

        Array.Copy(job.Bytes, job.Before, job.Bytes.Length);
        for (var i = 0; i < 500; i++)
        {
            team.Run(job);
        }

        Assert.That(job.Bytes, Is.EqualTo(job.Before), "bytes allocated on each thread so far");
        Assert.That(job.Bytes[0], Is.GreaterThan(0));
    }

    [Test]
    public void Dispose_TwiceAndWithEverySize([ValueSource(nameof(Sizes))] int workers)
    {
        var team = new ThreadTeam(workers);
        team.Dispose();
        Assert.That(team.Dispose, Throws.Nothing);
    }

    [Test]
    public void Run_AfterTheEnd_IsRefused()
    {
        var team = new ThreadTeam(2);
        team.Dispose();
        Assert.That(() => team.Run(new CountJob(2)), Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public void Pinned_OnlyWhereAskedOrWhereProcessorsSuffice()
    {
        using var single = new ThreadTeam(1);
        using var free = new ThreadTeam(2, pin: false);
        using var crowded = new ThreadTeam(Environment.ProcessorCount + 1);
        Assert.That(single.Pinned, Is.False);
        Assert.That(free.Pinned, Is.False);
        Assert.That(crowded.Pinned, Is.False);
        Assert.That(() => new ThreadTeam(0), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void PinCurrentThread_TakesOneProcessorOrLeavesTheThreadAlone()
    {
        var results = (false, true);
        var processors = 0;
        var thread = new Thread(() =>
        {
            results = (ProcessorAffinity.PinCurrentThread(0), ProcessorAffinity.PinCurrentThread(2000));
            processors = Environment.ProcessorCount;
        });
        thread.Start();
        thread.Join();
        Assert.That(results.Item1, Is.EqualTo(OperatingSystem.IsLinux()));
        Assert.That(results.Item2, Is.False, "there is no such processor");
        Assert.That(processors, Is.EqualTo(Environment.ProcessorCount));
    }

    private sealed class CountJob(int workers) : TeamJob
    {
        public const int Stride = 32;

        public readonly int[] Shares = new int[workers * Stride];

        public override void Run(int worker, int workers)
        {
            Assert.That(workers * Stride, Is.EqualTo(Shares.Length));
            Shares[worker * Stride]++;
        }
    }

    private sealed class ThrowJob(int thrower) : TeamJob
    {
        public int Others;

        public override void Run(int worker, int workers)
        {
            if (worker == thrower)
            {
                throw new InvalidOperationException("share");
            }

            Interlocked.Increment(ref Others);
        }
    }

    private sealed class AllocationJob(int workers) : TeamJob
    {
        public readonly long[] Bytes = new long[workers];
        public readonly long[] Before = new long[workers];

        public override void Run(int worker, int workers) => Bytes[worker] = GC.GetAllocatedBytesForCurrentThread();
    }
}
