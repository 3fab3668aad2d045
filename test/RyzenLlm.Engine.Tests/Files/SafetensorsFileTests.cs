using System.Text;
using RyzenLlm.Engine.Files;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Tests.Files;

public sealed class SafetensorsFileTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public void ReadsEveryType()
    {
        using var file = SafetensorsFile.Open(_folder.Write(Samples.SafetensorsBytes()));

        using (Assert.EnterMultipleScope())
        {
            Assert.That(file.Metadata["format"], Is.EqualTo("pt"));
            Assert.That(file.Tensors.Keys, Is.EqualTo(new[] { "a.weight", "b.bias", "c.bias" }));
            Assert.That(file.Tensors["a.weight"].Dimensions, Is.EqualTo(new[] { 2, 3 }));
            Assert.That(file.Matrix("a.weight", 3, 2).Decode(), Is.EqualTo(new[] { 0f, 1, 2, 3, 4, 5 }));
            Assert.That(file.Vector("b.bias", 4), Is.EqualTo(new[] { 0f, -1, -2, -3 }));
            Assert.That(file.Vector("c.bias", 2), Is.EqualTo(new[] { 1f, 2f }));
            Assert.That(file.Tensors["c.bias"].Type, Is.EqualTo(QuantType.BF16));
        }
    }

    [Test]
    public void ReadsAModelWithItsConfiguration()
    {
        var config = ConfigFile.Read(Fixtures.File("golden/models/rwkv4-random/config.json"));
        using var file = SafetensorsFile.Open(Fixtures.File("golden/models/rwkv4-random/model.safetensors"));
        var (n, vocabulary) = (config.GetInt32("hidden_size"), config.GetInt32("vocab_size"));

        using (Assert.EnterMultipleScope())
        {
            Assert.That(file.Values("rwkv.embeddings.weight", vocabulary, n).All(float.IsFinite), Is.True);
            Assert.That(file.Vector("rwkv.blocks.0.attention.time_mix_key", n).All(float.IsFinite), Is.True, "stored as [1, 1, n]");
            Assert.That(config.GetFloat32("layer_norm_epsilon"), Is.EqualTo(1e-5f));
            Assert.That(config.GetString("model_type"), Is.EqualTo("rwkv"));
            Assert.That(config.TryGetInt32("no_such_name", out _), Is.False);
            Assert.That(() => config.GetInt32("no_such_name"), Throws.InstanceOf<ModelFormatException>().With.Message.Contains("no_such_name"));
            Assert.That(() => config.GetInt32("model_type"), Throws.InstanceOf<ModelFormatException>().With.Message.Contains("rwkv"));
        }
    }

    [TestCase("")]
    [TestCase("[1]")]
    [TestCase("{\"a\":1")]
    [TestCase("{\"a\":1,\"a\":2}")]
    public void BadConfigurationsAreRefused(string json)
    {
        var path = _folder.Write(Encoding.UTF8.GetBytes(json));

        Assert.That(() => ConfigFile.Read(path), Throws.InstanceOf<ModelFormatException>().With.Message.Contains(path));
    }
}
