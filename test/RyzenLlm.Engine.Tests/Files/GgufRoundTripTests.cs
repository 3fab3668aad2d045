using RyzenLlm.Engine.Files;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Tests.Files;

public sealed class GgufRoundTripTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void SetUp() => _folder = new TemporaryFolder();

    [TearDown]
    public void TearDown() => _folder.Dispose();

    [Test]
    public void EveryKindOfMetadataComesBack()
    {
        using var file = GgufFile.Open(_folder.Write(Samples.GgufBytes()));

        using (Assert.EnterMultipleScope())
        {
            Assert.That(file.Version, Is.EqualTo(3));
            Assert.That(file.Architecture, Is.EqualTo("bitnet-b1.58"));
            Assert.That(file.GetUInt32("k.u8"), Is.EqualTo(200));
            Assert.That(file.GetInt32("k.i8"), Is.EqualTo(-100));
            Assert.That(file.GetInt32("k.u16"), Is.EqualTo(60000));
            Assert.That(file.GetInt32("k.i16"), Is.EqualTo(-30000));
            Assert.That(file.GetUInt32("k.u32"), Is.EqualTo(4_000_000_000));
            Assert.That(file.GetInt32("k.i32"), Is.EqualTo(-2_000_000_000));
            Assert.That(file.GetUInt64("k.u64"), Is.EqualTo(ulong.MaxValue));
            Assert.That(file.Metadata["k.i64"].TryGetInteger(out var least) ? least : 0, Is.EqualTo((Int128)long.MinValue));
            Assert.That(file.GetFloat32("k.f32"), Is.EqualTo(0.1f));
            Assert.That(file.Metadata["k.f64"].TryGetNumber(out var pi) ? pi : 0, Is.EqualTo(Math.PI));
            Assert.That(file.GetBool("k.bool"), Is.True);
            Assert.That(file.GetString("k.text"), Is.EqualTo("Grüße, 世界 🌍"));
            Assert.That(file.Metadata["k.bytes"].Bytes.ToArray(), Is.EqualTo(new byte[] { 0x80, 0, 0xFF }));
            Assert.That(file.GetStrings("k.strings"), Is.EqualTo(new[] { "", "a", "世界" }));
            Assert.That(file.GetStrings("k.bytestrings").Bytes(0).ToArray(), Is.EqualTo(new byte[] { 0xC3 }));
            Assert.That(file.GetStrings("k.bytestrings").Bytes(2).ToArray(), Is.EqualTo(new byte[] { 0x28, 0 }));
            Assert.That(file.GetInt32s("k.integers"), Is.EqualTo(new[] { 1, -2, 3 }));
            Assert.That(file.GetFloat32s("k.numbers"), Is.EqualTo(new[] { 1.5f, -2.5f }));
            Assert.That(file.Metadata["k.bools"].Bytes.ToArray(), Is.EqualTo(new byte[] { 1, 0 }));
        }

        Assert.That(file.Metadata["k.arrays"].TryGetArrays(out var arrays), Is.True);
        Assert.That(arrays!.Select(a => a.Describe()), Is.EqualTo(new[] { "array of 1 UInt64", "array of 2 String", "array of 0 Int32" }));
        Assert.That(file.Metadata.Keys.Take(3), Is.EqualTo(new[] { "general.architecture", "k.u8", "k.i8" }), "the order of the file");
    }

    [Test]
    public void EveryTypeOfTensorComesBack()
    {
        using var file = GgufFile.Open(_folder.Write(Samples.GgufBytes()));

        foreach (var format in QuantFormat.All)
        {
            var written = WeightMatrix.Encode("w", format.Type, 3, 256, Samples.Weights(768));
            var read = file.Matrix($"w.{format.Name}", 3, 256);
            Assert.That(read.Format, Is.SameAs(format));
            Assert.That(read.Decode(), Is.EqualTo(written.Decode()), format.Name);
        }

        Assert.That(file.Vector("v.norm", 5), Is.EqualTo(Samples.Weights(5)), "trailing dimensions of 1 do not count");
        Assert.That(file.Values("v.lerp", 6, 4), Is.EqualTo(Samples.Weights(24)).Within(1e-4));
    }

    [Test]
    public void MetadataOfAFileCanBeWrittenAgain()
    {
        var bytes = Samples.GgufBytes();
        using var file = GgufFile.Open(_folder.Write(bytes));
        var writer = new GgufWriter(file.Architecture);
        foreach (var (key, value) in file.Metadata)
        {
            writer.Set(key, value);
        }

        foreach (var tensor in file.Tensors.Values)
        {
            var columns = (int)tensor.Dimensions[0];
            writer.Add(tensor.Name, file.Matrix(tensor.Name, (int)(tensor.Elements / columns), columns), [.. tensor.Dimensions]);
        }

        writer.Write(_folder.Path("copy.gguf"));

        Assert.That(File.ReadAllBytes(_folder.Path("copy.gguf")), Is.EqualTo(bytes));
    }

    [TestCase(8u)]
    [TestCase(64u)]
    [TestCase(4096u)]
    public void TensorsStartAtTheAlignment(uint alignment)
    {
        var writer = Samples.Gguf();
        writer.Set("general.alignment", alignment);
        writer.Write(_folder.Path("aligned.gguf"));
        using var file = GgufFile.Open(_folder.Path("aligned.gguf"));

        Assert.That(file.Tensors.Values.Select(t => t.Offset % alignment), Has.All.Zero);
        Assert.That(file.Vector("v.norm", 5), Is.EqualTo(Samples.Weights(5)));
    }

    [Test]
    public void Version2IsRead()
    {
        var bytes = Samples.GgufBytes();
        bytes[4] = 2;
        using var file = GgufFile.Open(_folder.Write(bytes));

        Assert.That(file.Version, Is.EqualTo(2));
        Assert.That(file.Vector("v.norm", 5), Is.EqualTo(Samples.Weights(5)));
    }

    [Test]
    public void MatricesAndMetadataOutliveTheFile()
    {
        WeightMatrix matrix;
        GgufStringArray strings;
        var file = GgufFile.Open(_folder.Write(Samples.GgufBytes()));
        using (file)
        {
            matrix = file.Matrix("w.F32", 3, 256);
            strings = file.GetStrings("k.strings");
        }

        Assert.That(matrix.Decode(), Is.EqualTo(Samples.Weights(768)));
        Assert.That(strings[2], Is.EqualTo("世界"));
        Assert.That(() => file.Matrix("w.F32", 3, 256), Throws.InstanceOf<ObjectDisposedException>());
    }

    [Test]
    public void AFailedWriteLeavesTheOldFileAndNothingElse()
    {
        var path = _folder.Path("model.gguf");
        Samples.Gguf().Write(path);
        var before = File.ReadAllBytes(path);

        var writer = new GgufWriter("mamba");
        writer.Add("short", QuantType.F32, [4], stream => stream.Write(new byte[15]));

        Assert.That(() => writer.Write(path), Throws.InvalidOperationException.With.Message.Contains("short"));
        Assert.That(File.ReadAllBytes(path), Is.EqualTo(before));
        Assert.That(File.Exists(path + ".part"), Is.False);
    }

    [Test]
    public void TheWriterRefusesWhatTheReaderWould()
    {
        var vector = WeightMatrix.Encode("v", QuantType.F32, 1, 4, new float[4]);
        var ternary = new GgufWriter("mamba");
        ternary.Add(WeightMatrix.Encode("t", QuantType.I2_S, 1, 128, new float[128]));
        var misaligned = new GgufWriter("mamba");
        misaligned.Set("general.alignment", 24u);
        var writer = new GgufWriter("mamba");
        writer.Add(vector);

        using (Assert.EnterMultipleScope())
        {
            Assert.That(() => ternary.Write(_folder.Path("t.gguf")), Throws.InstanceOf<ModelFormatException>());
            Assert.That(() => misaligned.Write(_folder.Path("m.gguf")), Throws.InstanceOf<ModelFormatException>());
            Assert.That(() => writer.Add(vector), Throws.ArgumentException, "a second tensor of the name");
            Assert.That(() => writer.Add(new string('x', 64), vector, 4), Throws.ArgumentException, "a name too long");
            Assert.That(() => writer.Add("other", vector, 2, 2), Throws.ArgumentException, "other row length");
            Assert.That(() => writer.Add("other", vector, 4, 1, 1, 1, 1), Throws.ArgumentException, "five dimensions");
            Assert.That(Directory.EnumerateFiles(_folder.Path("")), Is.Empty);
        }
    }
}
