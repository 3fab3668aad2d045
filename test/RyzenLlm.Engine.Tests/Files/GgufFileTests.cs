using RyzenLlm.Engine.Files;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Tests.Files;

public sealed class GgufFileTests
{
    public static IEnumerable<string> GoldenModels =>
        Directory.EnumerateFiles(Fixtures.File("golden/models"), "*.gguf").Select(f => Path.GetFileName(f)).Order();

    [TestCaseSource(nameof(GoldenModels))]
    public void ReadsEveryTensor(string name)
    {
        using var file = GgufFile.Open(Fixtures.File($"golden/models/{name}"));

        Assert.That(file.GetUInt32($"{file.Architecture}.block_count"), Is.InRange(1, 8));
        foreach (var tensor in file.Tensors.Values)
        {
            var columns = (int)tensor.Dimensions[0];
            var matrix = file.Matrix(tensor.Name, (int)(tensor.Elements / columns), columns);
            Assert.That(matrix.Decode(), Has.All.Matches<float>(float.IsFinite), tensor.Name);
        }
    }

    [Test]
    public void ReadsMetadata()
    {
        using var file = GgufFile.Open(Fixtures.File("golden/models/mamba-f32.gguf"));

        Assert.That(file.Architecture, Is.EqualTo("mamba"));
        Assert.That(file.GetStrings("tokenizer.ggml.tokens"), Has.Count.GreaterThan(255));
        Assert.That(file.GetFloat32("mamba.attention.layer_norm_rms_epsilon"), Is.EqualTo(1e-5f));
        Assert.That(file.Tensors["token_embd.weight"].Type, Is.EqualTo(QuantType.F32));
    }
}
