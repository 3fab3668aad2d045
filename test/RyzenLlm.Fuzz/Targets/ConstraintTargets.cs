using System.Text;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Models;

namespace RyzenLlm.Fuzz.Targets;

/// <summary>A constraint from a call: parsed, built for a vocabulary, and followed for some tokens.</summary>
internal abstract class ConstraintTarget : FuzzTarget
{
    private readonly Lazy<TokenTrie> _trie = new(() =>
    {
        using var model = ModelLoader.Load(Path.Combine(Repository.Root, "test", "Fixtures", "golden", "models", "rwkv7-q8_0.gguf"), new LoadOptions { Threads = 1 });
        return new TokenTrie(model.Tokenizer!);
    });

    public override int LongestInput => 1024;

    public override bool IsDocumented(Exception e) => e is ArgumentException;

    // A count of a few digits stands for that many states: the bound is the number of states, not the length of the text.
    public override long AllocationLimit(int length) => 192L << 20;

    protected void Follow(OutputConstraint parsed, byte[] choices)
    {
        var trie = _trie.Value;
        var constraint = new Constraint(new Automaton(parsed.Pattern, ByteSet.Of(trie.Spellable)), trie, parsed.Description);
        const int tokens = 100_000;
        var state = constraint.Begin(tokens);
        for (var i = 0; i < 12 && !constraint.IsComplete(state, tokens - i); i++)
        {
            var allowed = constraint.Allowed(state, tokens - i);
            _ = constraint.Forced(state, tokens - i);
            var next = Choose(allowed, choices.Length == 0 ? 0 : choices[i % choices.Length]);
            if (next < 0)
            {
                throw new InvalidOperationException($"After {i} tokens of {parsed.Description} nothing may follow, though the text is not complete.");
            }

            state = constraint.Next(state, next, tokens - i);
            if (state < 0)
            {
                return; // an end token
            }
        }
    }

    private static int Choose(ReadOnlySpan<ulong> allowed, int skip)
    {
        var last = -1;
        for (var word = 0; word < allowed.Length; word++)
        {
            for (var bits = allowed[word]; bits != 0; bits &= bits - 1)
            {
                last = (word * 64) + System.Numerics.BitOperations.TrailingZeroCount(bits);
                if (skip-- == 0)
                {
                    return last;
                }
            }
        }

        return last;
    }
}

/// <summary>JSON schemas.</summary>
internal sealed class SchemaTarget : ConstraintTarget
{
    public override string Name => "schema";

    public override IReadOnlyList<string> Words =>
    [
        "\"type\":", "\"object\"", "\"array\"", "\"string\"", "\"number\"", "\"integer\"", "\"properties\":", "\"required\":", "\"additionalProperties\":false", "\"items\":",
        "\"prefixItems\":", "\"minItems\":", "\"maxItems\":", "\"uniqueItems\":true", "\"minLength\":", "\"maxLength\":", "\"pattern\":", "\"format\":\"date\"", "\"minimum\":",
        "\"maximum\":", "\"exclusiveMinimum\":", "\"multipleOf\":", "\"enum\":", "\"const\":", "\"anyOf\":", "\"oneOf\":", "\"allOf\":", "\"$ref\":\"#\"", "\"$ref\":\"#/$defs/a\"",
        "\"$defs\":{\"a\":", "true", "false", "null", "{}", "[]", "1e300", "0.1", "-5", "[a-z]{2,9}", "\\u0041", "\\ud83d",
    ];

    public override IEnumerable<byte[]> Seeds() => ((string[])
    [
        """{"type":"object","properties":{"name":{"type":"string","minLength":1,"maxLength":8},"age":{"type":"integer","minimum":0,"maximum":150}},"required":["name"],"additionalProperties":false}""",
        """{"type":"array","items":{"type":"number","exclusiveMinimum":-1.5,"multipleOf":0.5},"minItems":1,"maxItems":3}""",
        """{"$defs":{"a":{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/a"},{"type":"null"}]}},"required":["next"]}},"$ref":"#/$defs/a"}""",
        """{"enum":["red",1,null,{"a":[true]}]}""",
        """{"oneOf":[{"const":1},{"type":"string","pattern":"^[a-c]+$"},{"type":"string","format":"date"}]}""",
        "true",
    ]).Select(Encoding.UTF8.GetBytes);

    public override void Run(byte[] input) => Follow(OutputConstraint.JsonSchema(Encoding.UTF8.GetString(input)), input);
}

/// <summary>Regular expressions.</summary>
internal sealed class RegexTarget : ConstraintTarget
{
    public override string Name => "regex";

    public override int LongestInput => 512;

    public override IReadOnlyList<string> Words =>
        ["(", ")", "(?:", "(?<n>", "[a-z]", "[^", "]", "\\d", "\\w", "\\S", "\\u{1F600}", "\\x41", "{2,5}", "{1000}", "{10000}", "{0,}", "*", "+?", "|", "^", "$", ".", "(?=", "\\b", "\\p{L}", "-"];

    public override IEnumerable<byte[]> Seeds() => ((string[])
    [
        @"(\d{3}-){1,2}\d{4}", "^(yes|no|[a-f]+?)$", @"(?:[^\s,]+, ?)*end", @"(?<year>19|20)\d\d", "a{1000}", ".*", "(a?){50}b", "(a?){10000}", "(a|b?|[^x]*){100}", @"[\u0041-\u{1F600}é]",
    ]).Select(Encoding.UTF8.GetBytes);

    public override void Run(byte[] input) => Follow(OutputConstraint.Regex(Encoding.UTF8.GetString(input)), input);
}
