using RyzenLlm.Kernels.Threading;

namespace RyzenLlm.Kernels.Tests.Threading;

public sealed class WorkSharesTests
{
    [Test]
    public void TryTake_EveryItemOnce_OwnShareFirst([Values(1, 2, 3, 5)] int workers, [Values(1, 31, 32, 33, 640, 6912)] int items, [Values(32, 96)] int grain)
    {
        using var shares = new WorkShares(workers);
        for (var round = 0; round < 2; round++)
        {
            shares.Begin(items, grain);
            var taken = new int[items];
            var helped = new int[workers];
            var last = new int[workers];
            var random = new Random(items + round);
            for (var open = workers; open > 0;)
            {
                var worker = random.Next(workers);
                if (helped[worker] == workers)
                {
                    continue;
                }

                if (!shares.TryTake(worker, ref helped[worker], out var begin, out var end))
                {
                    Assert.That((begin, end), Is.EqualTo((0, 0)));
                    open--;
                    continue;
                }

                Assert.That(begin % grain, Is.Zero);
                Assert.That(helped[worker] > 0 || begin >= last[worker], "front to back");
                last[worker] = end;
                for (var i = begin; i < end; i++)
                {
                    taken[i]++;
                }
            }

            Assert.That(taken, Is.All.EqualTo(1));
        }
    }
}
