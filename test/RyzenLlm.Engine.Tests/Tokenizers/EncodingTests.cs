using System.Text;
using FsCheck;
using FsCheck.Fluent;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Tests.Tokenizers;

/// <summary>What holds for every text and every tokenizer.</summary>
[TestFixture]
internal sealed class EncodingTests
{
    /// <summary>Pieces of which random texts are made: what splitters, merges and special tokens care about.</summary>
    private static readonly string[] Morsels =
    [
        "a", "b", "the", " the", "The", "ing", "1", "23", "4567", " ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "'", "'s", "'LL", "'ve", ".", ",", "!?", "(",
        "<", "|", ">", "<|eot_id|>", "<|begin_of_text|>", "<|endoftext|>", "<s>", "</s>", "<unk>", "<0x0A>", "[PAD398]", "\0", "\u00e9", "\u00df", "\u0301",
        "\u65e5\u672c", "\ud840\udc00", "\ud835\udfd8", "\ud83e\udd99", "\u00bd", "\u00a0", "\u2003", "\u3000", "\u0085", "\u200d", "\ufffd", "_", "\\x41",
    ];

    private static IEnumerable<string> All => Vocabularies.Small.Concat(Vocabularies.Published);

    private static Arbitrary<string> Texts => Gen.Elements(Morsels).ListOf().Select(parts => string.Concat(parts)).ToArbitrary();

    private static Config Config => Config.QuickThrowOnFailure.WithMaxTest(300);

    [TestCaseSource(nameof(All))]
    public void EncodedTextDecodesToItself(string name)
    {
        var tokenizer = Vocabularies.Get(name);
        Prop.ForAll(Texts, text => tokenizer.DecodeText(tokenizer.Encode(text, addBos: false, parseSpecial: false)) == text).Check(Config);
        Prop.ForAll(Texts, text => tokenizer.DecodeText(tokenizer.Encode(text, addBos: false, parseSpecial: true)) == text).Check(Config);
    }

    [TestCaseSource(nameof(All))]
    public void EncodedBytesDecodeToThemselves(string name)
    {
        // GPT-NeoX's vocabulary has no token for the bytes that UTF-8 never uses.
        var tokenizer = Vocabularies.Get(name);
        Prop.ForAll<byte[]>(bytes => tokenizer.Decode(tokenizer.Encode(bytes, addBos: false, parseSpecial: false)).AsSpan()
            .SequenceEqual(bytes.Where(value => name != "gpt-neox" || value is not (0xC0 or 0xC1 or >= 0xF5)).ToArray())).Check(Config);
    }

    [TestCaseSource(nameof(All))]
    public void PlainTextNeverBecomesASpecialToken(string name)
    {
        var tokenizer = Vocabularies.Get(name);
        Prop.ForAll(Texts, text => !tokenizer.Encode(text, addBos: false, parseSpecial: false).Any(tokenizer.IsSpecial)).Check(Config);
    }

    [TestCase("bitnet-b158-i2_s", "<|eot_id|>")]
    [TestCase("mamba-f32", "<|endoftext|>")]
    public void ControlTokensAreParsedOnDemandOnly(string name, string token)
    {
        var tokenizer = Vocabularies.Get(name);
        var id = tokenizer.FindSpecial(token)!.Value;
        Assert.That(tokenizer.Encode($"a{token}{token}b", addBos: false, parseSpecial: true).Count(x => x == id), Is.EqualTo(2));
        Assert.That(tokenizer.Encode($"a{token}{token}b", addBos: false, parseSpecial: false), Has.No.Member(id));
    }

    [TestCaseSource(nameof(All))]
    public void HostileTextIsEncodedWithoutLoss(string name)
    {
        var tokenizer = Vocabularies.Get(name);
        string[] texts =
        [
            "", "\0", "\0\0a\0", new(' ', 100_000), new string(' ', 100_000) + "x", new('\n', 100_000), string.Concat(Enumerable.Repeat("\n ", 50_000)) + "x",
            string.Concat(Enumerable.Repeat("<|eot_id|>", 20_000)), string.Concat(Enumerable.Repeat("'s", 50_000)), new('1', 100_000), new('=', 100_000),
            string.Concat(Enumerable.Repeat("\u0301", 50_000)),
        ];
        using (Assert.EnterMultipleScope())
        {
            foreach (var text in texts)
            {
                Assert.That(tokenizer.DecodeText(tokenizer.Encode(text, false, false)) == text, $"{text.Length} characters");
                Assert.That(tokenizer.DecodeText(tokenizer.Encode(text, false, true)) == text, $"{text.Length} characters, special tokens parsed");
            }

            Assert.That(tokenizer.DecodeText(tokenizer.Encode("a\ud800b\udc00", false, false)), Is.EqualTo("a\ufffdb\ufffd"));
        }
    }

    // A quadratic merge would take many minutes for one word of a million letters.
    [TestCaseSource(nameof(All))]
    public void AWordOfAMillionLettersIsEncoded(string name)
    {
        var tokenizer = Vocabularies.Get(name);
        var random = new Random(7);
        foreach (var word in new[] { new string('a', 1_000_000), string.Create(1_000_000, random, (span, r) => r.GetItems("etaoinshr", span)) })
        {
            Assert.That(tokenizer.DecodeText(tokenizer.Encode(word, addBos: false, parseSpecial: false)) == word);
        }
    }

    [TestCaseSource(nameof(All))]
    public void TokenBytesAreReadWithoutAllocating(string name)
    {
        var tokenizer = Vocabularies.Get(name);
        var length = Sum();
        var again = 0L;
        Assert.That(Allocations.Of(() => again = Sum()), Is.Zero);
        Assert.That(again, Is.EqualTo(length).And.Positive);

        int Sum()
        {
            var sum = 0;
            for (var id = 0; id < 100; id++)
            {
                sum += tokenizer.TokenBytes(id).Length + (tokenizer.IsSpecial(id) ? 1 : 0);
            }

            return sum;
        }
    }

    [TestCaseSource(nameof(Small))]
    public void IdsOutsideTheVocabularyAreRefused(string name)
    {
        var tokenizer = Vocabularies.Get(name);
        Assert.That(() => tokenizer.TokenBytes(tokenizer.VocabularySize), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => tokenizer.IsSpecial(-1), Throws.TypeOf<ArgumentOutOfRangeException>());
        Assert.That(() => tokenizer.Decode([1, int.MaxValue]), Throws.TypeOf<ArgumentOutOfRangeException>());
    }

    private static string[] Small => Vocabularies.Small;

    [Test]
    public void FingerprintsTellVocabulariesApart()
    {
        Assert.That(Vocabularies.Get("rwkv6-f32").Fingerprint, Is.EqualTo(Vocabularies.Get("rwkv7-f32").Fingerprint));
        Assert.That(Vocabularies.Get("bitnet-b158-i2_s").Fingerprint, Is.EqualTo(Vocabularies.Get("bitnet-old-i2_s").Fingerprint));
        Assert.That(Small.Select(name => Vocabularies.Get(name).Fingerprint), Is.Unique);
        Assert.That(
            TokenizerLoader.From(Vocabularies.Bytes(["ab", "c"], [])).Fingerprint,
            Is.Not.EqualTo(TokenizerLoader.From(Vocabularies.Bytes(["a", "bc"], [])).Fingerprint));
    }

    [Test]
    public void ManyThreadsMayShareATokenizer()
    {
        var tokenizer = Vocabularies.Get("mamba-f32");
        var text = string.Concat(Morsels);
        var expected = tokenizer.Encode(text, false, false);
        Parallel.For(0, 64, _ => Assert.That(tokenizer.Encode(text, false, false), Is.EqualTo(expected)));
    }
}
