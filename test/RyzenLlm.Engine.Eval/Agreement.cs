using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Kernels;
using RyzenLlm.Memory.Evaluation;

namespace RyzenLlm.Engine.Eval;

/// <summary>
/// Models of real shapes and random weights cannot agree by themselves: a script that knows the plain stream guesses each token right with a
/// given chance, and pays for it with forward passes of the draft model, or with nothing. Plain and speculative runs take turns.
/// </summary>
internal static class Agreement
{
    public static int Run(string target, string draft, Arguments arguments)
    {
        var options = new LoadOptions { Threads = arguments["threads", 2], Kernels = arguments["kernels", "auto"] };
        using var model = ModelLoader.Load(target, options);
        using var small = ModelLoader.LoadDraft(draft, model);
        var (tokens, repeats) = (arguments["tokens", 48], arguments["repeats", 3]);
        int[] prompt = [1, 2, 3, 4, 5, 6, 7, 8];
        var plain = Streams.Decode(model, prompt, SamplingOptions.Greedy, tokens, null).Tokens;
        var costs = new StepCosts();
        Console.WriteLine("| agreement | draft | plain ms/token | draft ms/token | row/plain | per step | speed-up | predicted |");
        Console.WriteLine("|---|---|---|---|---|---|---|---|");
        var lines = new List<ChartLine>();
        foreach (var paid in (bool[])[true, false])
        {
            var (measured, predicted) = (new List<(double, double)>(), new List<(double, double)>());
            foreach (var agreement in (double[])[0, 0.2, 0.4, 0.6, 0.8, 0.9, 1])
            {
                var (ratios, perStep, own) = (new List<double>(), 0.0, new StepCosts());
                var plainSeconds = 0.0;
                var rates = new HitRates(0.6);
                for (var i = 0; i < repeats; i++)
                {
                    plainSeconds = Streams.Decode(model, prompt, SamplingOptions.Greedy, tokens, null).Seconds;
                    using var script = new Script([.. prompt, .. plain], agreement, i, paid ? small : null, rates, own);
                    using var speculator = new Speculator([script], costs, TimeProvider.System);
                    var run = Streams.Decode(model, prompt, SamplingOptions.Greedy, tokens, speculator);
                    if (!run.Tokens.AsSpan().SequenceEqual(plain))
                    {
                        Console.Error.WriteLine("The streams differ.");
                        return 1;
                    }

                    ratios.Add(plainSeconds / run.Seconds);
                    perStep = speculator.Report().TokensPerStep;
                }

                ratios.Sort();
                var (relativeRow, relativeDraft) = (costs.Row(1) / costs.Plain, own.Plain / costs.Plain);
                measured.Add((agreement, ratios[ratios.Count / 2]));
                predicted.Add((agreement, Predicted(agreement, relativeRow, relativeDraft)));
                Console.WriteLine(
                    $"| {agreement:0.0} | {(paid ? "model" : "free")} | {1000 * costs.Plain:0.0} | {1000 * own.Plain:0.0} | {relativeRow:0.000} | {perStep:0.00} "
                    + $"| {measured[^1].Item2:0.00} | {predicted[^1].Item2:0.00} |");
            }

            var kind = paid ? "model" : "free";
            lines.Add(new(kind, measured));
            lines.Add(new($"{kind}, predicted", predicted));
        }

        if (arguments["chart", ""] is { Length: > 0 } chart)
        {
            File.WriteAllText(chart, SvgChart.Draw("Speculation against plain decoding", "agreement of draft and target", "times as fast", lines, logarithmic: false));
        }

        return 0;
    }

    // A chain of the best length: (1 + a + ... + a^n) tokens for one pass, n rows and n drafted tokens.
    private static double Predicted(double agreement, double row, double draft)
    {
        var best = 1.0;
        for (var (n, tokens, chance) = (1, 1.0, agreement); n <= Speculator.MaxDepth; n++, chance *= agreement)
        {
            tokens += chance;
            best = Math.Max(best, tokens / (1 + (n * (row + draft))));
        }

        return best;
    }

    private sealed class Script(int[] text, double agreement, int seed, LanguageModel? model, HitRates rates, StepCosts costs) : Draft
    {
        private readonly Batch _batch = new();
        private readonly Session? _session = model?.CreateSession();
        private int _skipped;

        public override string Name => "script";

        public override void Propose(ReadOnlySpan<int> tokens, DraftTree tree, in DraftBudget budget)
        {
            if (!budget.Pays(rates.Rate(0), costs.Plain) && (budget.Suspended || ++_skipped % 32 != 0))
            {
                return;
            }

            var node = DraftTree.Root;
            for (var at = tokens.Length; at < text.Length && tree.Depth(node) < tree.MaxDepth; at++)
            {
                Pay();
                var right = new Random((seed * 7919) + at).NextDouble() < agreement;
                node = tree.Add(node, right ? text[at] : (text[at] + 1) % 1000, rates, 0);
                if (node < 0 || !budget.Pays(tree.Probability(node) * rates.Rate(0), costs.Plain))
                {
                    return;
                }
            }
        }

        public override void Dispose()
        {
            _batch.Dispose();
            _session?.Dispose();
            base.Dispose();
        }

        private void Pay()
        {
            if (_session is not null)
            {
                var started = TimeProvider.System.GetTimestamp();
                _batch.Clear();
                _batch.Add(_session, 1, logits: true, top: new(ModelDraft.Candidates, model!.Info.VocabularySize));
                model.Forward(_batch);
                costs.Record(1, TimeProvider.System.GetElapsedTime(started).TotalSeconds);
            }
        }
    }
}
