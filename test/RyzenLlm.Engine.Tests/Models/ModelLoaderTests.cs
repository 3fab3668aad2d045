using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Tests.Files;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Tests.Models;

/// <summary>What is loaded, what is refused, and how it says so.</summary>
public class ModelLoaderTests
{
    private static readonly LoadOptions OneThread = new() { Threads = 1 };

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void CreateFolder() => _folder = new();

    [TearDown]
    public void DeleteFolder() => _folder.Dispose();

    [Test]
    public void AnUnknownArchitectureIsAnsweredWithTheKnownOnes()
    {
        var path = _folder.Path("gpt-j.gguf");
        new GgufWriter("gpt-j").Write(path);

        Assert.That(
            () => ModelLoader.Load(path, OneThread),
            Throws.TypeOf<ModelFormatException>().With.Message.Contains("rwkv7").And.Message.Contains("'gpt-j'"));
        Assert.That(ModelMetadata.Read(path).IsSupported, Is.False);
    }

    [Test]
    public void EveryTensorOfAModelIsNeeded([Values("bitnet-b158-tq2_0", "mamba-f32", "rwkv6-q8_0", "rwkv7-f32")] string name)
    {
        var source = Golden.Open(name).ModelPath;

        // Block 0 of RWKV-7 has no earlier value to mix with; files hold these nevertheless.
        string[] unused = ["blk.0.time_mix_v0.weight", "blk.0.time_mix_v1.weight", "blk.0.time_mix_v2.weight"];
        foreach (var missing in ModelMetadata.Read(source).Tensors.Select(t => t.Name).Except(unused))
        {
            var path = source.Rewrite(_folder.Path("missing.gguf"), tensor: (_, matrix) => matrix.Name != missing);
            var error = Assert.Throws<ModelFormatException>(() => ModelLoader.Load(path, OneThread).Dispose(), missing);

            // Instead of the fused mixes of RWKV-6, the separate ones of older files are looked for.
            Assert.That(error.Tensor, Is.EqualTo(name.StartsWith("rwkv6", StringComparison.Ordinal) ? missing.Replace("lerp_fused", "lerp_w") : missing));
        }
    }

    [Test]
    public void ATensorOfTheWrongShapeIsNamed([Values("mamba-f32", "rwkv7-f32", "rwkv6-f32", "bitnet-old-tq2_0")] string name)
    {
        var path = Golden.Open(name).ModelPath.Rewrite(_folder.Path("shape.gguf"), tensor: (writer, matrix) =>
        {
            if (matrix.Name != "blk.1.attn_norm.weight")
            {
                return true;
            }

            writer.Add(Rewriting.Floats(matrix.Name, 1, matrix.Columns - 1, new float[matrix.Columns - 1]));
            return false;
        });

        var error = Assert.Throws<ModelFormatException>(() => ModelLoader.Load(path, OneThread).Dispose());

        Assert.That(error.Tensor, Is.EqualTo("blk.1.attn_norm.weight"));
    }

    [TestCase("mamba-f32", "mamba.ssm.state_size", 17)]
    [TestCase("mamba-f32", "mamba.ssm.conv_kernel", 0)]
    [TestCase("mamba-f32", "mamba.block_count", 1_000_000)]
    [TestCase("mamba-f32", "mamba.embedding_length", int.MaxValue)]
    [TestCase("rwkv7-f32", "rwkv7.wkv.head_size", 36)]
    [TestCase("rwkv7-f32", "rwkv7.wkv.head_size", -32)]
    [TestCase("rwkv6-f32", "rwkv6.time_mix_extra_dim", 4)]
    [TestCase("bitnet-old-tq2_0", "bitnet.attention.head_count", 7)]
    [TestCase("bitnet-old-tq2_0", "bitnet.attention.head_count_kv", 3)]
    [TestCase("bitnet-old-tq2_0", "bitnet.rope.dimension_count", 16)]
    public void ASizeThatDoesNotFitIsRefused(string name, string key, int value)
    {
        var path = Golden.Open(name).ModelPath.Rewrite(_folder.Path("size.gguf"), writer => writer.Set(key, value));

        Assert.That(() => ModelLoader.Load(path, OneThread), Throws.TypeOf<ModelFormatException>());
    }

    [Test]
    public void UnknownRopeScalingIsRefused()
    {
        var path = Golden.Open("bitnet-old-tq2_0").ModelPath.Rewrite(_folder.Path("longrope.gguf"), writer => writer.Set("bitnet.rope.scaling.type", "longrope"));

        Assert.That(() => ModelLoader.Load(path, OneThread), Throws.TypeOf<ModelFormatException>().With.Message.Contains("'longrope'"));
    }

    [Test]
    public void MissingFilesAndBadOptionsAreRefusedAtOnce()
    {
        var golden = Golden.Open("mamba-f32");
        Assert.That(() => ModelLoader.Load(_folder.Path("none.gguf")), Throws.TypeOf<FileNotFoundException>());
        Assert.That(() => ModelLoader.Load(Path.GetDirectoryName(_folder.Path("x"))!), Throws.TypeOf<ModelFormatException>().With.Message.Contains("model.safetensors"));
        Assert.That(() => ModelLoader.Load(golden.ModelPath, new LoadOptions { Threads = -1 }), Throws.InstanceOf<ArgumentException>());
        Assert.That(() => ModelLoader.Load(golden.ModelPath, new LoadOptions { Kernels = "sse9" }), Throws.ArgumentException.With.Message.Contains("portable"));
    }

    [Test]
    public void AFolderNeedsItsConfiguration()
    {
        var source = Golden.Open("rwkv4-random").ModelPath;
        File.Copy(Path.Combine(source, "model.safetensors"), _folder.Path("model.safetensors"));
        var folder = Path.GetDirectoryName(_folder.Path("x"))!;

        Assert.That(() => ModelLoader.Load(folder, OneThread), Throws.TypeOf<ModelFormatException>().With.Message.Contains("config.json"));
        File.Copy(Path.Combine(source, "config.json"), _folder.Path("config.json"));
        using var model = ModelLoader.Load(folder, OneThread);
        Assert.That(model.Info.Architecture, Is.EqualTo("rwkv4"));
        Assert.That(model.Tokenizer, Is.Null);
    }

    [Test]
    public void MetadataTellsWhatTheModelIs()
    {
        var metadata = ModelMetadata.Read(Golden.Open("bitnet-b158-i2_s").ModelPath);

        Assert.That(metadata.Info.Name, Is.EqualTo("bitnet-b158"));
        Assert.That(metadata.Info.Architecture, Is.EqualTo("bitnet-b1.58"));
        Assert.That(metadata.Info.VocabularySize, Is.EqualTo(448));
        Assert.That(metadata.Info.ContextLength, Is.EqualTo(4096));
        Assert.That(metadata.Info.EmbeddingLength, Is.EqualTo(256));
        Assert.That(metadata.Info.BlockCount, Is.EqualTo(2));
        Assert.That(metadata.Info.IsRecurrent, Is.False);
        Assert.That(metadata.TokenizerKind, Is.EqualTo("gpt2"));
        Assert.That(metadata.IsSupported, Is.True);
        Assert.That(metadata.ValuesByType.Select(p => p.Key), Is.EqualTo(new[] { QuantType.I2_S, QuantType.F16, QuantType.F32 }));

        // Two blocks of q, o (256²), k, v (256 x 128), three of 256 x 512, three norms of 256 and one of 512; embeddings and last norm.
        Assert.That(metadata.Info.ParameterCount, Is.EqualTo((2 * ((2 * 65536) + (2 * 32768) + (3 * 131072) + 768 + 512)) + (448 * 256) + 256));
        Assert.That(metadata.Values.Select(v => v.Key), Does.Contain("bitnet-b1.58.rope.freq_base"));
    }

    [Test]
    public void MetadataOfAFolder()
    {
        var metadata = ModelMetadata.Read(Golden.Open("rwkv4-random").ModelPath);

        Assert.That(metadata.Info.Name, Is.EqualTo("rwkv4-random"));
        Assert.That((metadata.Info.VocabularySize, metadata.Info.EmbeddingLength, metadata.Info.BlockCount), Is.EqualTo((300, 64, 3)));
        Assert.That(metadata.Info.IsRecurrent, Is.True);
        Assert.That(metadata.Info.ContextLength, Is.EqualTo(1024));
        Assert.That(metadata.TokenizerKind, Is.Null);
    }

    [Test]
    public void AVocabularyLargerThanTheModelIsRefused()
    {
        var path = Golden.Open("bitnet-b158-i2_s").ModelPath.Rewrite(_folder.Path("small.gguf"), tensor: (writer, matrix) =>
        {
            if (matrix.Name == "token_embd.weight")
            {
                writer.Add(Rewriting.Floats(matrix.Name, 100, matrix.Columns, new float[100 * matrix.Columns]));
            }

            return matrix.Name != "token_embd.weight";
        });

        Assert.That(() => ModelLoader.Load(path, OneThread), Throws.TypeOf<ModelFormatException>().With.Message.Contains("448"));
    }
}
