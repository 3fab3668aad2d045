using RyzenLlm.Engine.Files;

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
            Assert.That(matrix.Decode().All(float.IsFinite), Is.True, tensor.Name);
        }
    }

    [Test]
    public void VariantsOfOneModelHoldTheSameTernaryWeights()
    {
        using var i2 = GgufFile.Open(Fixtures.File("golden/models/bitnet-b158-i2_s.gguf"));
        using var tq1 = GgufFile.Open(Fixtures.File("golden/models/bitnet-b158-tq1_0.gguf"));
        using var tq2 = GgufFile.Open(Fixtures.File("golden/models/bitnet-b158-tq2_0.gguf"));
        var (rows, columns) = Shape(i2.Tensors["blk.0.ffn_down.weight"]);

        var signs = Signs(i2);
        Assert.That(signs.Distinct(), Is.EquivalentTo(new[] { -1, 0, 1 }));
        Assert.That(Signs(tq1), Is.EqualTo(signs));
        Assert.That(Signs(tq2), Is.EqualTo(signs));

        int[] Signs(GgufFile file) => [.. file.Values("blk.0.ffn_down.weight", rows, columns).Select(MathF.Sign)];
    }

    [Test]
    public void MissingAndMisshapenTensorsAreNamed()
    {
        var path = Fixtures.File("golden/models/mamba-f32.gguf");
        using var file = GgufFile.Open(path);
        var (rows, columns) = Shape(file.Tensors["token_embd.weight"]);

        var missing = Assert.Throws<ModelFormatException>(() => file.Matrix("blk.99.ssm_in.weight", 2, 3));
        var wrong = Assert.Throws<ModelFormatException>(() => file.Matrix("token_embd.weight", columns, rows));
        var vector = Assert.Throws<ModelFormatException>(() => file.Vector("token_embd.weight", columns));
        using (Assert.EnterMultipleScope())
        {
            Assert.That(missing!.Message, Does.Contain(path).And.Contain("blk.99.ssm_in.weight").And.Contain("2 x 3"));
            Assert.That(wrong!.Tensor, Is.EqualTo("token_embd.weight"));
            Assert.That(wrong.Offset, Is.EqualTo(file.Tensors["token_embd.weight"].Offset));
            Assert.That(wrong.Expected, Is.EqualTo($"shape {{{rows}, {columns}}}"));
            Assert.That(wrong.Found, Is.EqualTo($"shape {{{columns}, {rows}}}"));
            Assert.That(vector!.File, Is.EqualTo(path));
            Assert.That(file.TryMatrix("nothing", 1, 1, out _), Is.False);
            Assert.That(file.TryVector("nothing", 1, out _), Is.False);
        }
    }

    [Test]
    public void MissingAndMistypedKeysAreNamed()
    {
        using var file = GgufFile.Open(Fixtures.File("golden/models/mamba-f32.gguf"));

        using (Assert.EnterMultipleScope())
        {
            Assert.That(() => file.GetUInt32("no.such.key"), Throws.InstanceOf<ModelFormatException>().With.Message.Contains("'no.such.key'"));
            Assert.That(() => file.GetUInt32("general.architecture"), Throws.InstanceOf<ModelFormatException>().With.Message.Contains("'mamba'"));
            Assert.That(() => file.GetString("mamba.block_count"), Throws.InstanceOf<ModelFormatException>());
            Assert.That(() => file.GetBool("mamba.block_count"), Throws.InstanceOf<ModelFormatException>());
            Assert.That(() => file.GetFloat32("general.architecture"), Throws.InstanceOf<ModelFormatException>());
            Assert.That(() => file.GetStrings("mamba.block_count"), Throws.InstanceOf<ModelFormatException>());
            Assert.That(() => file.GetInt32s("tokenizer.ggml.tokens"), Throws.InstanceOf<ModelFormatException>());
            Assert.That(() => file.GetFloat32s("tokenizer.ggml.tokens"), Throws.InstanceOf<ModelFormatException>());
            Assert.That(file.TryGetUInt32("no.such.key", out _), Is.False);
            Assert.That(file.TryGetString("no.such.key", out _), Is.False);
        }
    }

    [Test]
    public void OtherThingsThanFilesAreRefused()
    {
        using var folder = new TemporaryFolder();

        using (Assert.EnterMultipleScope())
        {
            Assert.That(() => GgufFile.Open(folder.Path("nothing.gguf")), Throws.InstanceOf<FileNotFoundException>().With.Message.Contains("nothing.gguf"));
            Assert.That(() => GgufFile.Open(folder.Path("")), Throws.InstanceOf<ModelFormatException>().With.Message.Contains("a folder"));
            Assert.That(() => GgufFile.Open(folder.Write([])), Throws.InstanceOf<ModelFormatException>().With.Message.Contains("an empty file"));
        }
    }

    private static (int Rows, int Columns) Shape(TensorInfo tensor) => ((int)tensor.Dimensions[1], (int)tensor.Dimensions[0]);
}
