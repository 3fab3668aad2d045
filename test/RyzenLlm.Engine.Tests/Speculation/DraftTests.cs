using RyzenLlm.Engine.Decoding.Speculation;

namespace RyzenLlm.Engine.Tests.Speculation;

/// <summary>Trees and the drafts that need no model.</summary>
public class DraftTests
{
    private static readonly DraftBudget Budget = new(1, 0.1, Unlimited: true, Suspended: false);
    private static readonly HitRates Half = new(0.5);

    [Test]
    public void ATreeKeepsChancesConsistent()
    {
        var tree = Tree(depth: 3);
        var rates = new HitRates(0.5, 0.4);

        var a = tree.Add(DraftTree.Root, 10, rates, 0);
        var b = tree.Add(DraftTree.Root, 11, rates, 1);
        var again = tree.Add(DraftTree.Root, 10, rates, 1);
        var deeper = tree.Add(a, 10, rates, 0);

        Assert.That(again, Is.EqualTo(a), "one node per token and place");
        Assert.That(tree[a].Probability, Is.EqualTo(0.5));
        Assert.That(tree[b].Probability, Is.EqualTo(0.5 * 0.4), "right only where the first guess is wrong");
        Assert.That(tree[deeper].Probability, Is.EqualTo(0.25));
        Assert.That(tree.Find(a, 10), Is.EqualTo(deeper));
        Assert.That(tree.Find(b, 10), Is.EqualTo(DraftTree.Refused));
    }

    [Test]
    public void ATreeRefusesWhatCannotFollow()
    {
        var tree = Tree(depth: 1, 9);
        var node = tree.Add(DraftTree.Root, 1, Half, 0);

        Assert.That(tree.Add(node, 1, Half, 0), Is.EqualTo(DraftTree.Refused), "too deep");
        Assert.That(tree.Add(DraftTree.Root, 9, Half, 0), Is.EqualTo(DraftTree.Refused), "an end token");
        Assert.That(tree.Add(DraftTree.Root, 100, Half, 0), Is.EqualTo(DraftTree.Refused), "outside the vocabulary");
        Assert.That(tree.Add(DraftTree.Root, -1, Half, 0), Is.EqualTo(DraftTree.Refused), "outside the vocabulary");
        for (var token = 2; tree.Count < DraftTree.Capacity; token++)
        {
            tree.Add(DraftTree.Root, token % 90 is 9 ? 91 : token, Half, 0);
        }

        Assert.That(tree.Add(DraftTree.Root, 99, Half, 0), Is.EqualTo(DraftTree.Refused), "full");
    }

    [Test]
    public void TheOrderPutsParentsFirstAndChancesDescending()
    {
        var random = new Random(1);
        var tree = Tree(depth: 24);
        var rates = new HitRates(0.9, 0.5, 0.2, 1);
        while (tree.Count < 60)
        {
            tree.Add(random.Next(-1, tree.Count), random.Next(100), rates, random.Next(4));
        }

        var order = new int[DraftTree.Capacity];
        tree.Order(order);

        var seen = new HashSet<int> { DraftTree.Root };
        for (var i = 0; i < tree.Count; i++)
        {
            Assert.That(seen, Does.Contain(tree[order[i]].Parent));
            Assert.That(i == 0 || tree[order[i]].Probability <= tree[order[i - 1]].Probability);
            Assert.That(seen.Add(order[i]));
        }
    }

    [Test]
    public void LookupFollowsTheLongestMatchFirst()
    {
        var tree = Tree(depth: 4);
        using var lookup = new LookupDraft(LookupDraft.NewRates());

        lookup.Propose([1, 2, 3, 4, 50, 51, 9, 3, 4, 60, 61, 8, 7, 1, 2, 3, 4], tree, Budget);

        Assert.That(Path(tree, 50, 51, 9, 3), Is.True, "after 1 2 3 4");
        Assert.That(Path(tree, 60, 61, 8, 7), Is.True, "after 3 4, as a second branch");
        Assert.That(tree.Count, Is.EqualTo(8));
        Assert.That(tree[tree.Find(-1, 50)].Grade, Is.GreaterThan(tree[tree.Find(-1, 60)].Grade), "a longer match is surer");
    }

    [Test]
    public void LookupCopiesAnEditedText()
    {
        // "Repeat this text with one word changed": 200 tokens, an instruction, and the text again.
        var random = new Random(4);
        int[] text = [.. Enumerable.Range(0, 200).Select(_ => random.Next(90))];
        int[] answer = [.. text[..70], 95, .. text[71..]];
        List<int> tokens = [.. text, 96, 97, 98];
        var end = tokens.Count + answer.Length;
        using var lookup = new LookupDraft(LookupDraft.NewRates());
        var steps = 0;
        for (; tokens.Count < end; steps++)
        {
            var tree = Tree(depth: Math.Min(Speculator.MaxDepth, end - tokens.Count - 1));
            lookup.Propose(tokens.ToArray(), tree, Budget);
            for (var node = DraftTree.Root; node >= DraftTree.Root;)
            {
                var next = answer[^(end - tokens.Count)];
                tokens.Add(next);
                node = tokens.Count < end ? tree.Find(node, next) : DraftTree.Refused;
            }
        }

        Assert.That(answer.Length / (double)steps, Is.GreaterThan(8), "tokens per step");
    }

    [Test]
    public void LookupGoesOnWithAPeriod()
    {
        var tree = Tree(depth: 7);
        using var lookup = new LookupDraft(LookupDraft.NewRates());

        lookup.Propose([5, 1, 2, 3, 1, 2, 3], tree, Budget);

        Assert.That(Path(tree, 1, 2, 3, 1, 2, 3, 1), Is.True);
    }

    [Test]
    public void LookupAgreesWithAFullSearchAsTheTextGrows()
    {
        var random = new Random(7);
        using var lookup = new LookupDraft(LookupDraft.NewRates());
        var text = new List<int> { 1, 1, 1 };
        var found = 0;
        while (text.Count < 400)
        {
            var tree = Tree(depth: 1);
            lookup.Propose(text.ToArray(), tree, Budget);
            var (length, nexts) = LongestMatch(text);
            if (length >= LookupDraft.ShortestMatch)
            {
                found++;
                Assert.That(nexts, Does.Contain(tree[0].Token), $"at {text.Count}");
            }
            else
            {
                Assert.That(tree.Count, Is.Zero);
            }

            var repeat = random.Next(3) == 0 ? random.Next(text.Count - 2) : -1;
            text.AddRange(repeat >= 0 ? text.GetRange(repeat, Math.Min(random.Next(1, 12), text.Count - repeat)) : [random.Next(40)]);
        }

        Assert.That(found, Is.GreaterThan(50));
    }

    [Test]
    public void RecyclingDraftsWhatTheTargetNamedLast()
    {
        var table = new SuccessorTable(100);
        using var recycle = new RecycleDraft(table, RecycleDraft.NewRates());
        recycle.Observe(3, Logits(40, 41));
        recycle.Observe(40, Logits(50));
        recycle.Observe(3, Logits(42, 40));
        var tree = Tree(depth: 2);

        recycle.Propose([1, 3], tree, Budget);

        Assert.That(table[3][..2].ToArray(), Is.EqualTo(new[] { 42, 40 }), "the latest logits, best first");
        Assert.That(tree[0].Token, Is.EqualTo(42));
        Assert.That(Path(tree, 40, 50), Is.True);
        Assert.That(tree.Find(tree.Find(-1, 42), 50), Is.EqualTo(DraftTree.Refused), "nothing is known after 42");
    }

    [Test]
    public void RecyclingGoesOnFromOtherDrafts()
    {
        var table = new SuccessorTable(100);
        table.Learn(70, Logits(71));
        var tree = Tree(depth: 2);
        tree.Add(DraftTree.Root, 70, Half, 0);

        new RecycleDraft(table, RecycleDraft.NewRates()).Propose([1, 3], tree, Budget);

        Assert.That(Path(tree, 70, 71), Is.True);
    }

    [Test]
    public void HitRatesFollowWhatHappens()
    {
        var rates = new HitRates(0.5, 0.9);
        for (var i = 0; i < 300; i++)
        {
            rates.Record(0, i % 4 == 0);
        }

        Assert.That(rates.Rate(0), Is.EqualTo(0.25).Within(0.03));
        Assert.That(rates.Rate(1), Is.EqualTo(0.9), "untouched");
        for (var i = 0; i < 150; i++)
        {
            rates.Record(0, true);
        }

        Assert.That(rates.Rate(0), Is.GreaterThan(0.9), "old trials fade");
    }

    private static DraftTree Tree(int depth, params int[] endTokens)
    {
        var tree = new DraftTree(100, endTokens.ToHashSet());
        tree.Clear(depth, 0, 1000);
        return tree;
    }

    private static bool Path(DraftTree tree, params int[] tokens)
    {
        var node = DraftTree.Root;
        foreach (var token in tokens)
        {
            node = tree.Find(node, token);
            if (node < 0)
            {
                return false;
            }
        }

        return true;
    }

    private static float[] Logits(params int[] best)
    {
        var logits = new float[100];
        for (var i = 0; i < best.Length; i++)
        {
            logits[best[i]] = 10 - i;
        }

        return logits;
    }

    private static (int Length, HashSet<int> Nexts) LongestMatch(List<int> text)
    {
        var (longest, nexts) = (0, new HashSet<int>());
        for (var end = 0; end < text.Count - 1; end++)
        {
            var length = 0;
            while (length < LookupDraft.LongestGrade && length <= end && text[end - length] == text[text.Count - 1 - length])
            {
                length++;
            }

            if (length > longest)
            {
                (longest, nexts) = (length, []);
            }

            if (length == longest)
            {
                nexts.Add(text[end + 1]);
            }
        }

        return (longest, nexts);
    }
}
