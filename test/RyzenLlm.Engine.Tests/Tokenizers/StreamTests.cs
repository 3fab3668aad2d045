using System.Text;
using FsCheck;
using FsCheck.Fluent;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Tests.Tokenizers;

/// <summary>Text that comes in parts.</summary>
[TestFixture]
internal sealed class StreamTests
{
    private static Config Config => Config.QuickThrowOnFailure.WithMaxTest(2000);

    [Test]
    public void TextIsTheSameWhereverTheBytesAreCut()
    {
        var bytes = Encoding.UTF8.GetBytes("a\u00e9\u65e5\ud83e\udd99\u0000z").Concat(new byte[] { 0xFF, 0xF0, 0x9F, 0x41, 0xED, 0xA0, 0x80, 0xE6, 0x97 }).ToArray();
        var whole = Encoding.UTF8.GetString(bytes);
        var stream = new Utf8Stream();
        for (var first = 0; first <= bytes.Length; first++)
        {
            for (var second = first; second <= bytes.Length; second++)
            {
                var text = new StringBuilder();
                text.Append(stream.Push(bytes.AsSpan(0, first))).Append(stream.Push(bytes.AsSpan(first, second - first)));
                text.Append(stream.Push(bytes.AsSpan(second))).Append(stream.Flush());
                Assert.That(text.ToString(), Is.EqualTo(whole), $"cut at {first} and {second}");
            }
        }
    }

    [Test]
    public void OnlyWholeCharactersAreEmitted()
    {
        var stream = new Utf8Stream();
        Assert.That(stream.Push([0xF0, 0x9F]).ToString(), Is.Empty);
        Assert.That(stream.Push([0xA6]).ToString(), Is.Empty);
        Assert.That(stream.Push([0x99, 0x41]).ToString(), Is.EqualTo("\ud83e\udd99A"));
        Assert.That(stream.Flush().ToString(), Is.Empty);
        Assert.That(stream.Push([0xE6]).ToString(), Is.Empty);
        Assert.That(stream.Flush().ToString(), Is.EqualTo("\ufffd"));
        Assert.That(stream.Push("b"u8).ToString(), Is.EqualTo("b"));
    }

    [Test]
    public void StreamsDoNotAllocatePerToken()
    {
        var stream = new Utf8Stream();
        var stops = new StopMatcher(["\n\nUser:", "<|eot_id|>"]);
        Run();
        Assert.That(Allocations.Of(Run), Is.Zero);

        void Run()
        {
            for (var i = 0; i < 1000; i++)
            {
                stops.Push(stream.Push("\n\nUse <|e\u65e5"u8));
            }
        }
    }

    [Test]
    public void TextThatMayBeginAStopStringIsHeldBack()
    {
        var matcher = new StopMatcher(["\n\nUser:"]);
        Assert.That(matcher.Push("Hello\n").ToString(), Is.EqualTo("Hello"));
        Assert.That(matcher.Push("\nUs").ToString(), Is.Empty);
        Assert.That(matcher.Push("ing").ToString(), Is.EqualTo("\n\nUsing"));
        Assert.That(matcher.Push("\n\n\nUser").ToString(), Is.EqualTo("\n"));
        Assert.That(matcher.Stopped, Is.False);
        Assert.That(matcher.Push(": more").ToString(), Is.Empty);
        Assert.That((matcher.Stopped, matcher.Stop), Is.EqualTo((true, "\n\nUser:")));
        Assert.That(matcher.Push("x").ToString() + matcher.Flush().ToString(), Is.Empty);
    }

    [Test]
    public void WhatIsHeldBackComesAtTheEnd()
    {
        var matcher = new StopMatcher(["stop", "top!"]);
        Assert.That(matcher.Push("a sto").ToString() + matcher.Flush().ToString() + matcher.Flush().ToString(), Is.EqualTo("a sto"));
        Assert.That(matcher.Push("p").ToString(), Is.EqualTo("p"));
    }

    [Test]
    public void NoStopStringLetsEverythingPass()
    {
        var matcher = new StopMatcher([]);
        Assert.That(matcher.Push("abc").ToString(), Is.EqualTo("abc"));
        Assert.That(matcher.Flush().ToString(), Is.Empty);
        Assert.That(() => new StopMatcher(["a", ""]), Throws.ArgumentException);
    }

    [Test]
    public void TheStopStringCompleteFirstEndsTheTextHoweverItIsCut()
    {
        var strings = Gen.Elements('a', 'b', 'c').ListOf().Select(characters => string.Concat(characters));
        var cases = from text in strings
                    from stops in strings.Where(stop => stop.Length > 0).ListOf()
                    from cuts in Gen.Choose(0, 4).ListOf()
                    select (text, stops: stops.ToArray(), cuts: cuts.ToArray());
        Prop.ForAll(cases.ToArbitrary(), c => Matched(c.text, c.stops, c.cuts) == Expected(c.text, c.stops)).Check(Config);
    }

    private static (string Text, string? Stop) Expected(string text, string[] stops)
    {
        for (var end = 1; end <= text.Length; end++)
        {
            var stop = stops.Where(s => text[..end].EndsWith(s, StringComparison.Ordinal)).MaxBy(s => s.Length);
            if (stop is not null)
            {
                return (text[..(end - stop.Length)], stop);
            }
        }

        return (text, null);
    }

    private static (string Text, string? Stop) Matched(string text, string[] stops, int[] cuts)
    {
        var matcher = new StopMatcher(stops);
        var emitted = new StringBuilder();
        var start = 0;
        foreach (var length in cuts.Select(cut => Math.Min(cut, text.Length - start)))
        {
            emitted.Append(matcher.Push(text.AsSpan(start, Math.Min(length, text.Length - start))));
            start += Math.Min(length, text.Length - start);
        }

        emitted.Append(matcher.Push(text.AsSpan(start))).Append(matcher.Flush());
        return (emitted.ToString(), matcher.Stop);
    }
}
