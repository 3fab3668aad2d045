using System.Text;
using System.Text.RegularExpressions;
using FsCheck;
using FsCheck.Fluent;
using Microsoft.ML.Tokenizers;
using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Tests.Tokenizers;

/// <summary>The parts of the tokenizers against independent statements of the same rules.</summary>
[TestFixture]
internal sealed class AlgorithmTests
{
    private const string Gpt2Expression = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    private const string Llama3Expression =
        @"'[sStTmMdD]|'[rR][eE]|'[vV][eE]|'[lL][lL]|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private static readonly string Qwen2Expression = Llama3Expression.Replace(@"\p{N}{1,3}", @"\p{N}", StringComparison.Ordinal);

    /// <summary>Single characters up to U+FFFF, for which a .NET expression knows the class.</summary>
    private static Arbitrary<string> Texts => Gen.Elements("aZ\u00e9\u65e5\u02b0sTrelvdm'09\u00bd\u0664\u2167 \t\r\n\u0085\u00a0\u3000.,_-\u0301\u200b\u20ac\0\u180e".ToCharArray())
        .ListOf().Select(characters => string.Concat(characters)).ToArbitrary();

    private static Config Config => Config.QuickThrowOnFailure.WithMaxTest(2000);

    [Test]
    public void WordsAreThoseOfThePublishedExpressions()
    {
        Prop.ForAll(Texts, text => Words(text, llama3: false).SequenceEqual(Matches(text, Gpt2Expression))).Check(Config);
        Prop.ForAll(Texts, text => Words(text, llama3: true).SequenceEqual(Matches(text, Llama3Expression))).Check(Config);
        Prop.ForAll(Texts, text => Words(text, WordSplitter.NextQwen2).SequenceEqual(Matches(text, Qwen2Expression))).Check(Config);
    }

    [Test]
    public void LettersAndNumbersBeyondTheBasicPlaneCount()
    {
        const string Han = "\ud840\udc00";
        const string Digit = "\ud835\udfd8";
        Assert.That(Words($"a{Han}b {Digit}1", llama3: false), Is.EqualTo(new[] { $"a{Han}b", $" {Digit}1" }));
        Assert.That(Words($".{Han}{Digit}{Digit}{Digit}{Digit}", llama3: true), Is.EqualTo(new[] { $".{Han}", Digit + Digit + Digit, Digit }));
    }

    [Test]
    public void ScanAndQueueMergeAlike()
    {
        var symbols = Gen.Choose(0, 3).ListOf().Select(list => list.Take(PairMerger.ShortWord).Select(x => (byte)x).ToArray()).ToArbitrary();
        Prop.ForAll(symbols, text =>
        {
            var scanned = Pieces(text);
            var queued = Pieces(text);
            var scannedCount = PairMerger.MergeByScan(default(OddPairs), text, scanned);
            var queuedCount = PairMerger.MergeByQueue(default(OddPairs), text, queued);
            return scanned.AsSpan(0, scannedCount).SequenceEqual(queued.AsSpan(0, queuedCount));
        }).Check(Config);
    }

    [Test]
    public void BytePairsAreThoseOfMicrosoftMlTokenizers()
    {
        using var file = GgufFile.Open(Vocabularies.PathOf("mamba-f32"));
        var tokens = file.GetStrings("tokenizer.ggml.tokens");
        var reference = BpeTokenizer.Create(new BpeOptions(tokens.Select((token, id) => KeyValuePair.Create(token, id)))
        {
            Merges = file.GetStrings("tokenizer.ggml.merges"),
            ByteLevel = true,
            PreTokenizer = new RegexPreTokenizer(new Regex(Gpt2Expression), null),
        });
        var tokenizer = Vocabularies.Get("mamba-f32");
        var words = Gen.Elements("the", " state", " of", "machine", " current", "ing", "def", " ", "\n", "s", "'s", "42", "(", ".", "\u00e9\u65e5")
            .ListOf().Select(parts => string.Concat(parts)).ToArbitrary();
        Prop.ForAll(words, text => tokenizer.Encode(text, false, false).SequenceEqual(reference.EncodeToIds(text))).Check(Config);
    }

    [Test]
    public void EqualRanksMergeFromTheLeft()
    {
        var tokenizer = TokenizerLoader.From(Vocabularies.Bytes(["aa", "aaa"], ["a a", "aa a"]));
        Assert.That(tokenizer.Encode("aaa", false, false), Is.EqualTo(new[] { 257 }));
        Assert.That(tokenizer.Encode("aaaaa", false, false), Is.EqualTo(new[] { 256, 257 }));
    }

    [Test]
    public void AMergeThatIsNoTokenIsAStepOnTheWay()
    {
        // "ab" is no token: it leads to "abc", and is spelled in bytes where it is left over.
        var tokenizer = TokenizerLoader.From(Vocabularies.Bytes(["abc"], ["a b", "ab c"]));
        Assert.That(tokenizer.Encode("abcab", false, false), Is.EqualTo(new[] { 256, 'a', 'b' }));
    }

    [Test]
    public void ALlama3WordThatIsATokenStaysWhole()
    {
        string[] tokens = ["ab", "bc", "abc"];
        string[] merges = ["b c", "a b"];
        Assert.That(TokenizerLoader.From(Vocabularies.Bytes(tokens, merges, pre: "llama-bpe")).Encode("abc", false, false), Is.EqualTo(new[] { 258 }));
        Assert.That(TokenizerLoader.From(Vocabularies.Bytes(tokens, merges, pre: "gpt-2")).Encode("abc", false, false), Is.EqualTo(new[] { 'a', 257 }));
    }

    [Test]
    public void AControlTokenSpelledLikeAWordIsNoWord()
    {
        var types = new[] { (int)TokenType.Control, (int)TokenType.Normal };
        var tokenizer = TokenizerLoader.From(Vocabularies.Bytes(["end", "en"], ["e n", "en d"], types, "llama-bpe"));
        Assert.That(tokenizer.Encode("end", false, parseSpecial: false), Is.EqualTo(new[] { 'e', 'n', 'd' }).Or.EqualTo(new[] { 257, 'd' }));
        Assert.That(tokenizer.Encode("end", false, parseSpecial: true), Is.EqualTo(new[] { 256 }));
    }

    [Test]
    public void LongerUserDefinedTokensAreCutOutFirst()
    {
        var types = Enumerable.Repeat((int)TokenType.UserDefined, 3).ToArray();
        var tokenizer = TokenizerLoader.From(Vocabularies.Bytes(["ab", "bcd", "  "], [], types));
        Assert.That(tokenizer.Encode("abcd   ab", false, false), Is.EqualTo(new[] { 'a', 257, 258, ' ', 256 }));
    }

    [Test]
    public void SentencePieceMergesTheBestScoreAndSpellsTheRestInBytes()
    {
        string[] tokens = ["<unk>", "<s>", .. Enumerable.Range(0, 256).Select(b => $"<0x{b:X2}>"), "\u2581", "a", "b", "c", "ab", "bc", "\u2581a", "</s>"];
        var types = tokens.Select((token, id) => (int)(id == 0 ? TokenType.Unknown : token is "<s>" or "</s>" ? TokenType.Control
            : token.StartsWith("<0x", StringComparison.Ordinal) ? TokenType.Byte : TokenType.Normal)).ToArray();
        int Id(string token) => Array.IndexOf(tokens, token);
        var scores = new float[tokens.Length];
        (scores[Id("ab")], scores[Id("bc")], scores[Id("\u2581a")]) = (-3, -1, -2);
        var vocabulary = new TokenizerVocabulary { Model = "llama", Tokens = ByteStrings.From(tokens), Types = types, Scores = scores };
        var prefixed = TokenizerLoader.From(vocabulary);
        var plain = TokenizerLoader.From(vocabulary with { AddSpacePrefix = false });
        using (Assert.EnterMultipleScope())
        {
            Assert.That(prefixed.Encode("abc", false, false), Is.EqualTo(new[] { Id("\u2581a"), Id("bc") }));
            Assert.That(plain.Encode("abc", false, false), Is.EqualTo(new[] { Id("a"), Id("bc") }));
            Assert.That(plain.Encode("ab\u00e9", false, false), Is.EqualTo(new[] { Id("ab"), Id("<0xC3>"), Id("<0xA9>") }));
            Assert.That(plain.Encode("<0x41>", false, false), Has.No.Member(Id("<0x41>")));
            Assert.That(prefixed.Encode("a</s>a", false, true), Is.EqualTo(new[] { Id("\u2581a"), Id("</s>"), Id("\u2581a") }));
            Assert.That(Encoding.UTF8.GetString(prefixed.Decode([Id("<s>"), Id("\u2581a"), Id("\u2581a")])), Is.EqualTo("<s>a a"));
        }
    }

    private static Piece[] Pieces(byte[] text) => [.. text.Select((symbol, i) => new Piece(i, 1, symbol))];

    private static List<string> Matches(string text, string expression) => [.. Regex.Matches(text, expression).Select(match => match.Value)];

    private delegate int NextWord(ReadOnlySpan<byte> text, int start);

    private static List<string> Words(string text, bool llama3) => Words(text, llama3 ? WordSplitter.NextLlama3 : WordSplitter.NextGpt2);

    private static List<string> Words(string text, NextWord next)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        var words = new List<string>();
        for (int start = 0, end; start < bytes.Length; start = end)
        {
            end = next(bytes, start);
            words.Add(Encoding.UTF8.GetString(bytes.AsSpan(start, end - start)));
        }

        return words;
    }

    /// <summary>Joins pairs of an odd sum, with few distinct ranks, so that equal ranks and dead ends are common.</summary>
    private readonly struct OddPairs : IPairRule
    {
        public bool TryJoin(int left, int right, ReadOnlySpan<byte> joined, out uint rank, out int symbol)
        {
            rank = (uint)(left * 7 + right * 3) % 5;
            symbol = (left * 5 + right + joined.Length) % 11;
            return (left + right) % 2 == 1 || left == right;
        }
    }
}
