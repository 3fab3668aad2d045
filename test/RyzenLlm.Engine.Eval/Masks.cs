using System.Diagnostics;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Sampling;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Eval;

/// <summary>What constraints cost per token over a real vocabulary, with logits that are noise.</summary>
internal static class Masks
{
    private static readonly (string Name, OutputConstraint Constraint)[] Constraints =
    [
        ("any JSON", OutputConstraint.JsonSchema("{}")),
        ("tool call", OutputConstraint.JsonSchema(
            """{"type":"object","properties":{"city":{"type":"string"},"unit":{"enum":["celsius","fahrenheit"]},"days":{"type":"integer","minimum":1,"maximum":14},"notes":{"type":"array","items":{"type":"string"}}},"required":["city","unit","days","notes"]}""")),
        ("string up to 200", OutputConstraint.JsonSchema("""{"type":"string","maxLength":200}""")),
        ("regex", OutputConstraint.Regex("[A-Z][a-z]+( [a-z]+)*\\.")),
    ];

    public static int Run(string path)
    {
        using var file = GgufFile.Open(path);
        var vocabulary = TokenizerLoader.From(file);
        var started = Stopwatch.GetTimestamp();
        var trie = new TokenTrie(vocabulary);
        Console.WriteLine($"{vocabulary.VocabularySize} tokens; trie built once per model in {Stopwatch.GetElapsedTime(started).TotalMilliseconds:0} ms");
        Console.WriteLine("| constraint | run | tokens | states | mask ms/token | slowest mask ms | masked sampling ms/token | plain sampling ms/token |");
        Console.WriteLine("|---|---|---|---|---|---|---|---|");
        foreach (var (name, output) in Constraints)
        {
            var automaton = new Automaton(output.Pattern, ByteSet.Of(trie.Spellable));
            var constraint = new Constraint(automaton, trie, output.Description);
            for (var run = 1; run <= 2; run++)
            {
                Measure(name, run, constraint, automaton, vocabulary);
            }
        }

        return 0;
    }

    private static void Measure(string name, int run, Constraint constraint, Automaton automaton, ITokenizer vocabulary)
    {
        var sampler = new Sampler(new() { Seed = 1 }, vocabulary.VocabularySize);
        var random = new Random(1);
        var logits = new float[vocabulary.VocabularySize];
        var (masks, slowest, masked, plain, tokens, limit) = (0.0, 0.0, 0.0, 0.0, 0, 200);
        var state = constraint.Begin(limit);
        while (tokens < limit && !constraint.IsComplete(state, limit - tokens))
        {
            for (var i = 0; i < logits.Length; i++)
            {
                logits[i] = (float)(random.NextDouble() * 12);
            }

            var started = Stopwatch.GetTimestamp();
            var allowed = constraint.Allowed(state, limit - tokens);
            var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
            (masks, slowest) = (masks + seconds, Math.Max(slowest, seconds));
            started = Stopwatch.GetTimestamp();
            var token = sampler.Sample(logits, [], tokens, allowed);
            masked += Stopwatch.GetElapsedTime(started).TotalSeconds;
            started = Stopwatch.GetTimestamp();
            sampler.Sample(logits, [], tokens);
            plain += Stopwatch.GetElapsedTime(started).TotalSeconds;
            tokens++;
            if (vocabulary.EosIds.Contains(token))
            {
                break;
            }

            state = constraint.Next(state, token, limit - tokens + 1);
        }

        Console.WriteLine(
            $"| {name} | {run} | {tokens} | {automaton.StateCount} | {1000 * masks / tokens:0.000} | {1000 * slowest:0.0} | {1000 * masked / tokens:0.000} | {1000 * plain / tokens:0.000} |");
    }
}
