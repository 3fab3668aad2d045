using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Models;

/// <summary>
/// RWKV-4 "Dove" (Peng et al. 2023, "RWKV: Reinventing RNNs for the Transformer Era"), from safetensors in the layout of
/// Hugging Face's <c>RwkvForCausalLM</c>.
/// </summary>
/// <remarks>
/// State per block: the previous token's input of the time mix, [n], of the channel mix, [n], then numerator, denominator and running maximum of
/// the weighted average, [3][attention size]. <c>rescale_every</c> is not applied: it cancels out before the last norm.
/// </remarks>
public sealed unsafe class Rwkv4 : LanguageModel
{
    private const float LeastMaximum = -1e38f;

    private readonly Config _config;
    private readonly List<Block> _blocks = [];
    private readonly WeightMatrix _embedding;
    private readonly WeightMatrix _head;
    private readonly float* _preNorm;
    private readonly float* _preNormBias;
    private readonly float* _outNorm;
    private readonly float* _outNormBias;
    private readonly WeightVectors _vectors;
    private readonly RecurrentState _state;
    private readonly Workspace _workspace = new();

    private readonly Ops.RowWork _preNormRow;
    private readonly Ops.RowWork _timeNormRow;
    private readonly Ops.RowWork _timeMixRow;
    private readonly Ops.RowWork _gateRow;
    private readonly Ops.RowWork _addRow;
    private readonly Ops.RowWork _channelNormRow;
    private readonly Ops.RowWork _channelMixRow;
    private readonly Ops.RowWork _reluRow;
    private readonly Ops.RowWork _channelAddRow;

    // Activations of the present batch, row after row, and the block at work. The mixed inputs are [3][rows][n].
    private Batch _batch = null!;
    private int _rows;
    private int _index;
    private Block _block = null!;
    private float* _x;     // [n] residual stream
    private float* _h;     // [n] normed input, block output
    private float* _mixed; // r, k, v inputs
    private float* _r;     // [larger of n and attention size]
    private float* _k;     // [attention size]
    private float* _v;     // [attention size]
    private float* _o;     // [attention size] weighted average
    private float* _ff;    // [ff]

    internal Rwkv4(SafetensorsFile file, ConfigFile config, ModelParts parts)
        : base(parts)
    {
        _config = Config.Read(config, parts.Info);
        var n = _config.HiddenSize;
        _vectors = new(file);
        _embedding = file.Matrix("rwkv.embeddings.weight", Info.VocabularySize, n);
        _head = file.Matrix("head.weight", Info.VocabularySize, n);
        _preNorm = _vectors.Load("rwkv.blocks.0.pre_ln.weight", n);
        _preNormBias = _vectors.Load("rwkv.blocks.0.pre_ln.bias", n);
        _outNorm = _vectors.Load("rwkv.ln_out.weight", n);
        _outNormBias = _vectors.Load("rwkv.ln_out.bias", n);
        for (var i = 0; i < _config.BlockCount; i++)
        {
            _blocks.Add(new(file, _vectors, $"rwkv.blocks.{i}.", _config));
        }

        _state = new(_config.BlockCount * _config.StateLength, () => ModelFingerprint.Of(file));
        for (var i = 0; i < _config.BlockCount; i++)
        {
            var maximum = _state.Initial.Values + ((i + 1) * _config.StateLength) - _config.AttentionSize;
            new Span<float>(maximum, _config.AttentionSize).Fill(LeastMaximum);
        }

        _preNormRow = t => Kernels.LayerNorm(At(_x, t), _preNorm, _preNormBias, _config.Epsilon, n, At(_x, t));
        _timeNormRow = t => Kernels.LayerNorm(At(_x, t), _block.Norm1, _block.Norm1Bias, _config.Epsilon, n, At(_h, t));
        _timeMixRow = TimeMixRow;
        _gateRow = GateRow;
        _addRow = t => Kernels.Add(At(_x, t), At(_h, t), n);
        _channelNormRow = t => Kernels.LayerNorm(At(_x, t), _block.Norm2, _block.Norm2Bias, _config.Epsilon, n, At(_h, t));
        _channelMixRow = ChannelMixRow;
        _reluRow = t => Kernels.ReluSquared(_ff + ((long)t * _config.IntermediateSize), _config.IntermediateSize, _ff + ((long)t * _config.IntermediateSize));
        _channelAddRow = ChannelAddRow;
    }

    /// <inheritdoc/>
    public override Session CreateSession() => new RecurrentSession(this, _state);

    /// <inheritdoc/>
    public override Session LoadSession(Stream source) => RecurrentSession.Load(this, _state, source);

    private protected override void Compute(Batch batch)
    {
        Begin(batch);
        Embed(batch, _embedding, _x);
        Ops.ForEach(_rows, _preNormRow);
        for (_index = 0; _index < _blocks.Count; _index++)
        {
            _block = _blocks[_index];
            TimeMix();
            Ops.ForEach(_rows, _addRow);
            ChannelMix();
            Ops.ForEach(_rows, _channelAddRow);
        }

        var n = _config.HiddenSize;
        var wanted = GatherWanted(batch, _x, n, _h);
        for (var t = 0; t < wanted; t++)
        {
            Kernels.LayerNorm(At(_h, t), _outNorm, _outNormBias, _config.Epsilon, n, At(_h, t));
        }

        WriteOutputs(batch, _head, _h);
    }

    private protected override void DisposeModel()
    {
        _state.Dispose();
        _workspace.Dispose();
        _vectors.Dispose();
    }

    private void Begin(Batch batch)
    {
        var (n, d) = (_config.HiddenSize, _config.AttentionSize);
        long rows = batch.Count;
        _rows = batch.Count;
        _batch = batch;
        _state.Plan(batch);
        _workspace.Begin(rows * ((5 * n) + (3 * d) + Math.Max(n, d) + _config.IntermediateSize), pieces: 8);
        _x = _workspace.Take(rows * n);
        _h = _workspace.Take(rows * n);
        _mixed = _workspace.Take(rows * 3 * n);
        _r = _workspace.Take(rows * Math.Max(n, d));
        _k = _workspace.Take(rows * d);
        _v = _workspace.Take(rows * d);
        _o = _workspace.Take(rows * d);
        _ff = _workspace.Take(rows * _config.IntermediateSize);
    }

    private float* At(float* rows, int t) => rows + ((long)t * _config.HiddenSize);

    // Mixed input j of all rows.
    private float* Mixed(int j) => _mixed + ((long)j * _rows * _config.HiddenSize);

    private long StateAt => _index * _config.StateLength;

    // What the mix sees as the previous token: the parent's input in this batch, or what the state kept of it.
    private float* Previous(int t, long stateOffset)
    {
        var parent = _batch.Rows[t].Parent;
        return parent >= 0 ? At(_h, parent) : _state.In(t) + StateAt + stateOffset;
    }

    // In the order of rows, after all have read their previous token: rows of a chain may share one lane.
    private void StorePrevious(long stateOffset)
    {
        var n = _config.HiddenSize;
        for (var t = 0; t < _rows; t++)
        {
            new Span<float>(At(_h, t), n).CopyTo(new Span<float>(_state.Out(t) + StateAt + stateOffset, n));
        }
    }

    private void TimeMix()
    {
        Ops.ForEach(_rows, _timeNormRow);
        Ops.ForEach(_rows, _timeMixRow);
        StorePrevious(0);
        Ops.Linear(_block.Receptance, Mixed(0), _rows, _r);
        Ops.Linear(_block.Key, Mixed(1), _rows, _k);
        Ops.Linear(_block.Value, Mixed(2), _rows, _v);

        // The average is a few operations per channel, next to n products each: not worth a region of its own.
        var (d, at) = (_config.AttentionSize, StateAt + (2L * _config.HiddenSize));
        for (var t = 0; t < _rows; t++)
        {
            var row = (long)t * d;
            Kernels.Wkv4Step(_state.In(t) + at, _state.Out(t) + at, _block.Decay, _block.First, _k + row, _v + row, d, _o + row);
        }

        Ops.ForEach(_rows, _gateRow);
        Ops.Linear(_block.Output, _o, _rows, _h);
    }

    private void TimeMixRow(int t)
    {
        var n = _config.HiddenSize;
        Kernels.Lerp(At(_h, t), Previous(t, 0), _block.MixReceptance, n, At(Mixed(0), t));
        Kernels.Lerp(At(_h, t), Previous(t, 0), _block.MixKey, n, At(Mixed(1), t));
        Kernels.Lerp(At(_h, t), Previous(t, 0), _block.MixValue, n, At(Mixed(2), t));
    }

    private void GateRow(int t)
    {
        var d = _config.AttentionSize;
        var r = _r + ((long)t * d);
        var o = _o + ((long)t * d);
        Kernels.Sigmoid(r, d, r);
        Kernels.Multiply(o, r, d, o);
    }

    private void ChannelMix()
    {
        Ops.ForEach(_rows, _channelNormRow);
        Ops.ForEach(_rows, _channelMixRow);
        StorePrevious(_config.HiddenSize);
        Ops.Linear(_block.ChannelKey, Mixed(0), _rows, _ff);
        Ops.ForEach(_rows, _reluRow);
        Ops.Linear(_block.ChannelValue, _ff, _rows, _h);
        Ops.Linear(_block.ChannelReceptance, Mixed(1), _rows, _r);
    }

    private void ChannelMixRow(int t)
    {
        var n = _config.HiddenSize;
        Kernels.Lerp(At(_h, t), Previous(t, n), _block.ChannelMixKey, n, At(Mixed(0), t));
        Kernels.Lerp(At(_h, t), Previous(t, n), _block.ChannelMixReceptance, n, At(Mixed(1), t));
    }

    private void ChannelAddRow(int t)
    {
        var n = _config.HiddenSize;
        var r = _r + ((long)t * n);
        Kernels.Sigmoid(r, n, r);
        Kernels.Multiply(At(_h, t), r, n, At(_h, t));
        Kernels.Add(At(_x, t), At(_h, t), n);
    }

    /// <summary>Sizes, by their names in config.json.</summary>
    private sealed record Config(int HiddenSize, int BlockCount, int AttentionSize, int IntermediateSize, float Epsilon)
    {
        public long StateLength => (2L * HiddenSize) + (3L * AttentionSize);

        public static Config Read(ConfigFile file, ModelInfo info) => new(
            info.EmbeddingLength,
            info.BlockCount,
            file.Size("attention_hidden_size", info.EmbeddingLength),
            file.Size("intermediate_size", 4 * info.EmbeddingLength),
            file.Epsilon("layer_norm_epsilon", 1e-5f));
    }

    private sealed class Block
    {
        public Block(SafetensorsFile file, WeightVectors vectors, string p, Config config)
        {
            var (n, d, ff) = (config.HiddenSize, config.AttentionSize, config.IntermediateSize);
            Norm1 = vectors.Load(p + "ln1.weight", n);
            Norm1Bias = vectors.Load(p + "ln1.bias", n);
            Norm2 = vectors.Load(p + "ln2.weight", n);
            Norm2Bias = vectors.Load(p + "ln2.bias", n);
            Decay = vectors.Keep([.. file.Vector(p + "attention.time_decay", d).Select(decay => -MathF.Exp(decay))]);
            First = vectors.Load(p + "attention.time_first", d);
            MixReceptance = vectors.LoadComplement(p + "attention.time_mix_receptance", n);
            MixKey = vectors.LoadComplement(p + "attention.time_mix_key", n);
            MixValue = vectors.LoadComplement(p + "attention.time_mix_value", n);
            Receptance = file.Matrix(p + "attention.receptance.weight", d, n);
            Key = file.Matrix(p + "attention.key.weight", d, n);
            Value = file.Matrix(p + "attention.value.weight", d, n);
            Output = file.Matrix(p + "attention.output.weight", n, d);
            ChannelMixReceptance = vectors.LoadComplement(p + "feed_forward.time_mix_receptance", n);
            ChannelMixKey = vectors.LoadComplement(p + "feed_forward.time_mix_key", n);
            ChannelReceptance = file.Matrix(p + "feed_forward.receptance.weight", n, n);
            ChannelKey = file.Matrix(p + "feed_forward.key.weight", ff, n);
            ChannelValue = file.Matrix(p + "feed_forward.value.weight", n, ff);
        }

        public float* Norm1 { get; }
        public float* Norm1Bias { get; }
        public float* Norm2 { get; }
        public float* Norm2Bias { get; }
        public float* Decay { get; }
        public float* First { get; }
        public float* MixReceptance { get; }
        public float* MixKey { get; }
        public float* MixValue { get; }
        public WeightMatrix Receptance { get; }
        public WeightMatrix Key { get; }
        public WeightMatrix Value { get; }
        public WeightMatrix Output { get; }
        public float* ChannelMixReceptance { get; }
        public float* ChannelMixKey { get; }
        public WeightMatrix ChannelReceptance { get; }
        public WeightMatrix ChannelKey { get; }
        public WeightMatrix ChannelValue { get; }
    }
}
