using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Hosting;

public sealed class FeedbackStoreTests
{
    private static readonly Caller Ann = new("ann"), Ben = new("../ben");

    private AppSettings _settings = new();

    [SetUp]
    public void Prepare() => _settings = new() { Models = new() { FeedbackFolder = Repository.Scratch("feedback") } };

    [Test]
    public void FeedbackBelongsToTenantTaskAndModelAndIsKept()
    {
        var store = new FeedbackStore(_settings);
        store.Add(Ann, "chat", "a", good: true);
        Assert.That(store.Add(Ann, "chat", "a", good: false), Is.EqualTo(new FeedbackStore.Count(1, 1)));
        var later = new FeedbackStore(_settings);
        Assert.That(later.Of(Ann, "chat", "a"), Is.EqualTo(new FeedbackStore.Count(1, 1)));
        Assert.That(later.Of(Ann, "chat", "b"), Is.EqualTo(new FeedbackStore.Count(0, 0)));
        Assert.That(later.Of(Ann, "code", "a"), Is.EqualTo(new FeedbackStore.Count(0, 0)));
        Assert.That(later.Of(Ben, "chat", "a"), Is.EqualTo(new FeedbackStore.Count(0, 0)), "another tenant");
    }

    [Test]
    public void ItCanBeResetForATaskOrAsAWholeWithoutTouchingOthers()
    {
        var store = new FeedbackStore(_settings);
        store.Add(Ann, "chat", "a", true);
        store.Add(Ann, "code", "a", true);
        store.Add(Ben, "chat", "a", true);
        Assert.That(store.Reset(Ann, "chat"), Is.EqualTo(1));
        Assert.That(store.Of(Ann, "chat", "a").Good, Is.Zero);
        Assert.That(store.Of(Ann, "code", "a").Good, Is.EqualTo(1));
        Assert.That(store.Reset(Ann, null), Is.EqualTo(1));
        Assert.That(store.Of(Ann, "code", "a").Good, Is.Zero);
        Assert.That(store.Of(Ben, "chat", "a").Good, Is.EqualTo(1));
    }

    [Test]
    public void NothingIsLostWhenManyAddAtOnce()
    {
        Parallel.For(0, 40, _ => new FeedbackStore(_settings).Add(Ann, "chat", "a", true));
        Assert.That(new FeedbackStore(_settings).Of(Ann, "chat", "a").Good, Is.EqualTo(40));
    }

    [Test]
    public void OldFeedbackFadesAndTasksAreLimited()
    {
        var store = new FeedbackStore(_settings);
        for (var i = 0; i < 250; i++)
        {
            store.Add(Ann, "chat", "a", false);
        }

        Assert.That(store.Of(Ann, "chat", "a").Bad, Is.LessThanOrEqualTo(200));
        for (var i = 1; i < FeedbackStore.MostTasks; i++)
        {
            store.Add(Ann, $"task {i}", "a", true);
        }

        Assert.That(() => store.Add(Ann, "one more", "a", true), Throws.ArgumentException.With.Message.Contains("reset_feedback"));
        Assert.That(() => store.Add(Ann, "task 3", "a", true), Throws.Nothing);
    }

    [TestCase("../x")]
    [TestCase("a\nb")]
    public void ATaskIsAShortName(string hint) => Assert.That(() => FeedbackStore.Task(hint), Throws.ArgumentException.With.Message.Contains("such as summarise"));

    [Test]
    public void CaseAndBlanksAroundATaskDoNotCount() => Assert.That(FeedbackStore.Task(" Summarise "), Is.EqualTo("summarise"));

    [Test]
    public void ADamagedFileIsNamedAndNotOverwritten()
    {
        var store = new FeedbackStore(_settings);
        store.Add(Ann, "chat", "a", true);
        var file = Directory.GetFiles(_settings.Models.FeedbackFolder, "*.json").Single();
        File.WriteAllText(file, "[");
        Assert.That(() => store.Add(Ann, "chat", "a", true), Throws.InstanceOf<InvalidDataException>().With.Message.Contains(file));
        Assert.That(File.ReadAllText(file), Is.EqualTo("["));
    }
}
