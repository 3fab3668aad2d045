using System.Runtime.InteropServices;
using System.Text.Json;

namespace RyzenLlm.Mcp.Tests.Cli;

/// <summary>Verbs of the built program on small models with known results.</summary>
public sealed class VerbTests
{
    private static readonly string[] BenchKeys =
    [
        "model", "threads", "prompt_tokens", "decode_tokens", "prompt_tokens_per_second", "decode_tokens_per_second", "load_seconds", "first_token_seconds", "peak_memory_bytes",
    ];

    private string _folder = null!;

    [SetUp]
    public void Create() => _folder = Directory.CreateTempSubdirectory("ryzenllm-cli-").FullName;

    [TearDown]
    public void Delete() => Directory.Delete(_folder, recursive: true);

    [Test]
    public async Task TokenizeGivesTheIdsOfTheReferenceAndDetokenizeTheTextAgain()
    {
        var expected = Expected("mamba-f32");
        var prompt = expected.GetProperty("prompt").GetString()!;
        var ids = Ints(expected.GetProperty("prompt_ids"));
        var fromArgument = await Json("tokenize", "--model", "mamba-f32", "--no-bos", "--json", prompt);
        Assert.That(Ints(fromArgument.GetProperty("ids")), Is.EqualTo(ids));
        var (_, fromInput, _) = await BuiltProgram.RunAsync(["tokenize", "-m", "mamba-f32", "--no-bos", "--json"], prompt);
        Assert.That(Ints(JsonDocument.Parse(fromInput).RootElement.GetProperty("ids")), Is.EqualTo(ids));
        var (code, text, _) = await BuiltProgram.RunAsync(["detokenize", "-m", "mamba-f32", .. ids.Select(i => $"{i}")]);
        Assert.That((code, text), Is.EqualTo((0, prompt)));
        var (_, array, _) = await BuiltProgram.RunAsync(["detokenize", "-m", "mamba-f32"], JsonSerializer.Serialize(ids));
        Assert.That(array, Is.EqualTo(prompt));
    }

    [TestCase("mamba-f32", 256)]
    [TestCase("mamba-f32", 7)]
    [TestCase("bitnet-b158-tq2_0", 256)]
    [TestCase("rwkv4-random", 5)]
    public async Task EvalWritesTheLogitsOfTheReference(string model, int chunk)
    {
        var expected = Expected(model);
        var tokens = Path.Combine(_folder, "ids.json");
        var output = Path.Combine(_folder, "logits.f32");
        await File.WriteAllTextAsync(tokens, expected.GetProperty("prompt_ids").GetRawText());
        var (code, _, error) = await BuiltProgram.RunAsync(["eval", "--model", model, "--tokens", tokens, "--out", output, "--chunk", $"{chunk}", "--kernels", "portable"]);
        Assert.That(code, Is.Zero, error);
        var actual = MemoryMarshal.Cast<byte, float>(await File.ReadAllBytesAsync(output)).ToArray();
        var reference = MemoryMarshal.Cast<byte, float>(await File.ReadAllBytesAsync(Repository.Expected(expected.GetProperty("logits_file").GetString()!))).ToArray();
        var strict = expected.TryGetProperty("strict_positions", out var positions) ? positions.GetInt32() * expected.GetProperty("n_vocab").GetInt32() : reference.Length;
        Assert.That(actual, Has.Length.EqualTo(reference.Length));
        Assert.That(
            actual.Take(strict).Zip(reference, (a, b) => Math.Abs(a - b)).Max(),
            Is.LessThanOrEqualTo(expected.GetProperty("suggested_max_abs_tolerance").GetDouble()));
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(2), "no half-written file is left");
    }

    [Test]
    public async Task GenerateStreamsTheGreedyContinuationOfTheReference()
    {
        var expected = Expected("mamba-f32");
        string[] arguments =
        [
            "generate", "--model", "mamba-f32", "--temperature", "0", "--max-tokens", $"{expected.GetProperty("greedy_ids").GetArrayLength()}",
            expected.GetProperty("prompt").GetString()!,
        ];
        var text = expected.GetProperty("greedy_text_utf8").GetString();
        var json = await Json([.. arguments, "--json"]);
        Assert.That(json.GetProperty("text").GetString(), Is.EqualTo(text));
        Assert.That(json.GetProperty("model").GetString(), Is.EqualTo("mamba-f32"));
        Assert.That(json.GetProperty("finish_reason").GetString(), Is.EqualTo("length"));
        Assert.That(json.GetProperty("prompt_tokens").GetInt32(), Is.EqualTo(expected.GetProperty("prompt_ids").GetArrayLength()));
        Assert.That(json.GetProperty("completion_tokens").GetInt32(), Is.EqualTo(expected.GetProperty("greedy_ids").GetArrayLength()));
        foreach (var measure in new[] { "prompt_tokens_per_second", "decode_tokens_per_second", "time_to_first_token_seconds" })
        {
            Assert.That(json.GetProperty(measure).GetDouble(), Is.GreaterThan(0), measure);
        }

        var (code, output, _) = await BuiltProgram.RunAsync(arguments);
        Assert.That((code, output), Is.EqualTo((0, text + Environment.NewLine)));
    }

    [Test]
    public async Task PerplexityIsThatOfTheReferenceLogits()
    {
        var expected = Expected("mamba-f32");
        var prompt = expected.GetProperty("prompt").GetString()!;
        var ids = Ints(expected.GetProperty("prompt_ids"));
        var vocabulary = expected.GetProperty("n_vocab").GetInt32();
        var logits = MemoryMarshal.Cast<byte, float>(await File.ReadAllBytesAsync(Repository.Expected("mamba-f32.logits.f32"))).ToArray();
        var nats = Math.Log(vocabulary); // the first token has nothing before it
        for (var i = 1; i < ids.Length; i++)
        {
            var row = logits.AsSpan((i - 1) * vocabulary, vocabulary).ToArray();
            nats += Math.Log(row.Sum(l => Math.Exp(l))) - row[ids[i]];
        }

        var file = Path.Combine(_folder, "text.txt");
        await File.WriteAllTextAsync(file, prompt);
        var json = await Json("perplexity", "--model", "mamba-f32", "--text", file, "--json");
        Assert.That(json.GetProperty("tokens").GetInt32(), Is.EqualTo(ids.Length));
        Assert.That(json.GetProperty("nats_per_token").GetDouble(), Is.EqualTo(nats / ids.Length).Within(1e-3));
        Assert.That(json.GetProperty("bits_per_byte").GetDouble(), Is.EqualTo(nats / Math.Log(2) / prompt.Length).Within(1e-3));
    }

    [Test]
    public async Task WindowsOfATransformerJudgeEveryTokenOnce()
    {
        var file = Path.Combine(_folder, "long.txt");
        await File.WriteAllTextAsync(file, string.Concat(Enumerable.Repeat("The wheel of the machine turns and the words go round. ", 40)));
        var half = await Json("perplexity", "--model", "bitnet-b158-tq2_0", "--text", file, "--json", "--window", "200");
        var tokens = half.GetProperty("tokens").GetInt32();
        var window = half.GetProperty("window").GetInt32();
        Assert.That(tokens, Is.GreaterThan(2 * window), "the text must need several windows");
        Assert.That(half.GetProperty("stride").GetInt32(), Is.EqualTo(window / 2));
        var whole = await Json("perplexity", "--model", "bitnet-b158-tq2_0", "--text", file, "--json", "--window", "200", "--stride", $"{window}");
        Assert.That(whole.GetProperty("tokens").GetInt32(), Is.EqualTo(tokens));
        Assert.That(whole.GetProperty("nats_per_token").GetDouble(), Is.Not.EqualTo(half.GetProperty("nats_per_token").GetDouble()));
        var few = await Json("perplexity", "--model", "bitnet-b158-tq2_0", "--text", file, "--json", "--limit", "10");
        Assert.That(few.GetProperty("tokens").GetInt32(), Is.EqualTo(10));
        Assert.That(few.GetProperty("bytes").GetInt32(), Is.InRange(10, 100));

        // Seen through a window, the text is read in one go, and both settings count.
        string[] streamed = ["perplexity", "--model", "bitnet-b158-tq2_0", "--text", file, "--json", "--limit", "150", "--set", "Engine:Window=60", "--set"];
        var (two, three) = (await Json([.. streamed, "Engine:Sinks=2"]), await Json([.. streamed, "Engine:Sinks=3"]));
        Assert.That(two.GetProperty("window").GetInt32(), Is.EqualTo(150));
        Assert.That(two.GetProperty("nats_per_token").GetDouble(), Is.Not.EqualTo(three.GetProperty("nats_per_token").GetDouble()));
        var all = await Json("perplexity", "--model", "bitnet-b158-tq2_0", "--text", file, "--json", "--limit", "150");
        Assert.That(two.GetProperty("nats_per_token").GetDouble(), Is.Not.EqualTo(all.GetProperty("nats_per_token").GetDouble()));
    }

    [Test]
    public async Task BenchGivesOneObjectPerThreadCountWithExactlyTheDocumentedKeys()
    {
        var json = await Json("bench", "--model", "rwkv7-f32", "-p", "20", "-n", "4", "-t", "1,2", "-r", "1", "--json");
        Assert.That(json.EnumerateArray().Select(e => e.GetProperty("threads").GetInt32()), Is.EqualTo(new[] { 1, 2 }));
        foreach (var run in json.EnumerateArray())
        {
            Assert.That(run.EnumerateObject().Select(p => p.Name), Is.EqualTo(BenchKeys));
            Assert.That(run.GetProperty("prompt_tokens").GetInt32(), Is.EqualTo(20));
            Assert.That(run.GetProperty("decode_tokens_per_second").GetDouble(), Is.GreaterThan(0));
            Assert.That(run.GetProperty("peak_memory_bytes").GetInt64(), Is.GreaterThan(10_000_000));
        }
    }

    [Test]
    public async Task BenchAtPositionsWithRooflineComparesBytesWithTheReadBandwidth()
    {
        var json = await Json("bench", "--model", "rwkv7-f32", "-n", "3", "-t", "1", "-r", "2", "--at", "5,40", "--roofline", "--json");
        Assert.That(json.EnumerateArray().Select(e => e.GetProperty("prompt_tokens").GetInt32()), Is.EqualTo(new[] { 5, 40 }));
        Assert.That(json[0].GetProperty("ratio_to_first_position").GetDouble(), Is.EqualTo(1));
        foreach (var place in json.EnumerateArray())
        {
            Assert.That(place.TryGetProperty("prompt_tokens_per_second", out _), Is.False);
            var roofline = place.GetProperty("roofline");
            Assert.That(
                roofline.EnumerateObject().Select(p => p.Name),
                Is.EqualTo(new[] { "bytes_per_token", "achieved_gb_per_second", "read_gb_per_second", "percent_of_read" }));
            Assert.That(roofline.GetProperty("bytes_per_token").GetDouble(), Is.EqualTo(json[0].GetProperty("roofline").GetProperty("bytes_per_token").GetDouble()));
            Assert.That(roofline.GetProperty("bytes_per_token").GetDouble(), Is.InRange(10_000, 10_000_000));
            Assert.That(roofline.GetProperty("percent_of_read").GetDouble(), Is.GreaterThan(0));
        }

        var (code, table, _) = await BuiltProgram.RunAsync(["bench", "--model", "bitnet-b158-tq2_0", "-p", "4", "-n", "2", "-r", "1", "--roofline"]);
        Assert.That(code, Is.Zero);
        Assert.That(table, Does.Contain("bytes/token").And.Contain("of read"));
    }

    [Test]
    public async Task InspectAndModelsTellWhatThereIs()
    {
        var file = await Json("inspect", "mamba-f32", "--json");
        Assert.That(file.GetProperty("architecture").GetString(), Is.EqualTo("mamba"));
        Assert.That(file.GetProperty("metadata").GetProperty("mamba.block_count").GetString(), Is.EqualTo("3"));
        Assert.That(file.GetProperty("tensors").EnumerateArray().Select(t => t.GetProperty("name").GetString()), Does.Contain("token_embd.weight"));
        var models = await Json("models", "list", "--json");
        Assert.That(models.EnumerateArray().Single(m => m.GetProperty("default").GetBoolean()).GetProperty("name").GetString(), Is.EqualTo("mamba-f32"));
        Assert.That(models.GetArrayLength(), Is.GreaterThanOrEqualTo(17));
        var (code, table, _) = await BuiltProgram.RunAsync(["models", "list"]);
        Assert.That(code, Is.Zero);
        Assert.That(table, Does.Contain("rwkv7-q8_0"));
        var (_, shown, _) = await BuiltProgram.RunAsync(["inspect", "mamba-f32"]);
        Assert.That(shown, Does.Contain("token_embd.weight").And.Contain("mamba.block_count"));
    }

    [Test]
    public async Task DoctorTellsWhatTheMachineOffers()
    {
        var json = await Json("doctor", "--json");
        Assert.That(json.GetProperty("processors").GetInt32(), Is.EqualTo(Environment.ProcessorCount));
        Assert.That(json.GetProperty("kernel_paths").EnumerateArray().Select(k => k.GetString()), Does.Contain("portable").And.Contain(json.GetProperty("chosen_kernels").GetString()));
        Assert.That(json.GetProperty("read_gigabytes_per_second").GetDouble(), Is.GreaterThan(0));
        Assert.That(json.GetProperty("models").GetArrayLength(), Is.GreaterThan(0));
    }

    [TestCase("lookup")]
    [TestCase("recycle")]
    [TestCase("auto")]
    public async Task GuessingAheadDoesNotChangeTheText(string mode)
    {
        string[] arguments = ["generate", "--model", "mamba-f32", "--max-tokens", "30", "--seed", "3", "--json", "The state of the machine"];
        var plain = await Json([.. arguments, "--speculate", "off"]);
        var guessed = await Json([.. arguments, "--speculate", mode]);
        Assert.That(guessed.GetProperty("text").GetString(), Is.EqualTo(plain.GetProperty("text").GetString()));
        Assert.That(plain.TryGetProperty("speculation", out _), Is.False);
        Assert.That(guessed.GetProperty("speculation").GetProperty("tokens_per_step").GetDouble(), Is.GreaterThanOrEqualTo(1));
    }

    [Test]
    public async Task ASessionGoesOnInTheNextRunOfTheProgram()
    {
        var folder = Directory.CreateTempSubdirectory("ryzenllm-cli-session-").FullName;
        try
        {
            string[] arguments = ["generate", "--model", "rwkv7-f32", "--max-tokens", "8", "--json", "--session", "talk", "--set", $"States:Folder={folder}"];
            var first = await Json([.. arguments, "The state of the machine, in all its parts and pieces, and of all that belongs to it?"]);
            var second = await Json([.. arguments, "And now?"]);
            Assert.That(first.GetProperty("reused_tokens").GetInt32(), Is.Zero);
            Assert.That(second.GetProperty("prompt_tokens").GetInt32(), Is.GreaterThan(first.GetProperty("prompt_tokens").GetInt32()));
            Assert.That(second.GetProperty("reused_tokens").GetInt32(), Is.GreaterThanOrEqualTo(first.GetProperty("prompt_tokens").GetInt32() - 1));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Test]
    public async Task AModelDraftsForAnotherOfTheSameVocabularyOnly()
    {
        string[] arguments = ["generate", "--max-tokens", "12", "--json", "--model", "tales-bitnet", "Once upon a time"];
        var drafted = await Json([.. arguments, "--speculate", "draft"]); // the one that its card names
        var plain = await Json([.. arguments, "--speculate", "off"]);
        Assert.That(drafted.GetProperty("text").GetString(), Is.EqualTo(plain.GetProperty("text").GetString()));
        Assert.That(drafted.GetProperty("speculation").GetProperty("drafts")[0].GetString(), Is.EqualTo("draft"));
        var (code, _, error) = await BuiltProgram.RunAsync([.. arguments, "--speculate", "draft", "--draft", "mamba-f32"]);
        Assert.That(code, Is.EqualTo(1));
        Assert.That(error, Does.Contain("tales-bitnet").And.Contain("vocabular"));
    }

    [Test]
    public async Task TheTextFollowsAConstraintAndABadOneIsRefusedByName()
    {
        string[] arguments = ["generate", "--model", "tales-bitnet", "--json"];
        var choice = await Json([.. arguments, "--choice", "an owl", "--choice", "a fox", "It was"]);
        Assert.That(choice.GetProperty("text").GetString(), Is.AnyOf("an owl", "a fox"));
        var schema = Path.Combine(_folder, "schema.json");
        await File.WriteAllTextAsync(schema, """{"type":"object","properties":{"age":{"type":"integer","minimum":1,"maximum":9}},"required":["age"],"additionalProperties":false}""");
        var text = (await Json([.. arguments, "--json-schema", "@" + schema, "The girl:"])).GetProperty("text").GetString()!;
        Assert.That(JsonDocument.Parse(text).RootElement.GetProperty("age").GetInt32(), Is.InRange(1, 9));
        var (code, _, error) = await BuiltProgram.RunAsync([.. arguments, "--json-schema", """{"dependentSchemas":{}}""", "x"]);
        Assert.That((code, error.Trim().Split('\n').Length), Is.EqualTo((1, 1)));
        Assert.That(error, Does.Contain("dependentSchemas"));
        (code, _, error) = await BuiltProgram.RunAsync([.. arguments, "--regex", "a+", "--choice", "b", "x"]);
        Assert.That(code, Is.EqualTo(1));
        Assert.That(error, Does.Contain("give one"));
    }

    private static JsonElement Expected(string model) => JsonDocument.Parse(File.ReadAllText(Repository.Expected(model + ".json"))).RootElement;

    private static int[] Ints(JsonElement array) => [.. array.EnumerateArray().Select(e => e.GetInt32())];

    private static async Task<JsonElement> Json(params string[] arguments)
    {
        var (code, output, error) = await BuiltProgram.RunAsync(arguments);
        Assert.That(code, Is.Zero, error);
        return JsonDocument.Parse(output).RootElement;
    }
}
