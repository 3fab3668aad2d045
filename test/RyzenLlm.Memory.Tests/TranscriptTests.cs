namespace RyzenLlm.Memory.Tests;

[TestFixture]
internal sealed class TranscriptTests
{
    private static (string? Conversation, StoreRequest Request)[] Read(string extension, string content)
    {
        string path = Path.Combine(Path.GetTempPath(), $"rsu-{Guid.NewGuid():N}{extension}");
        File.WriteAllText(path, content);
        try
        {
            return [.. Transcript.Read(path)];
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Test]
    public void Dialogue_lines_become_a_request_for_each_session()
    {
        var read = Read(".jsonl", """
            {"conv":"c","session":1,"dia_id":"D1:1","speaker":"Ann","text":"Hi","caption":"a cat"}
            {"conv":"c","session":2,"dia_id":"D2:1","speaker":"Ben","text":"Yo"}
            """);
        Assert.That(read.Select(r => (r.Conversation, r.Request.Session, r.Request.Items[0].Source)), Is.EqualTo(new[] { ("c", "c/1", "c/D1:1"), ("c", "c/2", "c/D2:1") }));
        Assert.That(read[0].Request.Items[0].Attachment, Is.EqualTo("a cat"));
    }

    [TestCase(".jsonl", "{\"role\":\"user\",\"content\":\"Hi\"}\n{\"role\":\"assistant\",\"content\":{\"type\":\"text\",\"text\":\"Yo\"}}")]
    [TestCase(".json", "[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"Yo\"},{\"type\":\"image\"}]}]")]
    [TestCase(".json", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"Yo\"}]}")]
    public void Messages_become_turns(string extension, string content) =>
        Assert.That(Read(extension, content).Single().Request.Items.Select(i => (i.Speaker, i.Text)), Is.EqualTo(new[] { ("user", "Hi"), ("assistant", "Yo") }));

    [Test]
    public void Anything_else_is_text() => Assert.That(Read(".md", "# Title\n\nBody").Single().Request.Items.Single().Text, Is.EqualTo("# Title\n\nBody"));

    [TestCase(".json", "{")]
    [TestCase(".json", "{\"a\":1}")]
    [TestCase(".jsonl", "{\"role\":\"user\"}")]
    public void Other_forms_are_refused(string extension, string content) => Assert.That(() => Read(extension, content), Throws.TypeOf<InvalidDataException>());

    [TestCase("postgres:x")]
    [TestCase("")]
    public void A_store_of_another_name_is_refused(string name) =>
        Assert.That(() => RsuMemory.OpenStore(name, new MemoryOptions(), new MemoryModels()), Throws.ArgumentException.With.Message.Contains("Memory:Store"));
}
