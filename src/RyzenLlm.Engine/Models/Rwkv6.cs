using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Models;

/// <summary>RWKV-6 "Finch" (Peng et al. 2024, "Eagle and Finch"): matrix-valued state with a decay that depends on the token. GGUF architecture <c>rwkv6</c>.</summary>
/// <remarks>State per block: the previous token's input of the time mix, [n], of the channel mix, [n], then S, [head][key][value].</remarks>
public sealed unsafe class Rwkv6 : LanguageModel
{
    private const float GroupNormEpsilon = 64e-5f;
    private const int Mixes = 5; // w, k, v, r, g

    private readonly Config _config;
    private readonly List<Block> _blocks = [];
    private readonly WeightMatrix _embedding;
    private readonly WeightMatrix _output;
    private readonly float* _embeddingNorm;
    private readonly float* _embeddingNormBias;
    private readonly float* _outputNorm;
    private readonly float* _outputNormBias;
    private readonly WeightVectors _vectors;
    private readonly RecurrentState _state;
    private readonly Workspace _workspace = new();

    private readonly Ops.RowWork _embeddingNormRow;
    private readonly Ops.RowWork _timeNormRow;
    private readonly Ops.RowWork _baseRow;
    private readonly Ops.RowWork _tanhRow;
    private readonly Ops.RowWork _mixWeights;
    private readonly Ops.RowWork _timeMixRow;
    private readonly Ops.RowWork _decayRow;
    private readonly Ops.RowWork _wkvHead;
    private readonly Ops.RowWork _gateRow;
    private readonly Ops.RowWork _addRow;
    private readonly Ops.RowWork _channelNormRow;
    private readonly Ops.RowWork _channelMixRow;
    private readonly Ops.RowWork _reluRow;
    private readonly Ops.RowWork _channelAddRow;

    // Activations of the present batch, row after row, and the block at work. The five mixed inputs are [5][rows][n].
    private Batch _batch = null!;
    private int _rows;
    private int _index;
    private Block _block = null!;
    private float* _x;     // [n] residual stream
    private float* _h;     // [n] normed input, block output
    private float* _mixed; // w, k, v, r, g inputs
    private float* _mix;   // [5][n] mixing weights of the row
    private float* _r;     // [n]
    private float* _w;     // [n] decay
    private float* _k;     // [n]
    private float* _v;     // [n]
    private float* _g;     // [n]
    private float* _o;     // [n] output of the state
    private float* _low;   // [rank]
    private int _rank;
    private float* _ff;    // [ff]

    internal Rwkv6(GgufFile file, ModelParts parts)
        : base(parts)
    {
        _config = Config.Read(file, parts.Info);
        var n = _config.EmbeddingLength;
        _vectors = new(file);
        _embedding = file.Matrix("token_embd.weight", Info.VocabularySize, n);
        _output = file.Matrix("output.weight", Info.VocabularySize, n);
        _embeddingNorm = _vectors.Load("token_embd_norm.weight", n);
        _embeddingNormBias = _vectors.Load("token_embd_norm.bias", n);
        _outputNorm = _vectors.Load("output_norm.weight", n);
        _outputNormBias = _vectors.Load("output_norm.bias", n);
        for (var i = 0; i < _config.BlockCount; i++)
        {
            _blocks.Add(new(file, _vectors, $"blk.{i}.", _config));
        }

        _state = new(_config.BlockCount * _config.StateLength, () => ModelFingerprint.Of(file));
        _embeddingNormRow = t => Kernels.LayerNorm(At(_x, t), _embeddingNorm, _embeddingNormBias, _config.Epsilon, n, At(_x, t));
        _timeNormRow = t => Kernels.LayerNorm(At(_x, t), _block.Norm, _block.NormBias, _config.Epsilon, n, At(_h, t));
        _baseRow = t => Kernels.Lerp(At(_h, t), Previous(t, 0), _block.LerpX, n, At(_mixed, t));
        _tanhRow = t => Kernels.Tanh(_low + ((long)t * _rank), _rank, _low + ((long)t * _rank));
        _mixWeights = MixWeights;
        _timeMixRow = TimeMixRow;
        _decayRow = DecayRow;
        _wkvHead = WkvHead;
        _gateRow = GateRow;
        _addRow = t => Kernels.Add(At(_x, t), At(_h, t), n);
        _channelNormRow = t => Kernels.LayerNorm(At(_x, t), _block.Norm2, _block.Norm2Bias, _config.Epsilon, n, At(_h, t));
        _channelMixRow = ChannelMixRow;
        _reluRow = t => Kernels.ReluSquared(_ff + ((long)t * _config.FeedForwardLength), _config.FeedForwardLength, _ff + ((long)t * _config.FeedForwardLength));
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
        Ops.ForEach(_rows, _embeddingNormRow);
        for (_index = 0; _index < _blocks.Count; _index++)
        {
            _block = _blocks[_index];
            TimeMix();
            Ops.ForEach(_rows, _addRow);
            ChannelMix();
            Ops.ForEach(_rows, _channelAddRow);
        }

        var n = _config.EmbeddingLength;
        var wanted = GatherWanted(batch, _x, n, _h);
        for (var t = 0; t < wanted; t++)
        {
            Kernels.LayerNorm(At(_h, t), _outputNorm, _outputNormBias, _config.Epsilon, n, At(_h, t));
        }

        WriteOutputs(batch, _output, _h);
    }

    private protected override void DisposeModel()
    {
        _state.Dispose();
        _workspace.Dispose();
        _vectors.Dispose();
    }

    private void Begin(Batch batch)
    {
        var n = _config.EmbeddingLength;
        long rows = batch.Count;
        _rows = batch.Count;
        _batch = batch;
        _state.Plan(batch);
        _workspace.Begin(rows * (((8 + (2 * Mixes)) * n) + _config.LargestRank + _config.FeedForwardLength), pieces: 12);
        _x = _workspace.Take(rows * n);
        _h = _workspace.Take(rows * n);
        _mixed = _workspace.Take(rows * Mixes * n);
        _mix = _workspace.Take(rows * Mixes * n);
        _r = _workspace.Take(rows * n);
        _w = _workspace.Take(rows * n);
        _k = _workspace.Take(rows * n);
        _v = _workspace.Take(rows * n);
        _g = _workspace.Take(rows * n);
        _o = _workspace.Take(rows * n);
        _low = _workspace.Take(rows * _config.LargestRank);
        _ff = _workspace.Take(rows * _config.FeedForwardLength);
    }

    private float* At(float* rows, int t) => rows + ((long)t * _config.EmbeddingLength);

    // Mixed input j (w, k, v, r, g) of all rows.
    private float* Mixed(int j) => _mixed + ((long)j * _rows * _config.EmbeddingLength);

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
        var n = _config.EmbeddingLength;
        for (var t = 0; t < _rows; t++)
        {
            new Span<float>(At(_h, t), n).CopyTo(new Span<float>(_state.Out(t) + StateAt + stateOffset, n));
        }
    }

    private void TimeMix()
    {
        Ops.ForEach(_rows, _timeNormRow);
        Ops.ForEach(_rows, _baseRow);
        LowRank(_block.MixDown, _mixed);
        Ops.ForEach(Mixes, _mixWeights);
        Ops.ForEach(_rows, _timeMixRow);
        StorePrevious(0);
        LowRank(_block.DecayDown, Mixed(0));
        Ops.Linear(_block.DecayUp, _low, _rows, _w);
        Ops.Linear(_block.Key, Mixed(1), _rows, _k);
        Ops.Linear(_block.Value, Mixed(2), _rows, _v);
        Ops.Linear(_block.Receptance, Mixed(3), _rows, _r);
        Ops.Linear(_block.Gate, Mixed(4), _rows, _g);
        Ops.ForEach(_rows, _decayRow);
        Ops.ForEach(_config.HeadCount, _wkvHead);
        Ops.ForEach(_rows, _gateRow);
        Ops.Linear(_block.Output, _o, _rows, _h);
    }

    private void LowRank(WeightMatrix down, float* x)
    {
        _rank = down.Rows;
        Ops.Linear(down, x, _rows, _low);
        Ops.ForEach(_rows, _tanhRow);
    }

    // Mix j takes its own slice of the low-rank vector through its own n rows of w2.
    private void MixWeights(int j)
    {
        var (n, e) = (_config.EmbeddingLength, _config.MixRank);
        Kernels.MatMul(_block.MixUp, j * n, (j + 1) * n, _low + (j * e), Mixes * e, _rows, _mix, (long)Mixes * n);
    }

    private void TimeMixRow(int t)
    {
        var n = _config.EmbeddingLength;
        var previous = Previous(t, 0);
        for (var j = 0; j < Mixes; j++)
        {
            var mix = _mix + ((((long)t * Mixes) + j) * n);
            Kernels.Add(mix, _block.LerpFused + ((long)j * n), n);
            Kernels.Lerp(At(_h, t), previous, mix, n, At(Mixed(j), t));
        }
    }

    // w = exp(-exp(decay + product))
    private void DecayRow(int t)
    {
        var n = _config.EmbeddingLength;
        var w = At(_w, t);
        Kernels.Add(w, _block.Decay, n);
        Kernels.Exp(w, n, w);
        for (var i = 0; i < n; i++)
        {
            w[i] = -w[i];
        }

        Kernels.Exp(w, n, w);
    }

    private void WkvHead(int head)
    {
        var hs = _config.HeadSize;
        var at = StateAt + (2L * _config.EmbeddingLength) + ((long)head * hs * hs);
        for (var t = 0; t < _rows; t++)
        {
            var i = ((long)t * _config.EmbeddingLength) + ((long)head * hs);
            Kernels.Wkv6Step(_state.In(t) + at, _state.Out(t) + at, _r + i, _w + i, _k + i, _v + i, _block.First + ((long)head * hs), hs, _o + i);
        }
    }

    private void GateRow(int t)
    {
        var (n, hs) = (_config.EmbeddingLength, _config.HeadSize);
        var o = At(_o, t);
        var g = At(_g, t);
        for (var head = 0; head < n; head += hs)
        {
            Kernels.LayerNorm(o + head, _block.Ln + head, _block.LnBias + head, GroupNormEpsilon, hs, o + head);
        }

        Kernels.Silu(g, n, g);
        Kernels.Multiply(o, g, n, o);
    }

    private void ChannelMix()
    {
        Ops.ForEach(_rows, _channelNormRow);
        Ops.ForEach(_rows, _channelMixRow);
        StorePrevious(_config.EmbeddingLength);
        Ops.Linear(_block.ChannelKey, Mixed(0), _rows, _ff);
        Ops.ForEach(_rows, _reluRow);
        Ops.Linear(_block.ChannelValue, _ff, _rows, _h);
        Ops.Linear(_block.ChannelReceptance, Mixed(1), _rows, _r);
    }

    private void ChannelMixRow(int t)
    {
        var n = _config.EmbeddingLength;
        Kernels.Lerp(At(_h, t), Previous(t, n), _block.ChannelLerpK, n, At(Mixed(0), t));
        Kernels.Lerp(At(_h, t), Previous(t, n), _block.ChannelLerpR, n, At(Mixed(1), t));
    }

    private void ChannelAddRow(int t)
    {
        var n = _config.EmbeddingLength;
        var x = At(_x, t);
        Kernels.Sigmoid(At(_r, t), n, At(_r, t));
        Kernels.Multiply(At(_h, t), At(_r, t), n, At(_h, t));
        Kernels.Add(x, At(_h, t), n);
        if (_config.RescaleEvery > 0 && (_index + 1) % _config.RescaleEvery == 0)
        {
            // The converter divided the later weights by the same power of two.
            for (var i = 0; i < n; i++)
            {
                x[i] *= 0.5f;
            }
        }
    }

    /// <summary>Sizes, by their names in GGUF metadata.</summary>
    private sealed record Config(
        int EmbeddingLength, int BlockCount, int FeedForwardLength, int HeadSize, float Epsilon, int MixRank, int DecayRank, int RescaleEvery)
    {
        public int HeadCount => EmbeddingLength / HeadSize;

        public int LargestRank => Math.Max(Mixes * MixRank, DecayRank);

        public long StateLength => (2L * EmbeddingLength) + ((long)EmbeddingLength * HeadSize);

        public static Config Read(GgufFile file, ModelInfo info)
        {
            var config = new Config(
                info.EmbeddingLength,
                info.BlockCount,
                file.Size("rwkv6.feed_forward_length"),
                file.Size("rwkv6.wkv.head_size"),
                file.Epsilon("rwkv6.attention.layer_norm_epsilon"),
                file.Size("rwkv6.time_mix_extra_dim"),
                file.Size("rwkv6.time_decay_extra_dim"),
                file.TryGetInt32("rwkv6.rescale_every_n_layers", out var every) ? every : 0);
            file.RequireMultiple("embedding_length", config.EmbeddingLength, config.HeadSize);
            return config;
        }
    }

    private sealed class Block
    {
        public Block(GgufFile file, WeightVectors vectors, string p, Config config)
        {
            var (n, ff) = (config.EmbeddingLength, config.FeedForwardLength);
            Norm = vectors.Load(p + "attn_norm.weight", n);
            NormBias = vectors.Load(p + "attn_norm.bias", n);
            Norm2 = vectors.Load(p + "attn_norm_2.weight", n);
            Norm2Bias = vectors.Load(p + "attn_norm_2.bias", n);
            LerpX = vectors.Load(p + "time_mix_lerp_x.weight", n);
            LerpFused = file.Tensors.ContainsKey(p + "time_mix_lerp_fused.weight")
                ? vectors.Load(p + "time_mix_lerp_fused.weight", Mixes, n)
                : vectors.Keep([.. "wkvrg".SelectMany(mix => file.Vector($"{p}time_mix_lerp_{mix}.weight", n))]); // older files
            MixDown = file.Matrix(p + "time_mix_w1.weight", Mixes * config.MixRank, n);
            MixUp = file.Matrix(p + "time_mix_w2.weight", Mixes * n, config.MixRank);
            Decay = vectors.Load(p + "time_mix_decay.weight", n);
            DecayDown = file.Matrix(p + "time_mix_decay_w1.weight", config.DecayRank, n);
            DecayUp = file.Matrix(p + "time_mix_decay_w2.weight", n, config.DecayRank);
            First = vectors.Load(p + "time_mix_first.weight", config.HeadCount, config.HeadSize);
            Ln = vectors.Load(p + "time_mix_ln.weight", n);
            LnBias = vectors.Load(p + "time_mix_ln.bias", n);
            Receptance = file.Matrix(p + "time_mix_receptance.weight", n, n);
            Key = file.Matrix(p + "time_mix_key.weight", n, n);
            Value = file.Matrix(p + "time_mix_value.weight", n, n);
            Gate = file.Matrix(p + "time_mix_gate.weight", n, n);
            Output = file.Matrix(p + "time_mix_output.weight", n, n);
            ChannelLerpK = vectors.Load(p + "channel_mix_lerp_k.weight", n);
            ChannelLerpR = vectors.Load(p + "channel_mix_lerp_r.weight", n);
            ChannelKey = file.Matrix(p + "channel_mix_key.weight", ff, n);
            ChannelValue = file.Matrix(p + "channel_mix_value.weight", n, ff);
            ChannelReceptance = file.Matrix(p + "channel_mix_receptance.weight", n, n);
        }

        public float* Norm { get; }
        public float* NormBias { get; }
        public float* Norm2 { get; }
        public float* Norm2Bias { get; }
        public float* LerpX { get; }
        public float* LerpFused { get; }
        public WeightMatrix MixDown { get; }
        public WeightMatrix MixUp { get; }
        public float* Decay { get; }
        public WeightMatrix DecayDown { get; }
        public WeightMatrix DecayUp { get; }
        public float* First { get; }
        public float* Ln { get; }
        public float* LnBias { get; }
        public WeightMatrix Receptance { get; }
        public WeightMatrix Key { get; }
        public WeightMatrix Value { get; }
        public WeightMatrix Gate { get; }
        public WeightMatrix Output { get; }
        public float* ChannelLerpK { get; }
        public float* ChannelLerpR { get; }
        public WeightMatrix ChannelKey { get; }
        public WeightMatrix ChannelValue { get; }
        public WeightMatrix ChannelReceptance { get; }
    }
}
