using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Profiles;
using RyzenLlm.Engine.Tests.Models;

namespace RyzenLlm.Engine.Tests.Choosing;

public sealed class ProfileTests
{
    [Test]
    public void TheFittedCurveIsTheOneThePointsWereMadeFrom()
    {
        var profile = Made.Profile("m", 1, promptRate: 100, decodeRate: 50, recurrent: false, quadratic: 1e-5);
        Assert.That(profile.PromptSeconds(2000), Is.EqualTo((2000 / 100.0) + (1e-5 * 2000 * 2000)).Within(1e-6));
        Assert.That(profile.TokenSeconds(64), Is.EqualTo(0.02).Within(1e-12));
        Assert.That(profile.TokenSeconds(2064), Is.EqualTo(0.02 + (2000 * 1e-5)).Within(1e-9));
        Assert.That(profile.TokensOf(4001), Is.EqualTo(1001));
        var answer = profile.AnswerSeconds(200, 10, json: false);
        Assert.That(answer, Is.EqualTo(profile.PromptSeconds(200) + (10 * profile.TokenSeconds(205))).Within(1e-9));
        Assert.That((profile with { JsonTokenSeconds = 0.5 }).AnswerSeconds(200, 10, json: true), Is.EqualTo(answer + 5).Within(1e-9));
    }

    [Test]
    public void NoNoiseMakesALongerPromptOrALaterTokenCheaper()
    {
        // Times that fall per token, as of a machine that became free meanwhile: neither part of the fit may be negative.
        var odd = Made.Profile("m", 1, 100, 50) with { Prompt = [new(64, 5), new(256, 6), new(1024, 7)], Decode = [new(64, 0.5), new(1024, 0.1)] };
        for (var n = 0; n < 10_000; n += 500)
        {
            Assert.That(odd.PromptSeconds(n + 500), Is.GreaterThan(odd.PromptSeconds(n)));
            Assert.That(odd.TokenSeconds(n + 500), Is.GreaterThanOrEqualTo(odd.TokenSeconds(n)));
        }
    }

    [TestCase("mamba-f32", true)]
    [TestCase("bitnet-b158-tq2_0", false)]
    public void AModelIsMeasured(string name, bool recurrent)
    {
        var path = Fixtures.File($"golden/models/{name}.gguf");
        var profile = ProfileRun.Measure(name, path, new LoadOptions { Threads = 1 });
        using var model = ModelLoader.Load(path, new LoadOptions { Threads = 1 });
        Assert.That(profile.Model, Is.EqualTo(name));
        Assert.That(profile.IsRecurrent, Is.EqualTo(recurrent));
        Assert.That(profile.Vocabulary, Is.EqualTo(model.Tokenizer!.Fingerprint));
        Assert.That(profile.BitsPerByte, Is.EqualTo(Perplexity.Measure(model, name, SampleText.Text, window: Math.Min(1024, model.Info.ContextLength)).BitsPerByte));
        Assert.That(profile.Prompt.Select(p => p.Tokens), Is.Ordered.Ascending.And.Not.Empty);
        Assert.That(profile.Prompt.Concat(profile.Decode).Select(p => p.Seconds), Is.All.GreaterThan(0));
        Assert.That(profile.Decode, Has.Count.GreaterThanOrEqualTo(2));
        Assert.That(profile.LoadSeconds, Is.GreaterThan(0));
        Assert.That(profile.StateBytes, Is.GreaterThan(0));
        Assert.That(profile.StateBytesPerToken, recurrent ? Is.Zero : Is.GreaterThan(0));
        Assert.That(profile.Prompt[^1].Tokens + profile.Decode.Count, recurrent ? Is.GreaterThan(0) : Is.LessThanOrEqualTo(model.Info.ContextLength));
    }

    [Test]
    public void AModelWithoutVocabularyIsMeasuredWithoutQuality()
    {
        var profile = ProfileRun.Measure("r", Golden.Open("rwkv4-random").ModelPath, new LoadOptions { Threads = 1 });
        Assert.That(profile.BitsPerByte, Is.Null);
        Assert.That(profile.Vocabulary, Is.Null);
        Assert.That(profile.PromptSeconds(100), Is.GreaterThan(0));
    }

    [Test]
    public void MeasuringMakesWay()
    {
        using var cancel = new CancellationTokenSource();
        cancel.Cancel();
        Assert.That(
            () => ProfileRun.Measure("m", Fixtures.File("golden/models/mamba-f32.gguf"), new LoadOptions { Threads = 1 }, cancel.Token), Throws.InstanceOf<OperationCanceledException>());
    }
}
