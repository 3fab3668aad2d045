using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Models;

/// <summary>
/// RWKV-5.2 "Eagle" (Peng et al. 2024, "Eagle and Finch"): matrix-valued state with a constant decay per channel. From safetensors under the
/// names of the original code (<c>blocks.i.att</c>, <c>blocks.i.ffn</c>); all sizes follow from shapes.
/// </summary>
/// <remarks>State per block: the previous token's input of the time mix, [n], of the channel mix, [n], then S, [head][key][value].</remarks>
public sealed unsafe class Rwkv5 : LanguageModel
{
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
    private readonly Ops.RowWork _wkvHead;
    private readonly Ops.RowWork _gateRow;
    private readonly Ops.RowWork _addRow;
    private readonly Ops.RowWork _channelNormRow;
    private readonly Ops.RowWork _channelMixRow;
    private readonly Ops.RowWork _reluRow;
    private readonly Ops.RowWork _channelAddRow;

    // Activations of the present batch, row after row, and the block at work. The mixed inputs are [4][rows][n].
    private Batch _batch = null!;
    private int _rows;
    private int _index;
    private Block _block = null!;
    private float* _x;     // [n] residual stream
    private float* _h;     // [n] normed input, block output
    private float* _mixed; // r, k, v, g inputs
    private float* _r;     // [n]
    private float* _k;     // [n]
    private float* _v;     // [n]
    private float* _g;     // [n]
    private float* _o;     // [n] output of the state
    private float* _ff;    // [ff]

    internal Rwkv5(SafetensorsFile file, ModelParts parts)
        : base(parts)
    {
        _config = Config.Read(file, parts.Info);
        var n = _config.HiddenSize;
        _vectors = new(file);
        _embedding = file.Matrix("emb.weight", Info.VocabularySize, n);
        _head = file.Matrix("head.weight", Info.VocabularySize, n);
        _preNorm = _vectors.Load("blocks.0.ln0.weight", n);
        _preNormBias = _vectors.Load("blocks.0.ln0.bias", n);
        _outNorm = _vectors.Load("ln_out.weight", n);
        _outNormBias = _vectors.Load("ln_out.bias", n);
        for (var i = 0; i < _config.BlockCount; i++)
        {
            _blocks.Add(new(file, _vectors, $"blocks.{i}.", _config));
        }

        _state = new(_config.BlockCount * _config.StateLength, () => ModelFingerprint.Of(file));
        _preNormRow = t => Kernels.LayerNorm(At(_x, t), _preNorm, _preNormBias, _config.Epsilon, n, At(_x, t));
        _timeNormRow = t => Kernels.LayerNorm(At(_x, t), _block.Norm1, _block.Norm1Bias, _config.Epsilon, n, At(_h, t));
        _timeMixRow = TimeMixRow;
        _wkvHead = WkvHead;
        _gateRow = GateRow;
        _addRow = t => Kernels.Add(At(_x, t), At(_h, t), n);
        _channelNormRow = t => Kernels.LayerNorm(At(_x, t), _block.Norm2, _block.Norm2Bias, _config.Epsilon, n, At(_h, t));
        _channelMixRow = ChannelMixRow;
        _reluRow = t => Kernels.ReluSquared(_ff + ((long)t * _config.FeedForwardSize), _config.FeedForwardSize, _ff + ((long)t * _config.FeedForwardSize));
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
        var n = _config.HiddenSize;
        long rows = batch.Count;
        _rows = batch.Count;
        _batch = batch;
        _state.Plan(batch);
        _workspace.Begin(rows * ((11 * n) + _config.FeedForwardSize), pieces: 9);
        _x = _workspace.Take(rows * n);
        _h = _workspace.Take(rows * n);
        _mixed = _workspace.Take(rows * 4 * n);
        _r = _workspace.Take(rows * n);
        _k = _workspace.Take(rows * n);
        _v = _workspace.Take(rows * n);
        _g = _workspace.Take(rows * n);
        _o = _workspace.Take(rows * n);
        _ff = _workspace.Take(rows * _config.FeedForwardSize);
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
        Ops.Linear(_block.Gate, Mixed(3), _rows, _g);
        Ops.ForEach(_config.HeadCount, _wkvHead);
        Ops.ForEach(_rows, _gateRow);
        Ops.Linear(_block.Output, _o, _rows, _h);
    }

    private void TimeMixRow(int t)
    {
        var n = _config.HiddenSize;
        Kernels.Lerp(At(_h, t), Previous(t, 0), _block.MixR, n, At(Mixed(0), t));
        Kernels.Lerp(At(_h, t), Previous(t, 0), _block.MixK, n, At(Mixed(1), t));
        Kernels.Lerp(At(_h, t), Previous(t, 0), _block.MixV, n, At(Mixed(2), t));
        Kernels.Lerp(At(_h, t), Previous(t, 0), _block.MixG, n, At(Mixed(3), t));
    }

    private void WkvHead(int head)
    {
        var hs = _config.HeadSize;
        var first = (long)head * hs;
        var at = StateAt + (2L * _config.HiddenSize) + (first * hs);
        for (var t = 0; t < _rows; t++)
        {
            var i = ((long)t * _config.HiddenSize) + first;
            Kernels.Wkv6Step(_state.In(t) + at, _state.Out(t) + at, _r + i, _block.Decay + first, _k + i, _v + i, _block.Faaaa + first, hs, _o + i);
        }
    }

    private void GateRow(int t)
    {
        var (n, hs) = (_config.HiddenSize, _config.HeadSize);
        var o = At(_o, t);
        var g = At(_g, t);
        for (var head = 0; head < n; head += hs)
        {
            Kernels.LayerNorm(o + head, _block.NormX + head, _block.NormXBias + head, _config.Epsilon, hs, o + head);
        }

        Kernels.Silu(g, n, g);
        Kernels.Multiply(o, g, n, o);
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

    /// <summary>Sizes, read from the shapes of block 0.</summary>
    private sealed record Config(int HiddenSize, int BlockCount, int HeadCount, int HeadSize, int FeedForwardSize)
    {
        public float Epsilon => 1e-5f;

        public long StateLength => (2L * HiddenSize) + ((long)HiddenSize * HeadSize);

        public static Config Read(SafetensorsFile file, ModelInfo info)
        {
            var config = new Config(
                info.EmbeddingLength,
                info.BlockCount,
                file.Dimension("blocks.0.att.time_faaaa", 1),
                file.Dimension("blocks.0.att.time_faaaa", 0),
                file.Dimension("blocks.0.ffn.key.weight", 1));
            return (long)config.HeadCount * config.HeadSize == config.HiddenSize
                ? config
                : throw new ModelFormatException(
                    file.Path, "blocks.0.att.time_faaaa", null, $"heads that make up the width {config.HiddenSize}", $"{config.HeadCount} of {config.HeadSize}");
        }
    }

    private sealed class Block
    {
        public Block(SafetensorsFile file, WeightVectors vectors, string p, Config config)
        {
            var (n, ff) = (config.HiddenSize, config.FeedForwardSize);
            Norm1 = vectors.Load(p + "ln1.weight", n);
            Norm1Bias = vectors.Load(p + "ln1.bias", n);
            Norm2 = vectors.Load(p + "ln2.weight", n);
            Norm2Bias = vectors.Load(p + "ln2.bias", n);
            NormX = vectors.Load(p + "att.ln_x.weight", n);
            NormXBias = vectors.Load(p + "att.ln_x.bias", n);
            Decay = vectors.Keep([.. file.Values(p + "att.time_decay", config.HeadCount, config.HeadSize).Select(decay => MathF.Exp(-MathF.Exp(decay)))]);
            Faaaa = vectors.Load(p + "att.time_faaaa", config.HeadCount, config.HeadSize);
            MixR = vectors.LoadComplement(p + "att.time_mix_r", n);
            MixK = vectors.LoadComplement(p + "att.time_mix_k", n);
            MixV = vectors.LoadComplement(p + "att.time_mix_v", n);
            MixG = vectors.LoadComplement(p + "att.time_mix_g", n);
            Receptance = file.Matrix(p + "att.receptance.weight", n, n);
            Key = file.Matrix(p + "att.key.weight", n, n);
            Value = file.Matrix(p + "att.value.weight", n, n);
            Gate = file.Matrix(p + "att.gate.weight", n, n);
            Output = file.Matrix(p + "att.output.weight", n, n);
            ChannelMixReceptance = vectors.LoadComplement(p + "ffn.time_mix_r", n);
            ChannelMixKey = vectors.LoadComplement(p + "ffn.time_mix_k", n);
            ChannelReceptance = file.Matrix(p + "ffn.receptance.weight", n, n);
            ChannelKey = file.Matrix(p + "ffn.key.weight", ff, n);
            ChannelValue = file.Matrix(p + "ffn.value.weight", n, ff);
        }

        public float* Norm1 { get; }
        public float* Norm1Bias { get; }
        public float* Norm2 { get; }
        public float* Norm2Bias { get; }
        public float* NormX { get; }
        public float* NormXBias { get; }
        public float* Decay { get; }
        public float* Faaaa { get; }
        public float* MixR { get; }
        public float* MixK { get; }
        public float* MixV { get; }
        public float* MixG { get; }
        public WeightMatrix Receptance { get; }
        public WeightMatrix Key { get; }
        public WeightMatrix Value { get; }
        public WeightMatrix Gate { get; }
        public WeightMatrix Output { get; }
        public float* ChannelMixReceptance { get; }
        public float* ChannelMixKey { get; }
        public WeightMatrix ChannelReceptance { get; }
        public WeightMatrix ChannelKey { get; }
        public WeightMatrix ChannelValue { get; }
    }
}
