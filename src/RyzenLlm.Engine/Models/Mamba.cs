using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Models;

/// <summary>
/// Mamba (Gu and Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces"), GGUF architecture <c>mamba</c>;
/// with <c>ssm.dt_b_c_rms</c> also FalconMamba.
/// </summary>
/// <remarks>State per block: the last d_conv - 1 inputs of the convolution, [d_conv - 1][d_inner], then S, [d_state][d_inner].</remarks>
public sealed unsafe class Mamba : LanguageModel
{
    private readonly Config _config;
    private readonly List<Block> _blocks = [];
    private readonly WeightMatrix _embedding;
    private readonly WeightMatrix _output;
    private readonly float* _outputNorm;
    private readonly float* _ones;
    private readonly WeightVectors _vectors;
    private readonly RecurrentState _state;
    private readonly Workspace _workspace = new();

    private readonly Ops.RowWork _normRow;
    private readonly Ops.RowWork _splitRow;
    private readonly Ops.RowWork _convolveChannels;
    private readonly Ops.RowWork _scanChannels;
    private readonly Ops.RowWork _addRow;

    // Activations of the present batch, row after row, and the block at work.
    private int _rows;
    private int _index;
    private Block _block = null!;
    private float* _x;    // [n] residual stream
    private float* _h;    // [n] normed input, block output
    private float* _uz;   // [2 di] u and z
    private float* _c;    // [di] convolved u
    private float* _dbc;  // [dr + 2 ds] step rank, B and C
    private float* _rank; // [dr]
    private float* _dt;   // [di] step size
    private float* _y;    // [di] scan output

    internal Mamba(GgufFile file, ModelParts parts)
        : base(parts)
    {
        _config = Config.Read(file, parts.Info);
        var (n, di) = (_config.EmbeddingLength, _config.InnerSize);
        _vectors = new(file);
        _embedding = file.Matrix("token_embd.weight", Info.VocabularySize, n);
        _output = file.TryMatrix("output.weight", Info.VocabularySize, n, out var output) ? output : _embedding;
        _outputNorm = _vectors.Load("output_norm.weight", n);
        for (var i = 0; i < _config.BlockCount; i++)
        {
            _blocks.Add(new(file, _vectors, $"blk.{i}.", _config));
        }

        // Only now that tensors of these sizes were found: until then they are what the file says.
        _ones = _vectors.Constant(1, Math.Max(_config.StateSize, _config.TimeStepRank));

        _state = new(_config.BlockCount * _config.StateLength, () => ModelFingerprint.Of(file));
        _normRow = t => Kernels.RmsNorm(_x + ((long)t * n), _block.AttnNorm, _config.RmsEpsilon, n, _h + ((long)t * n));
        _splitRow = SplitRow;
        _convolveChannels = ConvolveChannels;
        _scanChannels = ScanChannels;
        _addRow = t => Kernels.Add(_x + ((long)t * n), _h + ((long)t * n), n);
    }

    /// <inheritdoc/>
    public override Session CreateSession() => new RecurrentSession(this, _state);

    /// <inheritdoc/>
    public override Session LoadSession(Stream source) => RecurrentSession.Load(this, _state, source);

    private protected override void Compute(Batch batch)
    {
        Begin(batch);
        Embed(batch, _embedding, _x);
        for (_index = 0; _index < _blocks.Count; _index++)
        {
            _block = _blocks[_index];
            Ops.ForEach(_rows, _normRow);
            Ops.Linear(_block.In, _h, _rows, _uz);
            Ops.ForEach(ChannelShares, _convolveChannels);
            Ops.Linear(_block.X, _c, _rows, _dbc);
            Ops.ForEach(_rows, _splitRow);
            Ops.Linear(_block.Dt, _rank, _rows, _dt);
            Ops.ForEach(ChannelShares, _scanChannels);
            Ops.Linear(_block.Out, _y, _rows, _h);
            Ops.ForEach(_rows, _addRow);
        }

        var wanted = GatherWanted(batch, _x, _config.EmbeddingLength, _h);
        for (var t = 0; t < wanted; t++)
        {
            var row = _h + ((long)t * _config.EmbeddingLength);
            Kernels.RmsNorm(row, _outputNorm, _config.RmsEpsilon, _config.EmbeddingLength, row);
        }

        WriteOutputs(batch, _output, _h);
    }

    /// <inheritdoc/>
    private protected override void DisposeModel()
    {
        _state.Dispose();
        _workspace.Dispose();
        _vectors.Dispose();
    }

    // Channels of one share of convolution and scan: their state and A (32 KB with 16 states) stay in the first-level cache while all rows pass, and
    // a kilobyte of each row is a stretch long enough to be fetched ahead.
    private const int ChannelsPerShare = 256;

    private void Begin(Batch batch)
    {
        var (n, di, dr, ds) = (_config.EmbeddingLength, _config.InnerSize, _config.TimeStepRank, _config.StateSize);
        long rows = batch.Count;
        _rows = batch.Count;
        _state.Plan(batch);
        _workspace.Begin(rows * ((2 * n) + (5 * di) + (2 * dr) + (2 * ds)), pieces: 8);
        _x = _workspace.Take(rows * n);
        _h = _workspace.Take(rows * n);
        _uz = _workspace.Take(rows * 2 * di);
        _c = _workspace.Take(rows * di);
        _dbc = _workspace.Take(rows * (dr + (2 * ds)));
        _rank = _workspace.Take(rows * dr);
        _dt = _workspace.Take(rows * di);
        _y = _workspace.Take(rows * di);
    }

    private int ChannelShares => (_config.InnerSize + ChannelsPerShare - 1) / ChannelsPerShare;

    private float* U(int t) => _uz + (2L * t * _config.InnerSize);

    private float* Z(int t) => U(t) + _config.InnerSize;

    private float* Dbc(int t) => _dbc + ((long)t * (_config.TimeStepRank + (2 * _config.StateSize)));

    // c = silu(conv(u)); rows follow their parents.
    private void ConvolveChannels(int share)
    {
        var (di, at) = (_config.InnerSize, _index * _config.StateLength);
        var begin = share * ChannelsPerShare;
        var end = Math.Min(begin + ChannelsPerShare, di);
        for (var t = 0; t < _rows; t++)
        {
            Kernels.ConvolveStep(
                _state.In(t) + at, _state.Out(t) + at, U(t), _block.ConvWeight, _block.ConvBias, _config.ConvKernel, di, begin, end, _c + ((long)t * di));
        }
    }

    private void SplitRow(int t)
    {
        var (dr, ds) = (_config.TimeStepRank, _config.StateSize);
        var dbc = Dbc(t);
        if (_config.NormsStepBAndC)
        {
            Kernels.RmsNorm(dbc, _ones, _config.RmsEpsilon, dr, dbc);
            Kernels.RmsNorm(dbc + dr, _ones, _config.RmsEpsilon, ds, dbc + dr);
            Kernels.RmsNorm(dbc + dr + ds, _ones, _config.RmsEpsilon, ds, dbc + dr + ds);
        }

        new Span<float>(dbc, dr).CopyTo(new Span<float>(_rank + ((long)t * dr), dr));
    }

    // y = silu(z) scan(c) with step sizes softplus(dt + bias).
    private void ScanChannels(int share)
    {
        var (di, ds, dr) = (_config.InnerSize, _config.StateSize, _config.TimeStepRank);
        var at = (_index * _config.StateLength) + _config.WindowLength;
        var begin = share * ChannelsPerShare;
        var end = Math.Min(begin + ChannelsPerShare, di);
        for (var t = 0; t < _rows; t++)
        {
            var row = (long)t * di;
            var dt = _dt + row + begin;
            var z = Z(t) + begin;
            var y = _y + row + begin;
            Kernels.Add(dt, _block.DtBias + begin, end - begin);
            Kernels.Softplus(dt, end - begin, dt);
            Kernels.ScanStep(
                _state.In(t) + at, _state.Out(t) + at, _block.A, _block.D, _dt + row, _c + row, Dbc(t) + dr, Dbc(t) + dr + ds, di, ds, begin, end, _y + row);
            Kernels.Silu(z, end - begin, z);
            Kernels.Multiply(y, z, end - begin, y);
        }
    }

    /// <summary>Sizes, by their names in GGUF metadata.</summary>
    private sealed record Config(int EmbeddingLength, int BlockCount, int ConvKernel, int InnerSize, int StateSize, int TimeStepRank, float RmsEpsilon, bool NormsStepBAndC)
    {
        public long WindowLength => (ConvKernel - 1L) * InnerSize;

        public long StateLength => WindowLength + ((long)StateSize * InnerSize);

        public static Config Read(GgufFile file, ModelInfo info) => new(
            info.EmbeddingLength,
            info.BlockCount,
            file.Size("mamba.ssm.conv_kernel"),
            file.Size("mamba.ssm.inner_size"),
            file.Size("mamba.ssm.state_size"),
            file.Size("mamba.ssm.time_step_rank"),
            file.Epsilon("mamba.attention.layer_norm_rms_epsilon"),
            file.TryGetBool("mamba.ssm.dt_b_c_rms", out var norms) && norms);
    }

    private sealed class Block
    {
        public Block(GgufFile file, WeightVectors vectors, string prefix, Config config)
        {
            var (n, di, ds, dr) = (config.EmbeddingLength, config.InnerSize, config.StateSize, config.TimeStepRank);
            AttnNorm = vectors.Load(prefix + "attn_norm.weight", n);
            In = file.Matrix(prefix + "ssm_in.weight", 2 * di, n);
            ConvWeight = vectors.LoadTransposed(prefix + "ssm_conv1d.weight", di, config.ConvKernel);
            ConvBias = vectors.Load(prefix + "ssm_conv1d.bias", di);
            X = file.Matrix(prefix + "ssm_x.weight", dr + (2 * ds), di);
            Dt = file.Matrix(prefix + "ssm_dt.weight", di, dr);
            DtBias = vectors.Load(prefix + "ssm_dt.bias", di);
            A = vectors.LoadTransposed(prefix + "ssm_a", di, ds);
            D = vectors.Load(prefix + "ssm_d", di);
            Out = file.Matrix(prefix + "ssm_out.weight", n, di);
        }

        public float* AttnNorm { get; }
        public WeightMatrix In { get; }
        public float* ConvWeight { get; }
        public float* ConvBias { get; }
        public WeightMatrix X { get; }
        public WeightMatrix Dt { get; }
        public float* DtBias { get; }
        public float* A { get; }
        public float* D { get; }
        public WeightMatrix Out { get; }
    }
}
