using RyzenLlm.Engine.Sampling;

namespace RyzenLlm.Engine.Tests.Sampling;

public sealed class LargestTests
{
    [Test]
    public void ItIsTheFirstOfEqualsAtEveryLength()
    {
        var random = new Random(1);
        for (var length = 1; length < 100; length++)
        {
            for (var round = 0; round < 20; round++)
            {
                var scores = Enumerable.Range(0, length).Select(_ => random.Next(8) switch
                {
                    0 => float.NaN,
                    1 => float.NegativeInfinity,
                    2 => -0f,
                    var value => (float)(value - 5),
                }).ToArray();
                var best = -1;
                for (var i = 0; i < length; i++)
                {
                    best = scores[i] > (best < 0 ? float.NegativeInfinity : scores[best]) ? i : best;
                }

                if (best < 0)
                {
                    Assert.That(() => Largest.IndexIn(scores), Throws.InvalidOperationException.With.Message.Contains("NaN"));
                }
                else
                {
                    Assert.That(Largest.IndexIn(scores), Is.EqualTo(best), string.Join(' ', scores));
                }
            }
        }
    }
}
