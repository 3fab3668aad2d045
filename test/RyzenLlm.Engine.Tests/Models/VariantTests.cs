using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Tests.Files;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Tests.Models;

/// <summary>Forms of model files that no golden model has.</summary>
public class VariantTests
{
    private static readonly int[] Prompt = [5, 17, 3, 99, 250, 42, 7];

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void CreateFolder() => _folder = new();

    [TearDown]
    public void DeleteFolder() => _folder.Dispose();

    [Test]
    public void BitNetScalesMultiplyTheirProduct()
    {
        var source = Golden.Open("bitnet-old-i2_s").ModelPath;
        var scaled = source.Rewrite(_folder.Path("scaled.gguf"), tensor: (writer, matrix) =>
        {
            if (matrix.Name.EndsWith("ffn_down.weight", StringComparison.Ordinal))
            {
                writer.Add(Rewriting.Floats(matrix.Name.Replace(".weight", ".scale"), 1, 1, 0.5f));
            }

            return true;
        });

        // The same by halving the scale inside the tensor, which is exact.
        var halved = source.Rewrite(_folder.Path("halved.gguf"), tensor: (writer, matrix) =>
        {
            if (!matrix.Name.EndsWith("ffn_down.weight", StringComparison.Ordinal))
            {
                return true;
            }

            float[] values = [.. matrix.Decode().Select(value => value / 2)];
            writer.Add(WeightMatrix.Encode(matrix.Name, QuantType.I2_S, matrix.Rows, matrix.Columns, values));
            return false;
        });

        Assert.That(Logits(scaled), Is.EqualTo(Logits(halved)));
        Assert.That(Logits(scaled), Is.Not.EqualTo(Logits(source)));
    }

    [Test]
    public void BitNetOutputMayBeItsOwnMatrix()
    {
        var source = Golden.Open("bitnet-b158-i2_s").ModelPath;
        var untied = source.Rewrite(_folder.Path("untied.gguf"), tensor: (writer, matrix) =>
        {
            if (matrix.Name == "token_embd.weight")
            {
                writer.Add("output.weight", matrix, matrix.Columns, matrix.Rows);
            }

            return true;
        });

        Assert.That(Logits(untied), Is.EqualTo(Logits(source)));
    }

    [Test]
    public void BitNetMatricesThatAreNotTernaryAreNotRounded()
    {
        // Every product in F32: int8 rounding gone, so the logits move, but only as far as that rounding went.
        var source = Golden.Open("bitnet-b158-tq2_0");
        var floats = source.ModelPath.Rewrite(_folder.Path("float.gguf"), tensor: (writer, matrix) =>
        {
            if (matrix.Format.Type == QuantType.TQ2_0)
            {
                writer.Add(WeightMatrix.Encode(matrix.Name, QuantType.F32, matrix.Rows, matrix.Columns, matrix.Decode()));
            }

            return matrix.Format.Type != QuantType.TQ2_0;
        });

        var distance = Logits(floats).Zip(Logits(source.ModelPath), (a, b) => Math.Abs(a - b)).Max();
        Assert.That(distance, Is.InRange(1e-4, 0.5));
    }

    [Test]
    public void LinearRopeScalingDividesPositions()
    {
        // Position 0 stays where it is, the later ones move.
        var source = Golden.Open("bitnet-old-tq2_0").ModelPath;
        var scaled = source.Rewrite(_folder.Path("linear.gguf"), writer => writer.Set("bitnet.rope.scaling.factor", 4f));
        var (plain, stretched) = (Logits(source), Logits(scaled));
        var v = plain.Length / Prompt.Length;

        Assert.That(stretched[..v], Is.EqualTo(plain[..v]));
        Assert.That(stretched[^v..], Is.Not.EqualTo(plain[^v..]));
    }

    [Test]
    public void Rwkv6ReadsSeparateLerps()
    {
        var source = Golden.Open("rwkv6-f32").ModelPath;
        var older = source.Rewrite(_folder.Path("older.gguf"), tensor: (writer, matrix) =>
        {
            if (!matrix.Name.EndsWith("time_mix_lerp_fused.weight", StringComparison.Ordinal))
            {
                return true;
            }

            var values = matrix.Decode();
            for (var j = 0; j < 5; j++)
            {
                var name = matrix.Name.Replace("lerp_fused", $"lerp_{"wkvrg"[j]}");
                writer.Add(Rewriting.Floats(name, 1, matrix.Columns, values.AsSpan(j * matrix.Columns, matrix.Columns)));
            }

            return false;
        });

        Assert.That(Logits(older), Is.EqualTo(Logits(source)));
    }

    [Test]
    public void FalconMambaNormsStepBAndC([Values] bool norms)
    {
        var path = Golden.Open("mamba-f32").ModelPath.Rewrite(_folder.Path("falcon.gguf"), writer => writer.Set("mamba.ssm.dt_b_c_rms", norms));

        var found = Logits(path);

        var expected = MambaReference.Logits(path, Prompt);
        Assert.That(found.Zip(expected, (a, b) => Math.Abs(a - b)).Max(), Is.LessThan(1e-3));
    }

    [Test]
    public void ANormOfAProductsInputIsAppliedBeforeTheProduct()
    {
        // Doubling the norm of one input and halving its matrix is exact.
        var source = Golden.Open("qwen3-f32").ModelPath;
        string Variant(string name, float norm, float weight) => source.Rewrite(_folder.Path(name), tensor: (writer, matrix) =>
        {
            if (!matrix.Name.EndsWith("ffn_down.weight", StringComparison.Ordinal))
            {
                return true;
            }

            writer.Add(Rewriting.Floats(matrix.Name, matrix.Rows, matrix.Columns, [.. matrix.Decode().Select(value => value * weight)]));
            writer.Add(Rewriting.Floats(matrix.Name.Replace(".weight", "_norm_in.weight"), 1, matrix.Columns, [.. Enumerable.Repeat(norm, matrix.Columns)]));
            return false;
        });

        Assert.That(Logits(Variant("doubled.gguf", 2, 0.5f)), Is.EqualTo(Logits(Variant("plain.gguf", 1, 1))));
        Assert.That(Logits(Variant("longer.gguf", 2, 1)), Is.Not.EqualTo(Logits(source)));
    }

    [Test]
    public void I2_SIsReadWhereTheFileSaysSoOnly()
    {
        var source = Golden.Open("llama-i2_s").ModelPath;
        Assert.That(() => source.Rewrite(_folder.Path("other.gguf"), writer => writer.Set("general.file_type", 2u)), Throws.TypeOf<ModelFormatException>().With.Message.Contains("general.file_type 40"));
    }

    [TestCase("llama.rope.dimension_count", 8u, "rope.dimension_count")]
    [TestCase("llama.attention.value_length", 8u, "value_length")]
    [TestCase("llama.attention.key_length", 4096u, "a head size of at most 1024")]
    public void FormsOfTransformersThatAreNotRunAreRefused(string key, uint value, string message)
    {
        var path = Golden.Open("llama-f16").ModelPath.Rewrite(_folder.Path("odd.gguf"), writer => writer.Set(key, value));
        Assert.That(() => Logits(path), Throws.TypeOf<ModelFormatException>().With.Message.Contains(message));
    }

    [TestCase("rope_freqs.weight")]
    [TestCase("blk.0.attn_q.bias")]
    public void TensorsThatWouldChangeTheGraphAreRefused(string name)
    {
        var added = false;
        var path = Golden.Open("llama-f16").ModelPath.Rewrite(_folder.Path("odd.gguf"), tensor: (writer, _) =>
        {
            if (!added)
            {
                writer.Add(Rewriting.Floats(name, 1, 8, new float[8]));
                added = true;
            }

            return true;
        });
        Assert.That(() => Logits(path), Throws.TypeOf<ModelFormatException>().With.Message.Contains(name));
    }

    private static float[] Logits(string path)
    {
        using var model = ModelLoader.Load(path, new LoadOptions { Threads = 1, KvType = KvType.F32 });
        using var session = model.CreateSession();
        return Feed.Tokens(session, Prompt);
    }
}
