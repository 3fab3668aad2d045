using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;

namespace RyzenLlm.Engine.Eval;

/// <summary>A target with its drafts on prompts of a text: the streams must not differ; how much is accepted, and what it gains, is printed.</summary>
internal static class Pair
{
    public static int Run(string target, string draft, string text, Arguments arguments)
    {
        var options = new LoadOptions { Threads = arguments["threads", 1], Kernels = arguments["kernels", "auto"] };
        using var model = ModelLoader.Load(target, options);
        using var small = arguments["exact", 0] > 0
            ? ModelLoader.Load(draft, options)
            : ModelLoader.LoadDraft(draft, model, options with { Head = Enum.Parse<HeadProduct>(arguments["head", "auto"], ignoreCase: true) });
        ModelDraft.CheckVocabulary(small, model);
        var (prompts, tokens) = (arguments["prompts", 100], arguments["tokens", 64]);
        var ids = model.Tokenizer!.Encode(File.ReadAllText(text), addBos: false, parseSpecial: false);
        Console.WriteLine($"{model.Info.Name} <- {small.Info.Name}: {prompts} prompts of {tokens} tokens per line, {options.Threads} threads");
        Console.WriteLine("| temperature | drafts | tokens | differences | drafted | accepted | per verify step | per step | speed-up |");
        Console.WriteLine("|---|---|---|---|---|---|---|---|---|");
        var differences = 0;
        int? guesses = arguments["guesses", 0] is var g and > 0 ? g : null;
        foreach (var temperature in (float[])[0, 0.3f, 0.8f, 1.2f])
        {
            foreach (var mode in (SpeculationMode[])[SpeculationMode.Lookup, SpeculationMode.Recycle, SpeculationMode.Draft, SpeculationMode.Auto])
            {
                differences += Line(model, small, ids, temperature, mode, prompts, tokens, guesses);
            }
        }

        return differences == 0 ? 0 : 1;
    }

    private static int Line(LanguageModel model, LanguageModel small, int[] text, float temperature, SpeculationMode mode, int prompts, int tokens, int? guesses)
    {
        var experience = new Experience(model);
        var (compared, differences, plainSeconds, seconds) = (0, 0, 0.0, 0.0);
        var reports = new List<SpeculationReport>();
        for (var i = 0; i < prompts; i++)
        {
            var random = new Random(i);
            var length = random.Next(8, 64);
            var prompt = text.AsSpan(random.Next(text.Length - length), length);
            var sampling = new SamplingOptions { Temperature = temperature, Seed = (ulong)i };
            var plain = Streams.Decode(model, prompt, sampling, tokens, null);
            using var speculator = new Speculator(experience.Drafts(mode, small, sampling, TimeProvider.System), experience.Costs, TimeProvider.System, guesses);
            var speculative = Streams.Decode(model, prompt, sampling, tokens, speculator);
            reports.Add(speculator.Report());
            plainSeconds += plain.Seconds;
            seconds += speculative.Seconds;
            compared += plain.Tokens.Length;
            differences += plain.Tokens.AsSpan().SequenceEqual(speculative.Tokens) ? 0 : 1;
        }

        var (drafted, accepted, steps, all) = (reports.Sum(r => r.Drafted), reports.Sum(r => r.Accepted), reports.Sum(r => r.VerifySteps), reports.Sum(r => r.Steps));
        Console.WriteLine(
            $"| {temperature:0.0} | {mode.ToString().ToLowerInvariant()} | {compared} | {differences} | {drafted} | {accepted} | {1 + (accepted / (double)Math.Max(1, steps)):0.00} "
            + $"| {1 + (accepted / (double)Math.Max(1, all)):0.00} | {plainSeconds / seconds:0.00} |");
        return differences;
    }
}
