using RyzenLlm.Engine.Profiles;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Hosting;

public sealed class ProfileStoreTests
{
    private static readonly ModelProfile Profile = new()
    {
        Model = "made",
        Architecture = "mamba",
        BitsPerByte = 1.25,
        Vocabulary = "v",
        Prompt = [new(64, 0.5), new(256, 2)],
        Decode = [new(64, 0.01)],
    };

    private string _model = "";
    private AppSettings _settings = new();

    [SetUp]
    public void Prepare()
    {
        _model = Path.Combine(Repository.Scratch("model"), "made.gguf");
        File.WriteAllText(_model, "weights");
        _settings = new() { Models = new() { ProfileFolder = Repository.Scratch("profiles") } };
    }

    private ModelEntry Entry => new("made", _model);

    [Test]
    public void AProfileIsKeptWholeAndFoundByAnotherProcess()
    {
        Assert.That(new ProfileStore(_settings).Find(Entry), Is.Null);
        new ProfileStore(_settings).Save(Entry, Profile);
        var found = new ProfileStore(_settings).Find(Entry)!;
        Assert.That(found.Prompt, Is.EqualTo(Profile.Prompt));
        Assert.That(found with { Prompt = Profile.Prompt, Decode = Profile.Decode }, Is.EqualTo(Profile));
        Assert.That(new DirectoryInfo(_settings.Models.ProfileFolder).GetFiles(), Has.Length.EqualTo(1), "nothing is left beside it");
    }

    [TestCase("size")]
    [TestCase("time")]
    [TestCase("threads")]
    [TestCase("kernels")]
    [TestCase("precision")]
    [TestCase("damaged")]
    public void WhatChangedIsAsGoodAsNotMeasured(string what)
    {
        new ProfileStore(_settings).Save(Entry, Profile);
        var settings = _settings;
        switch (what)
        {
            case "size":
                File.AppendAllText(_model, "more");
                break;
            case "time":
                File.SetLastWriteTimeUtc(_model, new DateTime(2020, 1, 1, 0, 0, 0, DateTimeKind.Utc));
                break;
            case "threads":
                settings = settings with { Engine = new() { Threads = 7 } };
                break;
            case "kernels":
                settings = settings with { Engine = new() { Kernels = "portable" } };
                break;
            case "precision":
                settings = settings with { Engine = new() { Precision = "exact" } };
                break;
            default:
                File.WriteAllText(Directory.GetFiles(_settings.Models.ProfileFolder).Single(), "{\"file\":");
                break;
        }

        Assert.That(new ProfileStore(settings).Find(Entry), Is.Null);
        new ProfileStore(settings).Save(Entry, Profile);
        Assert.That(new ProfileStore(settings).Find(Entry), Is.Not.Null);
    }
}
