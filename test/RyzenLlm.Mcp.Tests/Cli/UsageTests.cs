namespace RyzenLlm.Mcp.Tests.Cli;

/// <summary>What goes wrong is one line that says what to do, and an exit code.</summary>
public sealed class UsageTests
{
    [TestCase("generate --bogus", "no option --bogus")]
    [TestCase("generate x y", "Unrecognized command or argument 'y'")]
    [TestCase("eval --model mamba-f32", "--tokens")]
    [TestCase("eval --model mamba-f32 --tokens a --out b --chunk 0", "--chunk is 0 but must be from 1 to 65536")]
    [TestCase("eval --model mamba-f32 --tokens a --out b --kernels sse", "'sse'")]
    [TestCase("generate hello --max-tokens many", "'many'")]
    [TestCase("bench -t 1,x", "-t is '1,x'")]
    [TestCase("bench --at 1000,0", "--at is '1000,0' but must be numbers from 1")]
    [TestCase("serve --set Engine", "expected KEY=VALUE")]
    [TestCase("memory recall", "Give a question, or --queries FILE --out FILE")]
    [TestCase("memory recall x --queries q.jsonl", "not both")]
    [TestCase("memory recall --queries q.jsonl", "--queries and --out go together")]
    [TestCase("memory recall x --top 500", "--top is 500 but must be from 1 to 200")]
    [TestCase("memory migrate", "--to")]
    [TestCase("memory eval", "Give --dialogues FILE and --questions FILE, --latency N, or all")]
    [TestCase("memory eval --latency 0", "--latency takes numbers from 1 to 10000000")]
    [TestCase("frobnicate", "frobnicate")]
    public async Task WrongUsageExitsWith2(string arguments, string message) => await AssertFails(arguments, 2, message);

    [TestCase("generate hello --model nope", "no model named 'nope'. Models found: bitnet")]
    [TestCase("generate hello --temperature 99", "Generation:Temperature (on the command line) is '99' but must be a number from 0, at most 10")]
    [TestCase("generate hello --template alpaca", "Choose one of: plain")]
    [TestCase("generate hello --model rwkv4-random", "no vocabulary")]
    [TestCase("serve --set Engine:Kernel=auto", "Unknown setting Engine:Kernel")]
    [TestCase("eval --model mamba-f32 --tokens /no/such/file --out x", "/no/such/file")]
    [TestCase("inspect /no/such.gguf", "no model file or folder /no/such.gguf")]
    [TestCase("detokenize -m mamba-f32 99999", "'99999' is no token id")]
    [TestCase("perplexity -m mamba-f32 --text /no/such.txt", "/no/such.txt")]
    [TestCase("bench -m bitnet-b158-tq2_0 -p 100000", "exceed the context")]
    [TestCase("memory stats --store postgres:x", "Memory:Store is 'postgres:x'; give sqlite:PATH or qdrant:URL")]
    [TestCase("memory stats --store sqlite:/proc/none/memory.db", "/proc/none")]
    [TestCase("memory ingest --file /no/such.jsonl", "/no/such.jsonl")]
    [TestCase("memory show zz", "'zz' is no id of a unit")]
    [TestCase("memory forget", "Say what to forget")]
    public async Task FailuresExitWith1(string arguments, string message) => await AssertFails(arguments, 1, message);

    [Test]
    public async Task ADamagedFileIsNamed()
    {
        var file = Path.Combine(TestContext.CurrentContext.WorkDirectory, "damaged.gguf");
        await File.WriteAllBytesAsync(file, (await File.ReadAllBytesAsync(Path.Combine(Repository.Models, "mamba-f32.gguf")))[..3000]);
        await AssertFails($"generate hello --model {file}", 1, file);
    }

    [Test]
    public async Task EveryVerbHasHelp([Values("", "serve", "generate", "tokenize", "detokenize", "eval", "perplexity", "inspect", "bench", "models", "models list", "doctor",
        "memory", "memory ingest", "memory recall", "memory list", "memory show", "memory forget", "memory stats", "memory eval", "memory migrate", "memory reembed")] string verb)
    {
        var (code, output, _) = await BuiltProgram.RunAsync([.. verb.Split(' ', StringSplitOptions.RemoveEmptyEntries), "--help"]);
        Assert.That(code, Is.Zero);
        Assert.That(output, Does.Contain("Usage:").And.Contain("ryzenllm"));
    }

    [Test]
    public async Task ATextThatBeginsWithDashesGoesAfterTwoDashes()
    {
        var (code, output, error) = await BuiltProgram.RunAsync(["tokenize", "-m", "mamba-f32", "--json", "--", "--bogus"]);
        Assert.That(code, Is.Zero, error);
        Assert.That(output, Does.StartWith("{\"ids\":["));
    }

    private static async Task AssertFails(string arguments, int code, string message)
    {
        var result = await BuiltProgram.RunAsync(arguments.Split(' '));
        Assert.That(result.Code, Is.EqualTo(code), result.Error);
        Assert.That(result.Out, Is.Empty);
        Assert.That(result.Error, Does.Contain(message));
        Assert.That(result.Error.TrimEnd('\n').Split('\n'), Has.Length.EqualTo(1), "one line");
    }
}
