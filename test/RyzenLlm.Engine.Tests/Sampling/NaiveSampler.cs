using RyzenLlm.Engine.Sampling;

namespace RyzenLlm.Engine.Tests.Sampling;

/// <summary>The filters and the draw as their definitions read, by full sorts and lists.</summary>
internal static class NaiveSampler
{
    public static int Sample(float[] logits, SamplingOptions options, int position)
    {
        var kept = Enumerable.Range(0, logits.Length)
            .Where(id => logits[id] > float.NegativeInfinity)
            .OrderByDescending(id => logits[id]).ThenBy(id => id)
            .ToList();
        if (options.TopK > 0)
        {
            kept = [.. kept.Take(options.TopK)];
        }

        if (options.TypicalP < 1)
        {
            var p = Softmax(logits, kept);
            var entropy = -p.Values.Sum(q => q * Math.Log(q));
            var typical = Prefix(kept.OrderBy(id => (float)Math.Abs(-Math.Log(p[id]) - entropy)).ThenBy(id => id), p, options.TypicalP);
            kept = [.. kept.Where(typical.Contains)];
        }

        if (options.TopP < 1)
        {
            kept = Prefix(kept, Softmax(logits, kept), options.TopP);
        }

        kept = [.. kept.Where(id => Math.Exp(logits[id] - logits[kept[0]]) >= options.MinP)];
        return kept.MaxBy(id => (logits[id] / (double)options.Temperature) + Noise.Gumbel(options.Seed, position, id));
    }

    private static Dictionary<int, double> Softmax(float[] logits, List<int> ids)
    {
        var highest = ids.Max(id => logits[id]);
        var total = ids.Sum(id => Math.Exp((double)logits[id] - highest));
        return ids.ToDictionary(id => id, id => Math.Exp((double)logits[id] - highest) / total);
    }

    private static List<int> Prefix(IEnumerable<int> order, Dictionary<int, double> p, double wanted)
    {
        List<int> kept = [];
        double mass = 0;
        foreach (var id in order)
        {
            kept.Add(id);
            mass += p[id];
            if (mass >= wanted)
            {
                break;
            }
        }

        return kept;
    }
}
