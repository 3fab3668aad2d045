using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Eval;

/// <summary>
/// The task that prompt lookup is for: a text is to be repeated with one word changed. The target has a real shape and random weights, so what it
/// writes is scripted; its passes, the drafting, the verifying and the decisions are the real ones. Plain and speculative runs take turns.
/// </summary>
internal static class Editing
{
    private const string Task = "Repeat this text with every name as it is and one word changed:\n\n";

    public static int Run(string target, string vocabulary, string textFile, Arguments arguments)
    {
        using var file = GgufFile.Open(vocabulary);
        var tokenizer = TokenizerLoader.From(file);
        using var model = ModelLoader.Load(target, new() { Threads = arguments["threads", 2], Kernels = arguments["kernels", "auto"] });
        var words = File.ReadAllText(textFile).Split(' ', StringSplitOptions.RemoveEmptyEntries).Take(arguments["words", 200]).ToArray();
        var text = string.Join(' ', words);
        words[words.Length / 2] = "elephant";
        var prompt = tokenizer.Encode($"{Task}{text}\n\n", addBos: true, parseSpecial: false);
        int[] script = [.. prompt, .. tokenizer.Encode(string.Join(' ', words), addBos: false, parseSpecial: false), 0];
        var tokens = script.Length - prompt.Length - 1;
        var experience = new Experience(model);
        var ratios = new List<double>();
        Console.WriteLine($"{prompt.Length} tokens of prompt, {tokens} to write");
        Console.WriteLine("| round | plain tok/s | lookup tok/s | ratio | tokens per step |");
        Console.WriteLine("|---|---|---|---|---|");
        for (var round = 1; round <= arguments["repeats", 5]; round++)
        {
            var plain = Streams.Decode(model, prompt, SamplingOptions.Greedy, tokens, null, script);
            using var speculator = new Speculator(experience.Drafts(SpeculationMode.Lookup, null, SamplingOptions.Greedy, TimeProvider.System), experience.Costs, TimeProvider.System);
            var run = Streams.Decode(model, prompt, SamplingOptions.Greedy, tokens, speculator, script);
            if (!run.Tokens.AsSpan().SequenceEqual(script.AsSpan(prompt.Length, tokens)) || !plain.Tokens.AsSpan().SequenceEqual(run.Tokens))
            {
                Console.Error.WriteLine("The streams differ.");
                return 1;
            }

            ratios.Add(plain.Seconds / run.Seconds);
            Console.WriteLine($"| {round} | {tokens / plain.Seconds:0.0} | {tokens / run.Seconds:0.0} | {ratios[^1]:0.00} | {speculator.Report().TokensPerStep:0.00} |");
        }

        ratios.Sort();
        Console.WriteLine($"median {ratios[ratios.Count / 2]:0.00}");
        return 0;
    }
}
