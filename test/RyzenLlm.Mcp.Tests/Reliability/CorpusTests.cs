using RyzenLlm.Fuzz;

namespace RyzenLlm.Mcp.Tests.Reliability;

/// <summary>
/// Inputs that fuzzing kept, once more: those that reach most, and every one that ever broke a promise. Only documented exceptions may come
/// of them, within a second, and a refusal may not allocate much more than it was given.
/// </summary>
public sealed class CorpusTests
{
    private static IEnumerable<string> Targets() => FuzzTarget.All.Select(make =>
    {
        using var target = make();
        return target.Name;
    });

    [TestCaseSource(nameof(Targets))]
    public void Every_kept_input_is_treated_as_documented(string name)
    {
        using var target = FuzzTarget.Named(name);
        var kept = Path.Combine(Repository.Root, "test", "Fixtures", "fuzz", name);
        Assert.That(kept, Does.Exist, "every target has inputs");
        Assert.Multiple(() =>
        {
            foreach (var seed in target.Seeds())
            {
                Assert.That(Execution.Check(target, seed), Is.Null, "a seed");
            }

            foreach (var file in Directory.EnumerateFiles(kept))
            {
                Assert.That(Execution.Check(target, File.ReadAllBytes(file)), Is.Null, Path.GetFileName(file));
            }
        });
    }

    [TestCase("regex", "(a?){10000}", TestName = "Nested optional parts are refused")]
    [TestCase("regex", "((a{100}){100}){100}", TestName = "Multiplied counts are refused")]
    [TestCase("schema", """{"const":"\ud83d"}""", TestName = "Half a surrogate pair in a schema is refused")]
    [TestCase("arguments", """{"query":"\ud83d"}""", TestName = "Half a surrogate pair in an argument is refused")]
    public void Known_attacks_are_refused(string name, string input)
    {
        using var target = FuzzTarget.Named(name);
        Assert.That(() => target.Run(System.Text.Encoding.UTF8.GetBytes(input)), Throws.ArgumentException);
    }

    [Test]
    public void A_schema_cannot_exhaust_the_stack_with_references()
    {
        const int chain = 3000;
        var definitions = string.Join(',', Enumerable.Range(0, chain).Select(i => i == 0 ? "\"d0\":{\"type\":\"null\"}" : $"\"d{i}\":{{\"anyOf\":[{{\"$ref\":\"#/$defs/d{i - 1}\"}},{{\"type\":\"null\"}}]}}"));
        var parts = string.Join(',', Enumerable.Range(0, chain).Select(i => $"{{\"$ref\":\"#/$defs/d{i}\"}}"));
        using var target = FuzzTarget.Named("schema");
        Assert.That(
            () => target.Run(System.Text.Encoding.UTF8.GetBytes($"{{\"$defs\":{{{definitions}}},\"anyOf\":[{parts}]}}")),
            Throws.ArgumentException.With.Message.Contain("refers through"));
    }

    [Test]
    public void An_input_that_breaks_a_promise_is_noticed()
    {
        using var wrong = new Wrong();
        Assert.That(Execution.Check(wrong, [0]), Has.Property("Kind").EqualTo("exception"));
        Assert.That(Execution.Check(wrong, [1]), Has.Property("Kind").EqualTo("allocation"));
        Assert.That(Execution.Check(wrong, [2]), Is.Null);
    }

    /// <summary>Breaks the promise that its input names.</summary>
    private sealed class Wrong : FuzzTarget
    {
        public override string Name => "wrong";

        public override IEnumerable<byte[]> Seeds() => [];

        public override bool IsDocumented(Exception e) => e is ArgumentException;

        public override void Run(byte[] input)
        {
            if (input[0] == 0)
            {
                throw new InvalidOperationException();
            }

            GC.KeepAlive(input[0] == 1 ? new byte[1 << 20] : input);
            throw new ArgumentException("refused");
        }
    }
}
