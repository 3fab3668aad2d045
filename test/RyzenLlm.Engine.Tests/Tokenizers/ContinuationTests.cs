using System.Text;
using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Tests.Tokenizers;

/// <summary>A prompt that goes on from tokens that were computed before: it spells what the template renders, and keeps what it can.</summary>
public class ContinuationTests
{
    private static readonly string[] Words = ["Hello", " there", "\n", "\n\n", " größe", " 漢字", "!", " User", ": ", "  ", "\ud83d\ude00", "x", "1234"];

    private static readonly ChatTemplate[] Templates = [ChatTemplate.Plain, ChatTemplate.BitNet, ChatTemplate.Rwkv, ChatTemplate.Llama3, ChatTemplate.ChatMl];

    [Test]
    public void SpellsThePromptAndKeepsWhatWasSaid([ValueSource(typeof(Vocabularies), nameof(Vocabularies.Small))] string name, [ValueSource(nameof(Templates))] ChatTemplate template)
    {
        var tokenizer = Vocabularies.Get(name);
        var random = new Random(3);
        for (var round = 0; round < 60; round++)
        {
            List<ChatTurn> turns = [new("system", Text(random)), new("user", Text(random))];
            var said = tokenizer.Encode(template.Render(turns));
            for (var turn = 0; turn < 3; turn++)
            {
                // The model writes its answer byte by byte, so to speak: in other tokens than reading it would give.
                var answer = Text(random);
                int[] written = [.. answer.EnumerateRunes().SelectMany(r => tokenizer.Encode(r.ToString(), addBos: false, parseSpecial: false))];
                said = [.. said, .. written];
                turns.Add(new("assistant", answer));
                turns.Add(new("user", Text(random)));
                var prompt = template.Render(turns);

                var ids = tokenizer.Continue(prompt, said);

                Assert.That(Spelled(tokenizer, ids), Is.EqualTo(Spelled(tokenizer, tokenizer.Encode(prompt))), $"round {round}, turn {turn}");
                said = ids;
            }
        }
    }

    [TestCase("bitnet-b158-i2_s", "bitnet")]
    [TestCase("mamba-f32", "plain")]
    [TestCase("rwkv7-f32", "rwkv")]
    public void AnAnswerInOtherTokensIsKeptAsItWasWritten(string name, string form)
    {
        var tokenizer = Vocabularies.Get(name);
        var template = ChatTemplate.ByName(form);
        var asked = tokenizer.Encode(template.Render([new("user", "Hello there")]));
        var answer = form == "rwkv" ? " the other way" : "the other way";
        int[] said = [.. asked, .. answer.SelectMany(c => tokenizer.Encode(c.ToString(), addBos: false, parseSpecial: false))];

        var prompt = template.Render([new("user", "Hello there"), new("assistant", answer), new("user", "And then?")]);
        var ids = tokenizer.Continue(prompt, form == "plain" ? said[asked.Length..] : said);

        if (form != "plain")
        {
            Assert.That(ids.AsSpan().CommonPrefixLength(said), Is.EqualTo(said.Length));
        }

        Assert.That(Spelled(tokenizer, ids), Is.EqualTo(Spelled(tokenizer, tokenizer.Encode(prompt))));
    }

    [Test]
    public void WhatIsNotTheBeginningIsEncodedAnew()
    {
        var tokenizer = Vocabularies.Get("rwkv7-f32");
        var prompt = ChatTemplate.Rwkv.Render([new("user", "Hello")]);
        var expected = tokenizer.Encode(prompt);
        foreach (var said in (int[][])[[], [7, 8, 9], [-5], [int.MaxValue], [.. expected, 1, 2]])
        {
            Assert.That(Spelled(tokenizer, tokenizer.Continue(prompt, said)), Is.EqualTo(Spelled(tokenizer, expected)));
        }
    }

    [Test]
    public void PublishedVocabulariesToo([ValueSource(typeof(Vocabularies), nameof(Vocabularies.Published))] string name) =>
        SpellsThePromptAndKeepsWhatWasSaid(name, name == "llama3-bpe" ? ChatTemplate.BitNet : name == "rwkv-world" ? ChatTemplate.Rwkv : ChatTemplate.Plain);

    private static string Text(Random random) => "a" + string.Concat(Enumerable.Range(0, random.Next(1, 8)).Select(_ => Words[random.Next(Words.Length)]));

    private static string Spelled(ITokenizer tokenizer, int[] ids) =>
        Encoding.UTF8.GetString(tokenizer.Decode(tokenizer.AddBos && ids.Length > 0 && ids[0] == tokenizer.BosId ? ids.AsSpan(1) : ids));
}
