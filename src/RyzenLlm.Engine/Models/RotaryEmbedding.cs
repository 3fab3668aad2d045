using RyzenLlm.Engine.Files;

namespace RyzenLlm.Engine.Models;

/// <summary>
/// Rotary position embedding (Su et al. 2021, RoFormer) with the scalings that stretch a trained context, from GGUF's <c>rope.*</c> keys: the
/// pair d of a head of size D at position p turns by p · base^(-2d/D) and what the scaling makes of it.
/// </summary>
/// <remarks>
/// <para><c>linear</c> (Chen et al. 2023, position interpolation): every angle over the factor s.</para>
/// <para><c>ntk</c> (NTK-aware): base · s^(D/(D-2)), so that the slowest pair is interpolated by s and the fastest not at all.</para>
/// <para><c>dynamic</c>: the same with s replaced by (s · L / L0) - (s - 1) for a length L = p + 1 beyond the trained L0, nothing before it. A
/// row's angles follow from its own position, as if the text had been read token by token.</para>
/// <para><c>yarn</c> (Peng et al. 2023, YaRN): pairs that turn more than beta_fast times within L0 keep their angle, those that turn less than
/// beta_slow times are interpolated by s, linearly in d between; queries and keys grow by 0.1 ln s + 1 (times attn_factor), which sharpens the softmax.</para>
/// </remarks>
internal sealed class RotaryEmbedding
{
    private readonly double[] _frequencies; // angle per position of every pair
    private readonly double _base;
    private readonly double _factor;
    private readonly int _trained;
    private readonly bool _dynamic;

    private RotaryEmbedding(int headSize, double freqBase, double factor, int trained, bool dynamic, double magnitude, Func<int, double> frequency)
    {
        (_base, _factor, _trained, _dynamic, Magnitude) = (freqBase, factor, trained, dynamic, magnitude);
        _frequencies = [.. Enumerable.Range(0, headSize / 2).Select(frequency)];
    }

    /// <summary>Pairs of a head.</summary>
    public int Pairs => _frequencies.Length;

    /// <summary>What rotated vectors are multiplied by; 1 but for YaRN.</summary>
    public double Magnitude { get; }

    /// <summary>Reads base and scaling.</summary>
    /// <param name="file">Model file.</param>
    /// <param name="headSize">Size D of a head, even.</param>
    /// <param name="contextLength">Context of the file; the trained length where no other is given.</param>
    /// <param name="windowed">Whether rows see no further than <see cref="UnstretchedLength"/>, so that nothing needs stretching.</param>
    /// <exception cref="ModelFormatException">A value is out of range, or the type of scaling is unknown.</exception>
    public static RotaryEmbedding Read(GgufFile file, int headSize, int contextLength, bool windowed = false)
    {
        var a = file.Architecture + ".rope.";
        double freqBase = file.Positive(a + "freq_base", 10000);
        double factor = file.Positive(a + "scaling.factor", 1);
        var trained = file.Size(a + "scaling.original_context_length", contextLength);
        double Plain(int d) => Math.Pow(freqBase, -2.0 * d / headSize);
        if (!file.TryGetString(a + "scaling.type", out var type))
        {
            type = "none";
        }

        switch (type)
        {
            case "none":
                return new(headSize, freqBase, 1, trained, dynamic: false, 1, Plain);
            case "linear":
                return new(headSize, freqBase, factor, trained, dynamic: false, 1, d => Plain(d) / factor);
            case "ntk":
                return new(headSize, freqBase, factor, trained, dynamic: false, 1, d => Math.Pow(Stretched(freqBase, factor, headSize), -2.0 * d / headSize));
            case "dynamic":
                return new(headSize, freqBase, factor, trained, dynamic: !windowed, 1, Plain);
            case "yarn":
                var (fast, slow) = (file.Positive(a + "scaling.yarn_beta_fast", 32), file.Positive(a + "scaling.yarn_beta_slow", 1));
                var extrapolation = file.TryGetFloat32(a + "scaling.yarn_ext_factor", out var mix) ? mix : 1;
                var attention = file.Positive(a + "scaling.yarn_attn_factor", 1) * file.Positive(a + "scaling.attn_factor", 1);
                var first = Math.Max(0, Math.Floor(PairOfTurns(fast)));
                var last = Math.Min(headSize - 1, Math.Ceiling(PairOfTurns(slow)));
                return new(headSize, freqBase, factor, trained, dynamic: false, attention * ((0.1 * Math.Log(factor)) + 1), d =>
                {
                    var kept = (1 - Math.Clamp((d - first) / Math.Max(0.001, last - first), 0, 1)) * extrapolation;
                    return Plain(d) * (kept + ((1 - kept) / factor));
                });
            default:
                throw new ModelFormatException(file.Path, null, null, "rope.scaling.type none, linear, ntk, dynamic or yarn", ModelFormatException.Quote(type));
        }

        // The pair that turns so many times within the trained length.
        double PairOfTurns(double turns) => headSize * Math.Log(trained / (turns * 2 * Math.PI)) / (2 * Math.Log(freqBase));
    }

    /// <summary>Positions that all turn by the same frequencies: the context, or with dynamic scaling the trained length.</summary>
    public static int UnstretchedLength(GgufFile file, int contextLength) =>
        file.TryGetString($"{file.Architecture}.rope.scaling.type", out var type) && type == "dynamic"
            ? Math.Min(contextLength, file.Size($"{file.Architecture}.rope.scaling.original_context_length", contextLength))
            : contextLength;

    /// <summary>An embedding of that base, without scaling.</summary>
    public static RotaryEmbedding Plain(int headSize, double freqBase) =>
        new(headSize, freqBase, 1, 1, dynamic: false, 1, d => Math.Pow(freqBase, -2.0 * d / headSize));

    /// <summary>Writes cosine and sine of every pair at a position. In double: at long positions a float angle has lost its fraction.</summary>
    public unsafe void Write(int position, float* cos, float* sin)
    {
        var stretched = _dynamic && position >= _trained
            ? Stretched(_base, (_factor * (position + 1.0) / _trained) - (_factor - 1), 2 * Pairs)
            : 0;
        for (var d = 0; d < _frequencies.Length; d++)
        {
            var frequency = stretched > 0 ? Math.Pow(stretched, -1.0 * d / Pairs) : _frequencies[d];
            var (s, c) = Math.SinCos(position * frequency);
            cos[d] = (float)(c * Magnitude);
            sin[d] = (float)(s * Magnitude);
        }
    }

    private static double Stretched(double freqBase, double factor, int headSize) =>
        headSize > 2 ? freqBase * Math.Pow(factor, headSize / (headSize - 2.0)) : freqBase;
}
