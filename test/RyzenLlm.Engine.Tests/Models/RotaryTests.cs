using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Tests.Files;

namespace RyzenLlm.Engine.Tests.Models;

/// <summary>Rotary angles with every scaling against the formulas of the papers, written out in double precision.</summary>
public sealed unsafe class RotaryTests
{
    private const double Base = 500_000;
    private const int Trained = 4096;
    private static readonly int[] Positions = [0, 1, 17, 4095, 4096, 5000, 16_383, 200_000];

    private TemporaryFolder _folder = null!;

    [SetUp]
    public void CreateFolder() => _folder = new();

    [TearDown]
    public void DeleteFolder() => _folder.Dispose();

    [Test]
    public void None_TurnsByBaseToTheMinusTwoDOverD([Values(2, 32, 128)] int size) =>
        Check(Read(size, _ => { }), size, (p, d) => p * Math.Pow(Base, -2.0 * d / size), 1);

    [Test]
    public void Linear_DividesEveryAngle([Values(32, 128)] int size) =>
        Check(Read(size, w => Scaling(w, "linear", 4)), size, (p, d) => p / 4.0 * Math.Pow(Base, -2.0 * d / size), 1);

    [Test]
    public void Ntk_InterpolatesTheSlowestPairAndKeepsTheFastest([Values(32, 128)] int size)
    {
        // theta_d s^(-2d/(D-2)): the exponent of the slowest pair, d = D/2 - 1, is -1, that of the fastest 0.
        var rotary = Read(size, w => Scaling(w, "ntk", 8));
        Check(rotary, size, (p, d) => p * Math.Pow(Base, -2.0 * d / size) * Math.Pow(8, -2.0 * d / (size - 2)), 1);
    }

    [Test]
    public void Dynamic_StretchesBeyondTheTrainedLengthOnly([Values(32, 128)] int size) =>
        Check(
            Read(size, w => Scaling(w, "dynamic", 2)),
            size,
            (p, d) => p * Math.Pow(Base, -2.0 * d / size) * (p + 1 <= Trained ? 1 : Math.Pow((2.0 * (p + 1) / Trained) - 1, -2.0 * d / (size - 2))),
            1);

    [Test]
    public void Yarn_MixesByTurnsWithinTheTrainedLength([Values(32, 128)] int size, [Values(4, 16)] int factor, [Values(1f, 0.5f)] float attention)
    {
        var rotary = Read(size, w =>
        {
            Scaling(w, "yarn", factor);
            w.Set("bitnet.rope.scaling.yarn_attn_factor", attention);
        });
        Check(rotary, size, Angle, attention * ((0.1 * Math.Log(factor)) + 1));

        // Pairs with 32 turns and more within the trained length keep their angle, those with one or less are interpolated.
        Assert.That(Turns(0), Is.GreaterThan(32));
        Assert.That(Angle(1, 0), Is.EqualTo(1).Within(1e-12));
        Assert.That(Turns((size / 2) - 1), Is.LessThan(1));
        Assert.That(Angle(1, (size / 2) - 1), Is.EqualTo(Plain((size / 2) - 1) / factor).Within(1e-12));

        double Plain(int d) => Math.Pow(Base, -2.0 * d / size);

        double Turns(double d) => Trained / (2 * Math.PI / Math.Pow(Base, -2.0 * d / size));

        double Angle(int p, int d)
        {
            // Pair indices at which the number of turns passes 32 and 1, rounded outwards, with a straight ramp between them.
            var (low, high) = (0, 0);
            while (Turns(low + 1) > 32)
            {
                low++;
            }

            while (Turns(high) > 1)
            {
                high++;
            }

            var gamma = d <= low ? 1 : d >= high ? 0 : 1 - ((double)(d - low) / (high - low));
            return p * (((1 - gamma) * Plain(d) / factor) + (gamma * Plain(d)));
        }
    }

    [Test]
    public void Read_WithoutAFactor_ChangesNothing([Values("linear", "ntk", "yarn")] string type) =>
        Check(Read(64, w => w.Set("bitnet.rope.scaling.type", type)), 64, (p, d) => p * Math.Pow(Base, -2.0 * d / 64), 1);

    [Test]
    public void Read_BadValues_AreRefused()
    {
        Assert.That(() => Read(64, w => w.Set("bitnet.rope.scaling.type", "longrope")), Throws.InstanceOf<ModelFormatException>().With.Message.Contains("yarn"));
        Assert.That(() => Read(64, w => Scaling(w, "linear", -2)), Throws.InstanceOf<ModelFormatException>().With.Message.Contains("scaling.factor"));
    }

    private static void Scaling(GgufWriter writer, string type, float factor)
    {
        writer.Set("bitnet.rope.scaling.type", type);
        writer.Set("bitnet.rope.scaling.factor", factor);
        writer.Set("bitnet.rope.scaling.original_context_length", (uint)Trained);
    }

    private RotaryEmbedding Read(int headSize, Action<GgufWriter> scaling)
    {
        var path = Golden.Open("bitnet-old-tq2_0").ModelPath.Rewrite(_folder.Path("rope.gguf"), writer =>
        {
            writer.Set("bitnet.rope.freq_base", (float)Base);
            writer.Set("bitnet.rope.scaling.type", "none");
            writer.Set("bitnet.rope.scaling.factor", 1f);
            scaling(writer);
        });
        using var file = GgufFile.Open(path);
        return RotaryEmbedding.Read(file, headSize, contextLength: 1 << 20);
    }

    private static void Check(RotaryEmbedding rotary, int size, Func<int, int, double> angle, double magnitude)
    {
        Assert.That(rotary.Pairs, Is.EqualTo(size / 2));
        var cos = stackalloc float[size / 2];
        var sin = stackalloc float[size / 2];
        foreach (var position in Positions)
        {
            rotary.Write(position, cos, sin);
            for (var d = 0; d < size / 2; d++)
            {
                Assert.That(cos[d], Is.EqualTo(magnitude * Math.Cos(angle(position, d))).Within(2e-7 * magnitude), $"cosine of pair {d} at {position}");
                Assert.That(sin[d], Is.EqualTo(magnitude * Math.Sin(angle(position, d))).Within(2e-7 * magnitude), $"sine of pair {d} at {position}");
            }
        }
    }
}
