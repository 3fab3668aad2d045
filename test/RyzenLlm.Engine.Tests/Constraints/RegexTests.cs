using System.Text;
using System.Text.RegularExpressions;
using RyzenLlm.Engine.Decoding.Constraints;

namespace RyzenLlm.Engine.Tests.Constraints;

/// <summary>Regular expressions and choices: the same texts as the platform's own engine, and nothing else.</summary>
public class RegexTests
{
    private static readonly TestVocabulary Vocabulary = new(448, "the", " the", "abc", "ab", "0.5", "2026", "éé");

    [TestCase("abc")]
    [TestCase("a|bc|")]
    [TestCase("(a|b)*c+d?")]
    [TestCase("[a-c]{2,4}x{3}y{1,}")]
    [TestCase("[^a-c\\d]z")]
    [TestCase("\\d+(\\.\\d{1,2})?")]
    [TestCase(".[é-ü].")]
    [TestCase("(?:yes|no|(?<name>maybe)){1,2}")]
    [TestCase("^(a.c|[\\w-]+@\\w+)$")]
    [TestCase("\\x41\\u00e9[\\]\\-]\\$\\n")]
    [TestCase("a*?b+?c??")]
    [TestCase("(((a?){3}b){2}|λ😀)+")]
    public void TheSameTextsMatchAsOnThePlatform(string expression)
    {
        var constraint = OutputConstraint.Regex(expression);
        var ascii = expression.Replace("[\\w-]", "[A-Za-z0-9_-]").Replace("\\w", "[A-Za-z0-9_]"); // the platform's \w is all of Unicode
        var reference = new Regex($"^(?:{ascii.TrimStart('^').TrimEnd('$')})(?![\\s\\S])");
        var random = new Random(1);
        var alphabet = "abcdxyz019.-@é üλ]\n$A".EnumerateRunes().Append(new Rune(0x1F600)).ToArray();
        for (var i = 0; i < 400; i++)
        {
            var text = string.Concat(Enumerable.Range(0, random.Next(0, 7)).Select(_ => alphabet[random.Next(alphabet.Length)]));
            if (!text.EnumerateRunes().Any(r => r.Value > 0xFFFF)) // the platform counts UTF-16 units
            {
                Assert.That(Constrained.Matches(constraint, text), Is.EqualTo(reference.IsMatch(text)), text);
            }
        }

        var compiled = Constrained.For(constraint, Vocabulary);
        for (var seed = 0; seed < 40; seed++)
        {
            var text = Constrained.Generate(compiled, Vocabulary, seed, 40, out _);
            Assert.That(text.EnumerateRunes().Any(r => r.Value > 0xFFFF) || reference.IsMatch(text), text);
        }
    }

    [TestCase("(?=a)b", "lookahead")]
    [TestCase("a(?!b)", "lookahead")]
    [TestCase("(?<=a)b", "lookbehind")]
    [TestCase("(a)\\1", "back reference")]
    [TestCase("\\bword", "word boundary")]
    [TestCase("\\p{L}+", "Unicode property")]
    [TestCase("a^b", "anchor ^")]
    [TestCase("(a$)b", "anchor $")]
    [TestCase("(?i)a", "inline options")]
    [TestCase("a++", "possessive")]
    [TestCase("*a", "nothing before it")]
    [TestCase("(a", "( without )")]
    [TestCase("a)", ") without (")]
    [TestCase("[a", "[ without ]")]
    [TestCase("[z-a]", "range in brackets")]
    [TestCase("a{3,2}", "count in braces")]
    [TestCase("a{99999}", "count")]
    [TestCase("\\ud800", "surrogate")]
    [TestCase("a\\", "at the end")]
    [TestCase("\\q", "escape \\q")]
    public void WhatIsNotSupportedIsNamed(string expression, string named) =>
        Assert.That(() => OutputConstraint.Regex(expression), Throws.ArgumentException.With.Message.Contains(named).And.Message.Contains("at character"));

    [Test]
    public void RepetitionsThatMultiplyAreRefused() =>
        Assert.That(
            () => Constrained.For(OutputConstraint.Regex("((a{1000}){1000}){1000}"), Vocabulary),
            Throws.ArgumentException.With.Message.Contains("too large"));

    [Test]
    public void ChoicesGiveOneOfThem()
    {
        string[] choices = ["yes", "no", "not sure", "ünsicher"];
        var constraint = Constrained.For(OutputConstraint.Choices(choices), Vocabulary);

        var found = Enumerable.Range(0, 200).Select(seed => Constrained.Generate(constraint, Vocabulary, seed, 20, out _)).ToHashSet();

        Assert.That(found, Is.EquivalentTo(choices));
        Assert.That(() => OutputConstraint.Choices([]), Throws.ArgumentException);
        Assert.That(() => OutputConstraint.Choices(["a", ""]), Throws.ArgumentException);
    }

    [Test]
    public void MasksEqualTryingEveryToken(
        [Values("(the|ab+c?|\\d+)( (the|é)+)*", "[^\"]*\"", "a{3,5}b{0,60}", "[ab]{0,50}", "(ab|c){0,40}d", "((a|é){0,30}c){0,40}d", "(a?b?){0,30}c", "(ab?){2,45}(ba?){0,45}")] string expression)
    {
        // Long tokens meet the end of a counted repetition at every distance.
        var vocabulary = new TestVocabulary(420, [.. from length in Enumerable.Range(2, 28) from part in (string[])["a", "ab", "é", "ba"] select string.Concat(Enumerable.Repeat(part, length / part.Length))]);
        var constraint = Constrained.For(OutputConstraint.Regex(expression), vocabulary);
        var random = new Random(2);
        for (var (state, remaining, i) = (constraint.Begin(90), 90, 0); i < 150; i++)
        {
            var allowed = constraint.Allowed(state, remaining).ToArray();
            for (var token = 0; token < vocabulary.VocabularySize; token++)
            {
                var expected = token == vocabulary.End ? constraint.Accepts(state) : constraint.Next(state, token, remaining) >= 0;
                Assert.That(((allowed[token / 64] >> token) & 1) != 0, Is.EqualTo(expected), $"{expression}, token {token}, {remaining} left");
            }

            var candidates = Enumerable.Range(0, vocabulary.VocabularySize - 1).Where(t => ((allowed[t / 64] >> t) & 1) != 0 && vocabulary.TokenBytes(t).Length < 1 + (i % 5 * 6)).ToArray();
            (state, remaining) = candidates.Length == 0 || remaining == 1 ? (constraint.Begin(90), 90) : (constraint.Next(state, candidates[random.Next(candidates.Length)], remaining), remaining - 1);
        }
    }

    [Test]
    public void ForcedStretchesTakeTheLongestTokensAndLeaveBoundariesToTheModel()
    {
        var vocabulary = new TestVocabulary(270, "nam", "name", "name\":", "{\"");
        var constraint = Constrained.For(OutputConstraint.Regex("\\{\"name\":\\d+\\}"), vocabulary);
        var ids = Enumerable.Range(256, 4).ToArray();
        var state = constraint.Begin(20);

        Assert.That(constraint.Forced(state, 20), Is.EqualTo(ids[3]), "{\" is the longest beginning");
        state = constraint.Next(state, ids[3], 20);
        Assert.That(constraint.Forced(state, 19), Is.EqualTo(ids[2]), "name\": ends with the stretch, and no token goes on from it");
        state = constraint.Next(state, ids[2], 19);
        Assert.That(constraint.Forced(state, 18), Is.EqualTo(-1), "digits are a choice");

        var open = new TestVocabulary(270, "ab", "ab1");
        var free = Constrained.For(OutputConstraint.Regex("ab\\d"), open);
        Assert.That(free.Forced(free.Begin(9), 9), Is.EqualTo(-1), "ab and ab1 both begin the text: the model chooses");
    }

    [Test]
    public void WhatCannotBeCompletedIsRefusedAtOnce()
    {
        var constraint = Constrained.For(OutputConstraint.Regex("a{30}"), Vocabulary);

        Assert.That(() => constraint.Begin(29), Throws.ArgumentException.With.Message.Contains("max_tokens").And.Message.Contains("30"));
        Assert.That(() => Constrained.For(OutputConstraint.Regex("[^\\s\\S]"), Vocabulary).Begin(10), Throws.ArgumentException.With.Message.Contains("No text"));
    }
}
