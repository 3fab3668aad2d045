using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Tests.Tokenizers;

/// <summary>Vocabularies that contradict themselves are refused with the key at fault.</summary>
[TestFixture]
internal sealed class LoadingTests
{
    private static readonly TokenizerVocabulary Good = Vocabularies.Bytes(["ab"], ["a b"]);

    private static IEnumerable<TestCaseData> Faults =>
    [
        new(Good with { Model = "bert" }, "gpt2, llama, rwkv"),
        new(Good with { Pre = "starcoder" }, "llama-bpe, llama3"),
        new(Good with { Tokens = new ByteStrings() }, "tokenizer.ggml.tokens"),
        new(Good with { Types = [1] }, "257 values under tokenizer.ggml.token_type"),
        new(Good with { Types = [.. Good.Types[1..], 9] }, "tokenizer.ggml.token_type[256]"),
        new(Good with { Scores = [0] }, "257 values under tokenizer.ggml.scores"),
        new(Good with { BosId = 257 }, "tokenizer.ggml.bos_token_id"),
        new(Good with { EosId = -1 }, "tokenizer.ggml.eos_token_id"),
        new(Good with { Merges = ByteStrings.From(["a b", "ab"]) }, "tokenizer.ggml.merges[1]"),
        new(Good with { Merges = ByteStrings.From([" "]) }, "tokenizer.ggml.merges[0]"),
        new(Good with { Merges = ByteStrings.From([""]) }, "tokenizer.ggml.merges[0]"),
        new(Good with { Model = "llama" }, "tokenizer.ggml.scores"),
        new(Good with { Model = "llama", Scores = new float[257] }, "unknown_token_id"),
        new(Good with { Model = "llama", Scores = [.. new float[256], float.NaN] }, "tokenizer.ggml.scores[256]"),
        new(Good with { Model = "llama", Scores = new float[257], Types = [.. Good.Types[1..], 6] }, "tokenizer.ggml.tokens[256]"),
        new(Good with { Model = "rwkv", Tokens = ByteStrings.From(["a\\"]), Types = [] }, "tokenizer.ggml.tokens[0]"),
        new(Good with { Model = "rwkv", Tokens = ByteStrings.From(["\\x4"]), Types = [] }, "tokenizer.ggml.tokens[0]"),
        new(Good with { Model = "rwkv", Tokens = ByteStrings.From(["\\x4g"]), Types = [] }, "tokenizer.ggml.tokens[0]"),
        new(Good with { Model = "rwkv", Tokens = ByteStrings.From(["a"]), Types = [] }, "byte 0x00"),
    ];

    [TestCaseSource(nameof(Faults))]
    public void AFaultIsNamed(object vocabulary, string expected) =>
        Assert.That(() => TokenizerLoader.From((TokenizerVocabulary)vocabulary), Throws.TypeOf<ModelFormatException>().With.Message.Contains(expected));

    [TestCase("bitnet-b1.58", null, true)]
    [TestCase("bitnet-25", null, true)]
    [TestCase("bitnet-b1.58", "default", true)]
    [TestCase("mamba", null, false)]
    [TestCase("bitnet-b1.58", "gpt-2", false)]
    [TestCase("llama", "llama3", true)]
    [TestCase("qwen3", "qwen2", false)]
    public void AMissingPreTokeniserIsLlama3sUnderBitNetOnly(string architecture, string? pre, bool llama3)
    {
        var tokenizer = TokenizerLoader.From(Good with { Architecture = architecture, Pre = pre, BosId = 0, Merges = new ByteStrings() });
        Assert.That(tokenizer.Encode("ab", false, false), Is.EqualTo(llama3 ? new[] { 256 } : ['a', 'b']));
        Assert.That(tokenizer.AddBos, Is.EqualTo(llama3));
    }

    [Test]
    public void AModelOfBytesTakesAnyByte()
    {
        using var file = GgufFile.Open(SharedFiles.Path("golden/models/rwkv7-tiny-834k-trained.gguf"));
        Assert.That(TokenizerLoader.From(file).Encode([0, 65, 255], false, false), Is.EqualTo(new[] { 0, 65, 255 }));
    }

    // Damage to the keys is either found or harmless: whatever loads also encodes and decodes.
    [TestCase("bitnet-b158-i2_s")]
    [TestCase("rwkv7-f32")]
    public void DamagedKeysGiveOnlyModelFormatExceptions(string model)
    {
        var good = File.ReadAllBytes(Vocabularies.PathOf(model));
        var path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():N}.gguf");
        var random = new Random(11);
        var (loaded, refused) = (0, 0);
        try
        {
            for (var round = 0; round < 200; round++)
            {
                var bad = good.ToArray();
                for (var i = random.Next(1, 6); i > 0; i--)
                {
                    bad[random.Next(400, 12_000)] = (byte)random.Next(256);
                }

                File.WriteAllBytes(path, bad);
                try
                {
                    using var file = GgufFile.Open(path);
                    var tokenizer = TokenizerLoader.From(file);
                    tokenizer.Decode(tokenizer.Encode("The state of the machine <|eot_id|>\n", true, true));
                    loaded++;
                }
                catch (ModelFormatException)
                {
                    refused++;
                }
            }
        }
        finally
        {
            File.Delete(path);
        }

        Assert.That(loaded, Is.Positive);
        Assert.That(refused, Is.Positive);
    }
}
