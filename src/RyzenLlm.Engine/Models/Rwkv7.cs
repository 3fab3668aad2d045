using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Models;

/// <summary>RWKV-7 "Goose" (Peng et al. 2025): a linear-time network whose state follows a generalised delta rule. GGUF architecture <c>rwkv7</c>.</summary>
/// <remarks>State per block: the previous token's input of the time mix, [n], of the channel mix, [n], then S, [head][key][value].</remarks>
public sealed unsafe class Rwkv7 : LanguageModel
{
    private const float GroupNormEpsilon = 64e-5f;
    private const float DecayScale = -0.606531f; // -exp(-1/2), as the reference code rounds it

    private readonly Config _config;
    private readonly List<Block> _blocks = [];
    private readonly WeightMatrix _embedding;
    private readonly WeightMatrix _output;
    private readonly float* _embeddingNorm;
    private readonly float* _embeddingNormBias;
    private readonly float* _outputNorm;
    private readonly float* _outputNormBias;
    private readonly float* _unit;
    private readonly WeightVectors _vectors;
    private readonly RecurrentState _state;
    private readonly Workspace _workspace = new();

    private readonly Ops.RowWork _embeddingNormRow;
    private readonly Ops.RowWork _timeNormRow;
    private readonly Ops.RowWork _timeMixRow;
    private readonly Ops.RowWork _tanhRow;
    private readonly Ops.RowWork _sigmoidRow;
    private readonly Ops.RowWork _keyRow;
    private readonly Ops.RowWork _wkvHead;
    private readonly Ops.RowWork _gateRow;
    private readonly Ops.RowWork _channelNormRow;
    private readonly Ops.RowWork _channelMixRow;
    private readonly Ops.RowWork _reluRow;
    private readonly Ops.RowWork _addRow;

    // Activations of the present batch, row after row, and the block at work. The six mixed inputs are [6][rows][n].
    private Batch _batch = null!;
    private int _rows;
    private int _index;
    private Block _block = null!;
    private float* _x;      // [n] residual stream
    private float* _h;      // [n] normed input, block output
    private float* _mixed;  // r, w, k, v, a, g inputs
    private float* _r;      // [n]
    private float* _w;      // [n] decay
    private float* _k;      // [n]
    private float* _v;      // [n]
    private float* _vFirst; // [n] block 0's v of the same token
    private float* _a;      // [n] in-context learning rate
    private float* _g;      // [n]
    private float* _kk;     // [n] removal key
    private float* _b;      // [n] kk * a
    private float* _o;      // [n] output of the state
    private float* _low;    // [rank]
    private int _rank;
    private float* _ff;     // [ff]

    internal Rwkv7(GgufFile file, ModelParts parts)
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
        _unit = _vectors.Constant(1 / MathF.Sqrt(_config.HeadSize), _config.HeadSize);
        for (var i = 0; i < _config.BlockCount; i++)
        {
            _blocks.Add(new(file, _vectors, i, _config));
        }

        _state = new(_config.BlockCount * _config.StateLength, () => ModelFingerprint.Of(file));
        _embeddingNormRow = t => Kernels.LayerNorm(At(_x, t), _embeddingNorm, _embeddingNormBias, _config.Epsilon, n, At(_x, t));
        _timeNormRow = t => Kernels.LayerNorm(At(_x, t), _block.Norm, _block.NormBias, _config.Epsilon, n, At(_h, t));
        _timeMixRow = TimeMixRow;
        _tanhRow = t => Kernels.Tanh(_low + ((long)t * _rank), _rank, _low + ((long)t * _rank));
        _sigmoidRow = t => Kernels.Sigmoid(_low + ((long)t * _rank), _rank, _low + ((long)t * _rank));
        _keyRow = KeyRow;
        _wkvHead = WkvHead;
        _gateRow = GateRow;
        _channelNormRow = t => Kernels.LayerNorm(At(_x, t), _block.Norm2, _block.Norm2Bias, _config.Epsilon, n, At(_h, t));
        _channelMixRow = ChannelMixRow;
        _reluRow = t => Kernels.ReluSquared(_ff + ((long)t * _config.FeedForwardLength), _config.FeedForwardLength, _ff + ((long)t * _config.FeedForwardLength));
        _addRow = t => Kernels.Add(At(_x, t), At(_h, t), n);
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
            Ops.ForEach(_rows, _addRow);
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
        _workspace.Begin(rows * ((18 * n) + _config.LargestRank + _config.FeedForwardLength), pieces: 15);
        _x = _workspace.Take(rows * n);
        _h = _workspace.Take(rows * n);
        _mixed = _workspace.Take(rows * 6 * n);
        _r = _workspace.Take(rows * n);
        _w = _workspace.Take(rows * n);
        _k = _workspace.Take(rows * n);
        _v = _workspace.Take(rows * n);
        _vFirst = _workspace.Take(rows * n);
        _a = _workspace.Take(rows * n);
        _g = _workspace.Take(rows * n);
        _kk = _workspace.Take(rows * n);
        _b = _workspace.Take(rows * n);
        _o = _workspace.Take(rows * n);
        _low = _workspace.Take(rows * _config.LargestRank);
        _ff = _workspace.Take(rows * _config.FeedForwardLength);
    }

    private float* At(float* rows, int t) => rows + ((long)t * _config.EmbeddingLength);

    // Mixed input j (r, w, k, v, a, g) of all rows.
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
            if (t + 1 < _rows && _state.Out(t + 1) == _state.Out(t))
            {
                continue; // the next row overwrites it
            }

            new Span<float>(At(_h, t), n).CopyTo(new Span<float>(_state.Out(t) + StateAt + stateOffset, n));
        }
    }

    private void TimeMix()
    {
        Ops.ForEach(_rows, _timeNormRow);
        Ops.ForEach(_rows, _timeMixRow);
        StorePrevious(0);
        Ops.Linear(_block.Receptance, Mixed(0), _rows, _r);
        LowRank(_block.W, Mixed(1), _tanhRow, _w);
        Ops.Linear(_block.Key, Mixed(2), _rows, _k);
        Ops.Linear(_block.Value, Mixed(3), _rows, _v);
        if (_index > 0)
        {
            LowRank(_block.V, Mixed(3), null, _b);
        }

        LowRank(_block.A, Mixed(4), null, _a);
        LowRank(_block.G, Mixed(5), _sigmoidRow, _g);
        Ops.ForEach(_rows, _keyRow);
        Ops.ForEach(_config.HeadCount, _wkvHead);
        Ops.ForEach(_rows, _gateRow);
        Ops.Linear(_block.Output, _o, _rows, _h);
    }

    private void LowRank(LowRankPair pair, float* x, Ops.RowWork? activation, float* y)
    {
        Ops.Linear(pair.Down, x, _rows, _low);
        if (activation is not null)
        {
            _rank = pair.Down.Rows;
            Ops.ForEach(_rows, activation);
        }

        Ops.Linear(pair.Up, _low, _rows, y);
    }

    private void TimeMixRow(int t)
    {
        var n = _config.EmbeddingLength;
        var previous = Previous(t, 0);
        for (var j = 0; j < 6; j++)
        {
            Kernels.Lerp(At(_h, t), previous, _block.LerpFused + ((long)j * n), n, At(Mixed(j), t));
        }
    }

    // From raw products to the operands of the state update.
    private void KeyRow(int t)
    {
        var (n, hs) = (_config.EmbeddingLength, _config.HeadSize);
        var w = At(_w, t);
        Kernels.Add(w, _block.W0, n);
        Kernels.Sigmoid(w, n, w);
        for (var i = 0; i < n; i++)
        {
            w[i] *= DecayScale;
        }

        Kernels.Exp(w, n, w);

        var a = At(_a, t);
        Kernels.Add(a, _block.A0, n);
        Kernels.Sigmoid(a, n, a);

        var v = At(_v, t);
        if (_index == 0)
        {
            new Span<float>(v, n).CopyTo(new Span<float>(At(_vFirst, t), n));
        }
        else
        {
            var share = At(_b, t);
            Kernels.Add(share, _block.V0, n);
            Kernels.Sigmoid(share, n, share);
            Kernels.Lerp(v, At(_vFirst, t), share, n, v);
        }

        // kk / max(|kk|, 1e-12) per head, written as a root mean square norm: its floor only matters for a zero key.
        var k = At(_k, t);
        var kk = At(_kk, t);
        Kernels.Multiply(k, _block.KK, n, kk);
        for (var head = 0; head < n; head += hs)
        {
            Kernels.RmsNorm(kk + head, _unit, 1e-24f / hs, hs, kk + head);
        }

        // k (1 + (a - 1) k_a) = k + (k a - k) k_a
        var b = At(_b, t);
        Kernels.Multiply(k, a, n, b);
        Kernels.Lerp(k, b, _block.KA, n, k);
        Kernels.Multiply(kk, a, n, b);
    }

    private void WkvHead(int head)
    {
        var hs = _config.HeadSize;
        var at = StateAt + (2L * _config.EmbeddingLength) + ((long)head * hs * hs);
        for (var t = 0; t < _rows; t++)
        {
            var i = ((long)t * _config.EmbeddingLength) + ((long)head * hs);
            Kernels.Wkv7Step(_state.In(t) + at, _state.Out(t) + at, _r + i, _w + i, _k + i, _v + i, _kk + i, _b + i, hs, _o + i);
        }
    }

    private void GateRow(int t)
    {
        var (n, hs) = (_config.EmbeddingLength, _config.HeadSize);
        var o = At(_o, t);
        var rk = At(_r, t);
        Kernels.Multiply(rk, At(_k, t), n, rk);
        for (var head = 0; head < n; head += hs)
        {
            Kernels.LayerNorm(o + head, _block.Ln + head, _block.LnBias + head, GroupNormEpsilon, hs, o + head);
            var bonus = Kernels.Dot(rk + head, _block.RK + head, hs);
            var v = At(_v, t) + head;
            for (var i = 0; i < hs; i++)
            {
                o[head + i] += bonus * v[i];
            }
        }

        Kernels.Multiply(o, At(_g, t), n, o);
    }

    private void ChannelMix()
    {
        Ops.ForEach(_rows, _channelNormRow);
        Ops.ForEach(_rows, _channelMixRow);
        StorePrevious(_config.EmbeddingLength);
        Ops.Linear(_block.ChannelKey, _mixed, _rows, _ff);
        Ops.ForEach(_rows, _reluRow);
        Ops.Linear(_block.ChannelValue, _ff, _rows, _h);
    }

    private void ChannelMixRow(int t)
    {
        var n = _config.EmbeddingLength;
        Kernels.Lerp(At(_h, t), Previous(t, n), _block.ChannelLerpK, n, At(_mixed, t));
    }

    /// <summary>Sizes, by their names in GGUF metadata.</summary>
    private sealed record Config(
        int EmbeddingLength,
        int BlockCount,
        int FeedForwardLength,
        int HeadSize,
        float Epsilon,
        int DecayRank,
        int IclrRank,
        int ValueResidualMixRank,
        int GateRank)
    {
        public int HeadCount => EmbeddingLength / HeadSize;

        public int LargestRank => Math.Max(Math.Max(DecayRank, IclrRank), Math.Max(ValueResidualMixRank, GateRank));

        public long StateLength => (2L * EmbeddingLength) + ((long)EmbeddingLength * HeadSize);

        public static Config Read(GgufFile file, ModelInfo info)
        {
            var config = new Config(
                info.EmbeddingLength,
                info.BlockCount,
                file.Size("rwkv7.feed_forward_length"),
                file.Size("rwkv7.wkv.head_size"),
                file.Epsilon("rwkv7.attention.layer_norm_epsilon"),
                file.Size("rwkv7.attention.decay_lora_rank"),
                file.Size("rwkv7.attention.iclr_lora_rank"),
                file.Size("rwkv7.attention.value_residual_mix_lora_rank"),
                file.Size("rwkv7.attention.gate_lora_rank"));
            file.RequireMultiple("embedding_length", config.EmbeddingLength, config.HeadSize);
            return config;
        }
    }

    /// <summary>A product of low rank: up(f(down x)).</summary>
    private readonly record struct LowRankPair(WeightMatrix Down, WeightMatrix Up);

    private sealed class Block
    {
        public Block(GgufFile file, WeightVectors vectors, int index, Config config)
        {
            var (n, ff, p) = (config.EmbeddingLength, config.FeedForwardLength, $"blk.{index}.");
            Norm = vectors.Load(p + "attn_norm.weight", n);
            NormBias = vectors.Load(p + "attn_norm.bias", n);
            Norm2 = vectors.Load(p + "attn_norm_2.weight", n);
            Norm2Bias = vectors.Load(p + "attn_norm_2.bias", n);
            LerpFused = vectors.Load(p + "time_mix_lerp_fused.weight", 6, n);
            W0 = vectors.Load(p + "time_mix_w0.weight", n);
            A0 = vectors.Load(p + "time_mix_a0.weight", n);
            KK = vectors.Load(p + "time_mix_k_k.weight", n);
            KA = vectors.Load(p + "time_mix_k_a.weight", n);
            RK = vectors.Load(p + "time_mix_r_k.weight", n);
            Ln = vectors.Load(p + "time_mix_ln.weight", n);
            LnBias = vectors.Load(p + "time_mix_ln.bias", n);
            ChannelLerpK = vectors.Load(p + "channel_mix_lerp_k.weight", n);
            W = Pair("w", config.DecayRank);
            A = Pair("a", config.IclrRank);
            G = Pair("g", config.GateRank);
            if (index > 0)
            {
                // Block 0 defines the first value; what its file entries of this name hold is not used.
                V0 = vectors.Load(p + "time_mix_v0.weight", n);
                V = Pair("v", config.ValueResidualMixRank);
            }

            Receptance = file.Matrix(p + "time_mix_receptance.weight", n, n);
            Key = file.Matrix(p + "time_mix_key.weight", n, n);
            Value = file.Matrix(p + "time_mix_value.weight", n, n);
            Output = file.Matrix(p + "time_mix_output.weight", n, n);
            ChannelKey = file.Matrix(p + "channel_mix_key.weight", ff, n);
            ChannelValue = file.Matrix(p + "channel_mix_value.weight", n, ff);

            LowRankPair Pair(string name, int rank) =>
                new(file.Matrix($"{p}time_mix_{name}1.weight", rank, n), file.Matrix($"{p}time_mix_{name}2.weight", n, rank));
        }

        public float* Norm { get; }
        public float* NormBias { get; }
        public float* Norm2 { get; }
        public float* Norm2Bias { get; }
        public float* LerpFused { get; }
        public float* W0 { get; }
        public float* A0 { get; }
        public float* V0 { get; }
        public float* KK { get; }
        public float* KA { get; }
        public float* RK { get; }
        public float* Ln { get; }
        public float* LnBias { get; }
        public float* ChannelLerpK { get; }
        public LowRankPair W { get; }
        public LowRankPair A { get; }
        public LowRankPair V { get; }
        public LowRankPair G { get; }
        public WeightMatrix Receptance { get; }
        public WeightMatrix Key { get; }
        public WeightMatrix Value { get; }
        public WeightMatrix Output { get; }
        public WeightMatrix ChannelKey { get; }
        public WeightMatrix ChannelValue { get; }
    }
}
