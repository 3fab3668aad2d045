using System.Text;
using System.Text.Json;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Tests.Tokenizers;

/// <summary>Published ids of published vocabularies, and the prompts of the golden models.</summary>
[TestFixture]
internal sealed class VectorTests
{
    [TestCase("llama3-bpe", "llama3-bpe.jsonl", 92)]
    [TestCase("llama3-bpe", "llama3-bpe.published.jsonl", 47)]
    [TestCase("gpt-neox", "gpt-neox.jsonl", 92)]
    [TestCase("llama-spm", "llama-spm.published.jsonl", 47)]
    [TestCase("rwkv-world", "rwkv-world.jsonl", 94)]
    public void TextGivesThePublishedIdsAndBack(string vocabulary, string file, int count)
    {
        var tokenizer = Vocabularies.Get(vocabulary);
        var vectors = Read($"golden/tokenizers/{file}");
        Assert.That(vectors, Has.Count.EqualTo(count));
        using (Assert.EnterMultipleScope())
        {
            foreach (var vector in vectors)
            {
                var parseSpecial = vector.TryGetProperty("parse_special", out var parse) && parse.GetBoolean();
                var text = vector.TryGetProperty("text", out var property) ? property.GetString() : null;
                var bytes = text is null ? Convert.FromHexString(vector.GetProperty("bytes_hex").GetString()!) : Encoding.UTF8.GetBytes(text);
                var ids = Ids(vector, "ids");
                Assert.That(tokenizer.Encode(bytes, addBos: false, parseSpecial), Is.EqualTo(ids), $"bytes {vector}");
                Assert.That(tokenizer.Decode(ids), Is.EqualTo(bytes), $"decoded {vector}");
                if (text is not null)
                {
                    Assert.That(tokenizer.Encode(text, addBos: false, parseSpecial), Is.EqualTo(ids), $"text {vector}");
                }
            }
        }
    }

    [Test]
    public void TokensOfAnyBytesDecodeAndStreamAsPublished()
    {
        var vectors = Read("golden/tokenizers/decode-bytes.jsonl");
        Assert.That(vectors, Has.Count.EqualTo(143));
        var stream = new Utf8Stream();
        using (Assert.EnterMultipleScope())
        {
            foreach (var vector in vectors)
            {
                var tokenizer = Vocabularies.Get(vector.GetProperty("vocab").GetString()!);
                var ids = Ids(vector, "ids");
                var text = vector.GetProperty("utf8_with_replacement").GetString();
                Assert.That(Convert.ToHexStringLower(tokenizer.Decode(ids)), Is.EqualTo(vector.GetProperty("bytes_hex").GetString()));
                Assert.That(tokenizer.DecodeText(ids), Is.EqualTo(text));
                var streamed = new StringBuilder();
                foreach (var id in ids)
                {
                    streamed.Append(stream.Push(tokenizer.TokenBytes(id)));
                }

                Assert.That(streamed.Append(stream.Flush()).ToString(), Is.EqualTo(text), $"streamed {vector}");
            }
        }
    }

    [TestCase("bitnet-b158-i2_s")] // names no pre-tokeniser
    [TestCase("bitnet-old-i2_s")]
    [TestCase("mamba-f32")]
    [TestCase("rwkv6-f32")]
    [TestCase("rwkv7-f32")]
    public void PromptOfAGoldenModelGivesItsIds(string model)
    {
        using var expected = JsonDocument.Parse(File.ReadAllText(Fixtures.File($"golden/expected/{model}.json")));
        var tokenizer = Vocabularies.Get(model);
        var prompt = expected.RootElement.GetProperty("prompt").GetString()!;
        var ids = Ids(expected.RootElement, "prompt_ids");
        Assert.That(tokenizer.AddBos, Is.EqualTo(expected.RootElement.GetProperty("add_bos").GetBoolean()));
        Assert.That(tokenizer.Encode(prompt, tokenizer.AddBos, parseSpecial: false), Is.EqualTo(ids));
        Assert.That(tokenizer.DecodeText(ids.AsSpan(tokenizer.AddBos ? 1 : 0)), Is.EqualTo(prompt));
    }

    [Test]
    public void PublishedVocabulariesHaveTheirSpecialTokens()
    {
        var llama3 = Vocabularies.Get("llama3-bpe");
        var neox = Vocabularies.Get("gpt-neox");
        var spm = Vocabularies.Get("llama-spm");
        var world = Vocabularies.Get("rwkv-world");
        using (Assert.EnterMultipleScope())
        {
            Assert.That((llama3.VocabularySize, llama3.BosId, llama3.AddBos), Is.EqualTo((128256, (int?)128000, true)));
            Assert.That(llama3.EosIds, Is.EquivalentTo(new[] { 128001, 128009 }));
            Assert.That((neox.VocabularySize, neox.BosId, neox.AddBos), Is.EqualTo((50432, (int?)0, false)));
            Assert.That(neox.EosIds, Is.EquivalentTo(new[] { 0 }));
            Assert.That((spm.VocabularySize, spm.BosId, spm.AddBos), Is.EqualTo((32000, (int?)1, true)));
            Assert.That(spm.EosIds, Is.EquivalentTo(new[] { 2 }));
            Assert.That((world.VocabularySize, world.BosId, world.AddBos), Is.EqualTo((65536, (int?)0, false)));
            Assert.That(world.EosIds, Is.EquivalentTo(new[] { 0, 261 }));
            Assert.That(llama3.Encode("Hello", addBos: true, parseSpecial: false), Is.EqualTo(new[] { 128000, 9906 }));
            Assert.That(llama3.FindSpecial("<|eot_id|>"), Is.EqualTo(128009));
            Assert.That(llama3.IsSpecial(128009) && !llama3.IsSpecial(9906) && !neox.IsSpecial(50276) && world.IsSpecial(65535));
            Assert.That(world.TokenText(261), Is.EqualTo("\n\n"));
        }
    }

    private static int[] Ids(JsonElement vector, string name) => [.. vector.GetProperty(name).EnumerateArray().Select(id => id.GetInt32())];

    private static List<JsonElement> Read(string file) =>
        [.. File.ReadLines(SharedFiles.Path(file)).Select(line => JsonDocument.Parse(line).RootElement)];
}
