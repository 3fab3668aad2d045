using RyzenLlm.Engine.Sessions.Reuse;

namespace RyzenLlm.Engine.Tests.Reuse;

/// <summary>The tree against a plain list of sequences, over random insertions and removals.</summary>
public class PrefixTreeTests
{
    [Test]
    public void FindsWhatAListFinds([Range(1, 20)] int seed)
    {
        var random = new Random(seed);
        var tree = new PrefixTree<string>();
        var list = new Dictionary<string, PrefixTree<string>.Node>();
        for (var step = 0; step < 300; step++)
        {
            var sequence = Sequence(random);
            var name = string.Join(' ', sequence);
            if (random.Next(3) > 0 && sequence.Length > 0 && !list.ContainsKey(name))
            {
                var place = tree.Place(sequence);
                tree.Set(place, name);
                list.Add(name, place);
            }
            else if (list.Count > 0 && random.Next(2) == 0)
            {
                var victim = list.ElementAt(random.Next(list.Count));
                tree.Remove(victim.Value);
                list.Remove(victim.Key);
            }

            Check(tree, [.. list.Keys], Sequence(random), $"step {step}");
        }
    }

    private static void Check(PrefixTree<string> tree, string[] list, int[] looked, string when)
    {
        var sequences = list.Select(Parse).ToArray();
        var common = sequences.Select(s => looked.AsSpan().CommonPrefixLength(s)).DefaultIfEmpty(0).Max();
        var deepest = sequences.Where(s => s.Length <= looked.Length && looked.AsSpan().StartsWith(s)).Select(s => s.Length).DefaultIfEmpty(0).Max();

        var match = tree.Find(looked, (_, _) => true);

        Assert.That(match.Common, Is.EqualTo(common), when);
        Assert.That(match.Deepest?.Depth ?? 0, Is.EqualTo(deepest), when);
        Assert.That(match.Deepest?.Value, deepest == 0 ? Is.Null : Is.EqualTo(string.Join(' ', looked[..deepest])), when);
        Assert.That(tree.Count, Is.EqualTo(list.Length));
        if (list.Length > 0)
        {
            Assert.That(Parse(match.Below!.Value!).AsSpan().StartsWith(looked.AsSpan(0, common)), when);
        }

        // Values that serve some of those that begin like them only.
        static bool Serves(string name, int shared) => Parse(name).Length <= shared + 1;
        var below = tree.Find(looked, Serves).Below?.Value;
        Assert.That(below is not null, Is.EqualTo(sequences.Any(s => s.Length <= common + 1 && s.AsSpan().StartsWith(looked.AsSpan(0, common)))), when);
        Assert.That(below is null || (Serves(below, common) && Parse(below).AsSpan().StartsWith(looked.AsSpan(0, common))), when);
    }

    private static int[] Parse(string name) => [.. name.Split(' ').Select(int.Parse)];

    // Few different tokens, so that beginnings are shared often.
    private static int[] Sequence(Random random) => [.. Enumerable.Range(0, random.Next(8)).Select(_ => random.Next(3))];
}
