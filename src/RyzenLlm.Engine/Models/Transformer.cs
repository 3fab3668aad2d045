using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;
using RyzenLlm.Kernels.Memory;

namespace RyzenLlm.Engine.Models;

/// <summary>
/// The decoder of Llama (Touvron et al. 2023), Qwen3 (Yang et al. 2025) and Gemma 3 (Gemma Team 2025): GGUF architectures <c>llama</c>, <c>qwen3</c> and <c>gemma3</c>.
/// Ternary matrices take int8 activations as in BitNet b1.58; where the file has a norm for the input of each product (<c>*_norm_in</c>, as the BitNet embedding
/// models do), it comes first.
/// </summary>
/// <remarks>
/// Qwen3 and Gemma 3 norm every query and key head. Gemma 3 multiplies embeddings by the root of the width, norms what attention and feed-forward add, takes GELU for
/// the gate, and where the file names a window, lets five of six blocks see no further back.
/// </remarks>
public sealed unsafe class Transformer : LanguageModel
{
    private readonly TransformerConfig _config;
    private readonly List<TransformerBlock> _blocks = [];
    private readonly WeightMatrix _embedding;
    private readonly WeightMatrix _output;
    private readonly float* _outputNorm;
    private readonly RotaryEmbedding _rotary;
    private readonly RotaryEmbedding? _localRotary;
    private readonly WeightVectors _vectors;
    private readonly LookupCopies _copies;
    private readonly KvCache _cache;
    private readonly Workspace _workspace = new();
    private readonly NativeBuffer<float> _sinkAngles; // [2][hd / 2] cosine and sine of the last place that is in sight together with sinks
    private QuantizedRows _quantized;
    private NativeBuffer<int> _windows = new(0); // slots that a row sees in a local block, [rows][window]

    private readonly Ops.RowWork _angleRow;
    private readonly Ops.RowWork _normRow;
    private readonly Ops.RowWork _inputRow;
    private readonly Ops.RowWork _storeRow;
    private readonly Ops.RowWork _attendItem;
    private readonly Ops.RowWork _gateRow;
    private readonly Ops.RowWork _addRow;

    // Activations of the present batch, row after row, and what is at work.
    private Batch _batch = null!;
    private int _rows;
    private int _index;
    private TransformerBlock _block = null!;
    private float* _x;      // [n] residual stream
    private float* _h;      // [n] normed input, block output
    private float* _input;  // input of a product, normed for it
    private float* _q;      // [heads][hd]
    private float* _k;      // [kv heads][hd]
    private float* _v;      // [kv heads][hd]
    private float* _o;      // [heads][hd] attention output
    private float* _gate;   // [ff]
    private float* _up;     // [ff]
    private float* _angles; // [4][hd / 2] cosine and sine, then those of local blocks
    private float* _from;   // input of the norm at work, [columns]
    private float* _weight; // its weights, or those of the norm of an output
    private int _columns;

    internal Transformer(GgufFile file, ModelParts parts)
        : base(parts)
    {
        _config = TransformerConfig.Read(file, parts.Info);
        var n = _config.EmbeddingLength;
        _vectors = new(file);
        _copies = new(file, Ops, parts.Options.Ternary);
        _embedding = file.Matrix("token_embd.weight", Info.VocabularySize, n);
        _output = file.TryMatrix("output.weight", Info.VocabularySize, n, out var output) ? output : _embedding;
        _outputNorm = _vectors.Load("output_norm.weight", n);
        for (var i = 0; i < _config.BlockCount; i++)
        {
            _blocks.Add(new(file, _vectors, $"blk.{i}.", _config, _copies));
        }

        _rotary = RotaryEmbedding.Read(file, _config.HeadSize, Info.ContextLength, Info.Window > 0);
        _localRotary = _config.Window > 0 ? RotaryEmbedding.Plain(_config.HeadSize, _config.LocalFreqBase) : null;
        _cache = new(Info, _config.HeadCount, _config.HeadCountKv, _config.HeadSize, parts.Options.KvType, variant => ModelFingerprint.Of(file, variant));
        _sinkAngles = new(_config.HeadSize);
        _rotary.Write(Math.Max(0, Info.Sinks + Info.Window - 1), _sinkAngles.Pointer, _sinkAngles.Pointer + _rotary.Pairs);
        _quantized = new(1, _config.Widest);
        _angleRow = AngleRow;
        _normRow = t => Kernels.RmsNorm(_x + ((long)t * n), _weight, _config.RmsEpsilon, n, _h + ((long)t * n));
        _inputRow = t => Kernels.RmsNorm(_from + ((long)t * _columns), _weight, _config.RmsEpsilon, _columns, _input + ((long)t * _columns));
        _storeRow = StoreRow;
        _attendItem = AttendItem;
        _gateRow = GateRow;
        _addRow = AddRow;
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
            Norm(_block.AttnNorm);
            var shared = Apply(_block.Q, _h, _q, null);
            shared = Apply(_block.K, _h, _k, shared);
            Apply(_block.V, _h, _v, shared);
            Ops.ForEach(_rows, _storeRow);
            Ops.ForEach(_cache.RowRanges.Count * _config.HeadCountKv, _attendItem, grain: 1);
            Apply(_block.AttnOutput, _o, _h, null);
            Add(_block.PostAttentionNorm);

            Norm(_block.FfnNorm);
            shared = Apply(_block.Gate, _h, _gate, null);
            Apply(_block.Up, _h, _up, shared);
            Ops.ForEach(_rows, _gateRow);
            Apply(_block.Down, _gate, _h, null);
            Add(_block.PostFeedForwardNorm);
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
        _windows.Dispose();
        _copies.Dispose();
        _vectors.Dispose();
    }

    private void Begin(Batch batch)
    {
        var (n, qn, kv, ff, half) = (_config.EmbeddingLength, _config.QueryLength, _config.HeadCountKv * _config.HeadSize, _config.FeedForwardLength, _config.HeadSize / 2);
        long rows = batch.Count;
        _rows = batch.Count;
        _batch = batch;
        _cache.Plan(batch, KernelSet.AttentionRows(_config.HeadsPerKvHead));
        PlanWindows();
        if (_quantized.Rows < _rows)
        {
            _quantized.Dispose();
            _quantized = new(_rows + (_rows / 2), _config.Widest);
        }

        _workspace.Begin(rows * ((2 * n) + _config.Widest + (2 * qn) + (2 * kv) + (2 * ff) + (4 * half)), pieces: 10);
        _x = _workspace.Take(rows * n);
        _h = _workspace.Take(rows * n);
        _input = _workspace.Take(rows * _config.Widest);
        _q = _workspace.Take(rows * qn);
        _k = _workspace.Take(rows * kv);
        _v = _workspace.Take(rows * kv);
        _o = _workspace.Take(rows * qn);
        _gate = _workspace.Take(rows * ff);
        _up = _workspace.Take(rows * ff);
        _angles = _workspace.Take(rows * 4 * half);
    }

    private void Norm(float* weight)
    {
        _weight = weight;
        Ops.ForEach(_rows, _normRow);
    }

    private void Add(float* norm)
    {
        _weight = norm;
        Ops.ForEach(_rows, _addRow);
    }

    // A product with its own norm for the input, where it has one. Says whether x itself was rounded to int8, so that the next product of it need not do so again.
    private bool Apply(in TransformerBlock.Projection projection, float* x, float* y, bool? rounded)
    {
        var own = projection.InputNorm != null;
        if (own)
        {
            _from = x;
            _weight = projection.InputNorm;
            _columns = projection.Weight.Columns;
            Ops.ForEach(_rows, _inputRow);
            x = _input;
        }

        if (!KernelSet.IsTernary(projection.Weight.Format.Type))
        {
            Ops.Linear(projection.Weight, x, _rows, y);
            return rounded == true;
        }

        if (own || rounded != true)
        {
            Ops.Quantize(x, _rows, projection.Weight.Columns, _quantized);
        }

        Ops.TernaryLinear([new(projection.Weight, y, projection.Lookup)], _quantized, _rows);
        return !own;
    }

    private void AngleRow(int t)
    {
        var half = _rotary.Pairs;
        var at = _angles + (4L * t * half);
        var position = _batch.Rows[t].Position;
        _rotary.Write(position, at, at + half);
        _localRotary?.Write(position, at + (2 * half), at + (3 * half));
        if (_config.EmbeddingScale != 1)
        {
            var x = new Span<float>(_x + ((long)t * _config.EmbeddingLength), _config.EmbeddingLength);
            foreach (ref var value in x)
            {
                value *= _config.EmbeddingScale;
            }
        }
    }

    private void StoreRow(int t)
    {
        var (hd, kvHeads) = (_config.HeadSize, _config.HeadCountKv);
        var cos = _angles + (4L * t * (hd / 2)) + (_config.IsLocal(_index) ? hd : 0);
        var sin = cos + (hd / 2);
        var q = _q + ((long)t * _config.QueryLength);
        var k = _k + ((long)t * kvHeads * hd);
        var v = _v + ((long)t * kvHeads * hd);
        PrepareHeads(q, _config.HeadCount, _block.QNorm);
        PrepareHeads(k, kvHeads, _block.KNorm);
        var view = View(t);
        if (view.Sinks > 0)
        {
            new Span<float>(q, _config.QueryLength).CopyTo(new Span<float>(view.SinkQueries, _config.QueryLength));
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

    // Norms the heads. Where the file's rotation turns neighbours (2d, 2d + 1), its elements change places to be turned as (d, d + hd / 2): dot products stay.
    private void PrepareHeads(float* heads, int count, float* norm)
    {
        var hd = _config.HeadSize;
        Span<float> pairs = stackalloc float[_config.InterleavedRope ? hd : 0];
        for (var j = 0; j < count; j++)
        {
            var head = heads + (j * hd);
            if (norm != null)
            {
                Kernels.RmsNorm(head, norm, _config.RmsEpsilon, hd, head);
            }

            if (_config.InterleavedRope)
            {
                new Span<float>(head, hd).CopyTo(pairs);
                for (var d = 0; d < hd / 2; d++)
                {
                    head[d] = pairs[2 * d];
                    head[d + (hd / 2)] = pairs[(2 * d) + 1];
                }
            }
        }
    }

    private void GateRow(int t)
    {
        var ff = _config.FeedForwardLength;
        var gate = _gate + ((long)t * ff);
        var up = _up + ((long)t * ff);
        if (_config.Gelu)
        {
            // x / 2 (1 + tanh u) = x sigmoid(2 u), with u = sqrt(2 / pi) (x + 0.044715 x^3).
            const float twice = 1.5957691216f;
            var inner = _input + ((long)t * _config.Widest);
            for (var i = 0; i < ff; i++)
            {
                inner[i] = twice * (gate[i] + (0.044715f * gate[i] * gate[i] * gate[i]));
            }

            Kernels.Sigmoid(inner, ff, inner);
            Kernels.Multiply(gate, inner, ff, gate);
        }
        else
        {
            Kernels.Silu(gate, ff, gate);
        }

        Kernels.Multiply(gate, up, ff, gate);
    }

    private void AddRow(int t)
    {
        var n = _config.EmbeddingLength;
        var h = _h + ((long)t * n);
        if (_weight != null)
        {
            Kernels.RmsNorm(h, _weight, _config.RmsEpsilon, n, h);
        }

        Kernels.Add(_x + ((long)t * n), h, n);
    }

    // Which slots rows see in local blocks, where they do not see all.
    private void PlanWindows()
    {
        var window = _config.Window;
        if (window == 0 || _cache.LongestView <= window)
        {
            return;
        }

        if (_windows.Length < (long)_rows * window)
        {
            _windows.Dispose();
            _windows = new((long)_rows * window * 2);
        }

        for (var t = 0; t < _rows; t++)
        {
            var view = _cache.View(t, 0);
            for (var (p, i) = (Math.Max(0, view.Count - window), 0); p < view.Count; p++, i++)
            {
                _windows.Pointer[((long)t * window) + i] = view.Slot(p);
            }
        }
    }

    private KvView View(int t)
    {
        var view = _cache.View(t, _index);
        if (_config.IsLocal(_index) && view.Count > _config.Window)
        {
            view.Prefix = 0;
            view.Sinks = 0;
            view.Tail = _windows.Pointer + ((long)t * _config.Window);
            view.TailCount = _config.Window;
        }

        return view;
    }

    // A stretch of rows and a key/value head; one head after the other, so that its keys and values stay in the caches for the next stretch.
    private void AttendItem(int item)
    {
        var (g, range) = Math.DivRem(item, _cache.RowRanges.Count);
        var (first, count) = _cache.RowRanges[range];
        Span<KvView> views = stackalloc KvView[count];
        for (var i = 0; i < count; i++)
        {
            views[i] = View(first + i);
        }

        var at = ((long)first * _config.QueryLength) + ((long)g * _config.HeadsPerKvHead * _config.HeadSize);
        Kernels.Attend(views, g, _q + at, _config.QueryLength, _config.HeadsPerKvHead, _config.AttentionScale, _o + at);
    }
}
