using System.Runtime.InteropServices;
using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Engine.Models;

/// <summary>
/// BitNet b1.58 (Ma et al. 2024, "The Era of 1-bit LLMs"; Microsoft's 2B-4T): a transformer whose ternary products take activations rounded
/// to int8 per token. GGUF architectures <c>bitnet-b1.58</c> and <c>bitnet-25</c> (squared ReLU) and the older <c>bitnet</c> (SiLU).
/// </summary>
/// <remarks>Matrices of other types are multiplied without rounding, so a file may mix them; embeddings and output always are.</remarks>
public sealed unsafe class BitNet : LanguageModel
{
    private readonly Config _config;
    private readonly List<Block> _blocks = [];
    private readonly WeightMatrix _embedding;
    private readonly WeightMatrix _output;
    private readonly float* _outputNorm;
    private readonly RotaryEmbedding _rotary;
    private readonly WeightVectors _vectors;
    private readonly LookupCopies _copies;
    private readonly KvCache _cache;
    private readonly Workspace _workspace = new();
    private readonly NativeBuffer<float> _sinkAngles; // [2][hd / 2] cosine and sine of the last place that is in sight together with sinks
    private readonly List<TernaryProduct> _together = [];
    private QuantizedRows _quantized;

    private readonly Ops.RowWork _angleRow;
    private readonly Ops.RowWork _attentionNormRow;
    private readonly Ops.RowWork _storeRow;
    private readonly Ops.RowWork _attendItem;
    private readonly Ops.RowWork _subNormRow;
    private readonly Ops.RowWork _addRow;
    private readonly Ops.RowWork _feedForwardNormRow;
    private readonly Ops.RowWork _gateRow;

    // Activations of the present batch, row after row, and the block at work.
    private Batch _batch = null!;
    private int _rows;
    private int _index;
    private Block _block = null!;
    private float* _x;    // [n] residual stream
    private float* _h;    // [n] normed input, block output
    private float* _q;    // [heads][hd]
    private float* _k;    // [kv heads][hd]
    private float* _v;    // [kv heads][hd]
    private float* _o;    // [heads][hd] attention output
    private float* _gate; // [ff]
    private float* _up;   // [ff]
    private float* _cos;  // [hd / 2]
    private float* _sin;  // [hd / 2]

    internal BitNet(GgufFile file, ModelParts parts)
        : base(parts)
    {
        _config = Config.Read(file, parts.Info);
        var n = _config.EmbeddingLength;
        _vectors = new(file);
        _embedding = file.Matrix("token_embd.weight", Info.VocabularySize, n);
        _output = file.TryMatrix("output.weight", Info.VocabularySize, n, out var output) ? output : _embedding;
        _outputNorm = _vectors.Load("output_norm.weight", n);
        _copies = new(file, Ops, parts.Options.Ternary);
        for (var i = 0; i < _config.BlockCount; i++)
        {
            _blocks.Add(new(file, _vectors, $"blk.{i}.", _config, _copies));
        }

        _rotary = RotaryEmbedding.Read(file, _config.HeadSize, Info.ContextLength, Info.Window > 0);
        _cache = new(Info, _config.HeadCount, _config.HeadCountKv, _config.HeadSize, parts.Options.KvType, variant => ModelFingerprint.Of(file, variant));
        _sinkAngles = new(_config.HeadSize);
        _rotary.Write(Math.Max(0, Info.Sinks + Info.Window - 1), _sinkAngles.Pointer, _sinkAngles.Pointer + _rotary.Pairs);
        _quantized = new(1, Math.Max(n, _config.FeedForwardLength));
        _angleRow = AngleRow;
        _attentionNormRow = t => NormRow(t, _block.AttnNorm);
        _storeRow = StoreRow;
        _attendItem = AttendItem;
        _subNormRow = t => Kernels.RmsNorm(_o + ((long)t * n), _block.AttnSubNorm, _config.RmsEpsilon, n, _o + ((long)t * n));
        _addRow = t => Kernels.Add(_x + ((long)t * n), _h + ((long)t * n), n);
        _feedForwardNormRow = t => NormRow(t, _block.FfnNorm);
        _gateRow = GateRow;
    }

    /// <inheritdoc/>
    public override Session CreateSession() => new KvSession(this, _cache);

    /// <inheritdoc/>
    public override Session LoadSession(Stream source) => KvSession.Load(this, _cache, source);

    private protected override void Compute(Batch batch)
    {
        Begin(batch);
        Embed(batch, _embedding, _x);
        Ops.ForEach(_rows, _angleRow);
        for (_index = 0; _index < _blocks.Count; _index++)
        {
            _block = _blocks[_index];

            Ops.ForEach(_rows, _attentionNormRow);
            Quantize(_h, _config.EmbeddingLength);
            Apply(_h, [new(_block.Q, _q), new(_block.K, _k), new(_block.V, _v)]);
            Ops.ForEach(_rows, _storeRow);
            Ops.ForEach(_cache.RowRanges.Count * _config.HeadCountKv, _attendItem, grain: 1);
            Ops.ForEach(_rows, _subNormRow);
            Quantize(_o, _config.EmbeddingLength);
            Apply(_o, [new(_block.AttnOutput, _h)]);
            Ops.ForEach(_rows, _addRow);

            Ops.ForEach(_rows, _feedForwardNormRow);
            Quantize(_h, _config.EmbeddingLength);
            Apply(_h, [new(_block.Gate, _gate), new(_block.Up, _up)]);
            Ops.ForEach(_rows, _gateRow);
            Quantize(_gate, _config.FeedForwardLength);
            Apply(_gate, [new(_block.Down, _h)]);
            Ops.ForEach(_rows, _addRow);
        }

        var n = _config.EmbeddingLength;
        var wanted = GatherWanted(batch, _x, n, _h);
        for (var t = 0; t < wanted; t++)
        {
            Kernels.RmsNorm(_h + ((long)t * n), _outputNorm, _config.RmsEpsilon, n, _h + ((long)t * n));
        }

        WriteOutputs(batch, _output, _h);
    }

    private protected override void DisposeModel()
    {
        _quantized.Dispose();
        _cache.Dispose();
        _workspace.Dispose();
        _sinkAngles.Dispose();
        _copies.Dispose();
        _vectors.Dispose();
    }

    private void Begin(Batch batch)
    {
        var (n, kv, ff, half) = (_config.EmbeddingLength, _config.HeadCountKv * _config.HeadSize, _config.FeedForwardLength, _config.HeadSize / 2);
        long rows = batch.Count;
        _rows = batch.Count;
        _batch = batch;
        _cache.Plan(batch, KernelSet.AttentionRows(_config.HeadsPerKvHead));
        if (_quantized.Rows < _rows)
        {
            _quantized.Dispose();
            _quantized = new(_rows + (_rows / 2), Math.Max(n, ff));
        }

        _workspace.Begin(rows * ((4 * n) + (2 * kv) + (2 * ff) + (2 * half)), pieces: 10);
        _x = _workspace.Take(rows * n);
        _h = _workspace.Take(rows * n);
        _q = _workspace.Take(rows * n);
        _k = _workspace.Take(rows * kv);
        _v = _workspace.Take(rows * kv);
        _o = _workspace.Take(rows * n);
        _gate = _workspace.Take(rows * ff);
        _up = _workspace.Take(rows * ff);
        _cos = _workspace.Take(rows * half);
        _sin = _workspace.Take(rows * half);
    }

    // One rounding serves all products of the same input.
    private void Quantize(float* x, int columns)
    {
        if (_config.IsTernary)
        {
            Ops.Quantize(x, _rows, columns, _quantized);
        }
    }

    // All products of one input; the ternary ones are one region.
    private void Apply(float* x, ReadOnlySpan<Output> outputs)
    {
        _together.Clear();
        foreach (var output in outputs)
        {
            var projection = output.Projection;
            if (KernelSet.IsTernary(projection.Weight.Format.Type))
            {
                _together.Add(new(projection.Weight, output.Y, projection.Lookup));
            }
            else
            {
                Ops.Linear(projection.Weight, x, _rows, output.Y);
            }
        }

        Ops.TernaryLinear(CollectionsMarshal.AsSpan(_together), _quantized, _rows);
        foreach (var output in outputs)
        {
            var scale = output.Projection.Scale;
            var count = scale != 1 ? (long)_rows * output.Projection.Weight.Rows : 0;
            for (var i = 0L; i < count; i++)
            {
                output.Y[i] *= scale;
            }
        }
    }

    private void NormRow(int t, float* weight)
    {
        var at = (long)t * _config.EmbeddingLength;
        Kernels.RmsNorm(_x + at, weight, _config.RmsEpsilon, _config.EmbeddingLength, _h + at);
    }

    private void AngleRow(int t)
    {
        var at = (long)t * _rotary.Pairs;
        _rotary.Write(_batch.Rows[t].Position, _cos + at, _sin + at);
    }

    private void StoreRow(int t)
    {
        var (n, hd, kvHeads) = (_config.EmbeddingLength, _config.HeadSize, _config.HeadCountKv);
        var cos = _cos + ((long)t * (hd / 2));
        var sin = _sin + ((long)t * (hd / 2));
        var k = _k + ((long)t * kvHeads * hd);
        var v = _v + ((long)t * kvHeads * hd);
        var q = _q + ((long)t * n);
        var view = _cache.View(t, _index);
        if (view.Sinks > 0)
        {
            new Span<float>(q, n).CopyTo(new Span<float>(view.SinkQueries, n));
            Kernels.Rotate(view.SinkQueries, _config.HeadCount, hd, _sinkAngles.Pointer, _sinkAngles.Pointer + (hd / 2));
        }

        Kernels.Rotate(q, _config.HeadCount, hd, cos, sin);
        Kernels.Rotate(k, kvHeads, hd, cos, sin);
        var slot = _cache.Slot(t);
        for (var g = 0; g < kvHeads; g++)
        {
            Kernels.ToCache(k + (g * hd), hd, _cache.Type, view.Key(slot, g));
            Kernels.ToCache(v + (g * hd), hd, _cache.Type, view.Value(slot, g));
        }
    }

    // A stretch of rows and a key/value head; one head after the other, so that its keys and values stay in the caches for the next stretch.
    private void AttendItem(int item)
    {
        var (g, range) = Math.DivRem(item, _cache.RowRanges.Count);
        var (first, count) = _cache.RowRanges[range];
        Span<KvView> views = stackalloc KvView[count];
        for (var i = 0; i < count; i++)
        {
            views[i] = _cache.View(first + i, _index);
        }

        var at = ((long)first * _config.EmbeddingLength) + ((long)g * _config.HeadsPerKvHead * _config.HeadSize);
        Kernels.Attend(views, g, _q + at, _config.EmbeddingLength, _config.HeadsPerKvHead, 1 / MathF.Sqrt(_config.HeadSize), _o + at);
    }

    private void GateRow(int t)
    {
        var ff = _config.FeedForwardLength;
        var gate = _gate + ((long)t * ff);
        if (_config.SquaredRelu)
        {
            Kernels.ReluSquared(gate, ff, gate);
        }
        else
        {
            Kernels.Silu(gate, ff, gate);
        }

        Kernels.Multiply(gate, _up + ((long)t * ff), ff, gate);
        Kernels.RmsNorm(gate, _block.FfnSubNorm, _config.RmsEpsilon, ff, gate);
    }

    /// <summary>Sizes, by their names in GGUF metadata.</summary>
    private sealed record Config(
        int EmbeddingLength,
        int BlockCount,
        int FeedForwardLength,
        int HeadCount,
        int HeadCountKv,
        float RmsEpsilon,
        bool SquaredRelu,
        bool IsTernary)
    {
        public int HeadSize => EmbeddingLength / HeadCount;

        public int HeadsPerKvHead => HeadCount / HeadCountKv;

        public static Config Read(GgufFile file, ModelInfo info)
        {
            var a = file.Architecture;
            var heads = file.Size($"{a}.attention.head_count");
            var config = new Config(
                info.EmbeddingLength,
                info.BlockCount,
                file.Size($"{a}.feed_forward_length"),
                heads,
                file.Size($"{a}.attention.head_count_kv", heads),
                file.Epsilon($"{a}.attention.layer_norm_rms_epsilon"),
                SquaredRelu: a != "bitnet",
                IsTernary: file.Tensors.Values.Any(t => t.Name.StartsWith("blk.", StringComparison.Ordinal) && KernelSet.IsTernary(t.Type)));
            file.RequireMultiple("embedding_length", config.EmbeddingLength, 2 * heads);
            file.RequireMultiple("attention.head_count", heads, config.HeadCountKv);
            if (config.IsTernary)
            {
                file.RequireMultiple("embedding_length", config.EmbeddingLength, 128);
                file.RequireMultiple("feed_forward_length", config.FeedForwardLength, 128);
            }

            var rotated = file.Size($"{a}.rope.dimension_count", config.HeadSize);
            return rotated == config.HeadSize
                ? config
                : throw new ModelFormatException(file.Path, null, null, $"rope.dimension_count of the head size {config.HeadSize}", $"{rotated}");
        }
    }

    /// <summary>A product of a block, and what its result is multiplied by.</summary>
    private readonly record struct Projection(WeightMatrix Weight, float Scale, LookupMatrix? Lookup);

    /// <summary>A product and where its result goes.</summary>
    private readonly struct Output(Projection projection, float* y)
    {
        public readonly Projection Projection = projection;
        public readonly float* Y = y;
    }

    private sealed class Block
    {
        public Block(GgufFile file, WeightVectors vectors, string prefix, Config config, LookupCopies copies)
        {
            var (n, kv, ff) = (config.EmbeddingLength, config.HeadCountKv * config.HeadSize, config.FeedForwardLength);
            AttnNorm = vectors.Load(prefix + "attn_norm.weight", n);
            AttnSubNorm = vectors.Load(prefix + "attn_sub_norm.weight", n);
            FfnNorm = vectors.Load(prefix + "ffn_norm.weight", n);
            FfnSubNorm = vectors.Load(prefix + "ffn_sub_norm.weight", ff);
            Q = Read("attn_q", n, n);
            K = Read("attn_k", kv, n);
            V = Read("attn_v", kv, n);
            AttnOutput = Read("attn_output", n, n);
            Gate = Read("ffn_gate", ff, n);
            Up = Read("ffn_up", ff, n);
            Down = Read("ffn_down", n, ff);

            Projection Read(string name, int rows, int columns)
            {
                var (weight, lookup) = copies.Of(file.Matrix($"{prefix}{name}.weight", rows, columns));
                return new(weight, file.TryVector($"{prefix}{name}.scale", 1, out var scale) ? scale[0] : 1, lookup);
            }
        }

        public float* AttnNorm { get; }
        public float* AttnSubNorm { get; }
        public float* FfnNorm { get; }
        public float* FfnSubNorm { get; }
        public Projection Q { get; }
        public Projection K { get; }
        public Projection V { get; }
        public Projection AttnOutput { get; }
        public Projection Gate { get; }
        public Projection Up { get; }
        public Projection Down { get; }
    }
}
