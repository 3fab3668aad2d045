using System.Text;
using RyzenLlm.Memory.Embedders;
using RyzenLlm.Memory.Text;

namespace RyzenLlm.Memory.Tests.Text;

[TestFixture]
internal sealed class TextTests
{
    // Examples of Porter's paper, one or more for each step.
    [TestCase("caresses", "caress")]
    [TestCase("ponies", "poni")]
    [TestCase("cats", "cat")]
    [TestCase("feed", "feed")]
    [TestCase("agreed", "agre")]
    [TestCase("plastered", "plaster")]
    [TestCase("motoring", "motor")]
    [TestCase("sing", "sing")]
    [TestCase("conflated", "conflat")]
    [TestCase("hopping", "hop")]
    [TestCase("falling", "fall")]
    [TestCase("filing", "file")]
    [TestCase("happy", "happi")]
    [TestCase("sky", "sky")]
    [TestCase("relational", "relat")]
    [TestCase("vietnamization", "vietnam")]
    [TestCase("sensibiliti", "sensibl")]
    [TestCase("triplicate", "triplic")]
    [TestCase("hopefulness", "hope")]
    [TestCase("adoption", "adopt")]
    [TestCase("replacement", "replac")]
    [TestCase("controll", "control")]
    [TestCase("rate", "rate")]
    [TestCase("generalizations", "gener")]
    [TestCase("is", "is")]
    [TestCase("b2b", "b2b")]
    public void Porter_stems_as_in_the_paper(string word, string stem) => Assert.That(PorterStemmer.Stem(word), Is.EqualTo(stem));

    // Test values published with MurmurHash3.
    [TestCase("", 0u)]
    [TestCase("test", 0xba6bd213u)]
    [TestCase("Hello, world!", 0xc0363e43u)]
    [TestCase("The quick brown fox jumps over the lazy dog", 0x2e4ff723u)]
    public void Murmur3_gives_the_published_values(string text, uint hash) => Assert.That(TermBag.Murmur3(Encoding.UTF8.GetBytes(text)), Is.EqualTo(hash));

    [Test]
    public void Words_are_lower_case_without_possessives() =>
        Assert.That(Words.Of("Ann's dog, Rex-2, isn't HERE\u2019s!"), Is.EqualTo(new[] { "ann", "dog", "rex", "2", "isn", "t", "here" }));

    [TestCase("\u6771\u4eac\u99c5", new[] { "\u6771\u4eac", "\u4eac\u99c5" })]
    [TestCase("\u732b", new[] { "\u732b" })]
    [TestCase("a\u6771\u4eacb", new[] { "a", "\u6771\u4eac", "b" })]
    public void Scripts_without_spaces_come_in_pairs(string text, string[] words) => Assert.That(Words.Of(text), Is.EqualTo(words));

    [Test]
    public void A_bag_survives_its_bytes_and_rejects_damage()
    {
        TermBag bag = TermBag.Of("red red kettle, blue kettle, harbour");
        TermBag read = TermBag.FromBytes(bag.ToBytes());
        Assert.That((read.Terms, read.Counts, read.Length), Is.EqualTo((bag.Terms, bag.Counts, 6)).Using<(uint[], byte[], int)>(
            (a, b) => a.Item1.SequenceEqual(b.Item1) && a.Item2.SequenceEqual(b.Item2) && a.Item3 == b.Item3));
        Assert.That(() => TermBag.FromBytes(new byte[7]), Throws.TypeOf<InvalidDataException>());
        Assert.That(bag.Overlap(TermBag.Of("kettles of red")), Is.EqualTo(2 / 4.0));
    }

    [Test]
    public void Sentences_end_where_they_end() =>
        Assert.That(
            Sentences.Of("Dr. Ito came at 3.5 p.m. today. Really? Yes! J. Smith left."),
            Is.EqualTo(new[] { "Dr. Ito came at 3.5 p.m. today.", "Really?", "Yes!", "J. Smith left." }).Or.EqualTo(new[] { "Dr. Ito came at 3.5 p.m.", "today.", "Really?", "Yes!", "J. Smith left." }));

    [Test]
    public void Segments_keep_to_the_limit_and_lose_no_word()
    {
        string text = string.Join("\n\n", Enumerable.Range(0, 5).Select(p => string.Join(' ', Enumerable.Range(0, 9).Select(s => $"Part {p} sentence {s} runs on."))))
            + "\n\n" + string.Join(' ', Enumerable.Repeat("endless", 50));
        string[] pieces = [.. Sentences.Segment(text, 20, Count)];
        Assert.That(pieces.Select(Count), Has.All.LessThanOrEqualTo(20));
        Assert.That(string.Join(' ', pieces).Split(' '), Is.EqualTo(text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)));

        static int Count(string s) => s.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length;
    }

    [TestCase("key AKIAABCDEFGHIJKLMNOP", "aws-key")]
    [TestCase("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "github-token")]
    [TestCase("xoxb-1234567890-abcdefghij", "slack-token")]
    [TestCase("sk-proj-abcdefghijklmnopqrstuvwx", "api-key")]
    [TestCase("sk-ant-api03-abc_DEF-ghijklmnopqrst", "api-key")]
    [TestCase("glpat-abcdefghijklmnopqrst", "api-key")]
    [TestCase("eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4", "jwt")]
    [TestCase("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "private-key")]
    [TestCase("pay with 4111 1111 1111 1111 please", "card-number")]
    [TestCase("Authorization: Bearer abcdef0123456789abcdef", "bearer-token")]
    [TestCase("postgres://ann:hunter2@db/x", "url-password")]
    [TestCase("password: correct7horse", "credential")]
    [TestCase("my password is tr0ub4dor&3", "credential")]
    public void Secrets_are_found_and_redacted(string text, string kind)
    {
        Assert.That(SecretScan.Find(text).Select(s => s.Kind), Is.EqualTo(new[] { kind }));
        Assert.That(SecretScan.Redact(text), Does.Contain($"[redacted:{kind}]"));
        Assert.That(SecretScan.Find(SecretScan.Redact(text)), Is.Empty);
    }

    [Test]
    public void Nothing_of_two_secrets_that_overlap_stays_behind()
    {
        // The password ends at the first space, the card number begins inside it and goes on.
        Assert.That(SecretScan.Redact("password: a#4111-1111 1111 1111 end"), Is.EqualTo("password: [redacted:credential] end"));
    }

    [TestCase("The order 4111 1111 1111 1112 was shipped")]
    [TestCase("Call 555 0123 about the password reset page")]
    [TestCase("the password is important")]
    [TestCase("pi is 3.14159265358979323846")]
    [TestCase("skiing and sketching")]
    public void Plain_text_is_no_secret(string text) => Assert.That(SecretScan.Find(text), Is.Empty);

    [Test]
    public void Ids_are_version_5_and_follow_from_every_part()
    {
        Guid id = Fingerprint.Id("t", "s", "x");
        Assert.That(id, Is.EqualTo(Fingerprint.Id("t", "s", "x")));
        Assert.That(id, Is.Not.EqualTo(Fingerprint.Id("t", "sx", "")));
        Assert.That(id.Version, Is.EqualTo(5));
    }

    [Test]
    public void The_embedder_makes_unit_vectors_that_forgive_spelling()
    {
        using var embedder = new HashEmbedder();
        float[] a = embedder.Embed("accommodation in Reykjavik"), b = embedder.Embed("acommodation in Reykjavík"), c = embedder.Embed("purple bicycles");
        Assert.That(Dot(a, a), Is.EqualTo(1).Within(1e-5));
        Assert.That(Dot(a, b), Is.GreaterThan(0.5).And.GreaterThan(Dot(a, c) + 0.3));
        Assert.That(embedder.Embed("the of and"), Has.All.Zero);
        Assert.That(() => new HashEmbedder(100), Throws.TypeOf<ArgumentOutOfRangeException>());

        static float Dot(float[] x, float[] y) => x.Zip(y, (p, q) => p * q).Sum();
    }
}
