using System.Diagnostics;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Telemetry;
using RyzenLlm.Engine.Tokenizers;
using RyzenLlm.Kernels;
using RyzenLlm.Kernels.Formats;

namespace RyzenLlm.Engine.Models;

/// <summary>What a loaded model is, in the terms of its file.</summary>
/// <param name="Name">Name from the file, or the file's name.</param>
/// <param name="Path">File or folder it was loaded from.</param>
/// <param name="Architecture">GGUF architecture name (bitnet-b1.58, mamba, rwkv7, ...).</param>
/// <param name="VocabularySize">Rows of the output matrix; every logits row has this length.</param>
/// <param name="ContextLength">Tokens the model was trained on at once; recurrent models go on beyond it.</param>
/// <param name="EmbeddingLength">Model width n.</param>
/// <param name="BlockCount">Blocks (layers).</param>
/// <param name="ParameterCount">Weights in all tensors.</param>
/// <param name="IsRecurrent">True where the state has constant size and a rewind needs a mark.</param>
/// <param name="ChatTemplate">Chat template as the file states it (<c>tokenizer.chat_template</c>), or null.</param>
/// <param name="Pooling">How the file says that texts are embedded (<c>pooling_type</c>), or null.</param>
/// <param name="ClosingToken">Token that closes a text to be embedded (EOS where <c>tokenizer.ggml.add_eos_token</c> is set), or null.</param>
/// <param name="Window">Latest tokens that a token of a transformer sees, itself included, and <paramref name="Sinks"/>; 0: it sees all.</param>
/// <param name="Sinks">First tokens of a sequence that stay in sight beside the window.</param>
public sealed record ModelInfo(
    string Name,
    string Path,
    string Architecture,
    int VocabularySize,
    int ContextLength,
    int EmbeddingLength,
    int BlockCount,
    long ParameterCount,
    bool IsRecurrent,
    string? ChatTemplate = null,
    Pooling? Pooling = null,
    int? ClosingToken = null,
    int Window = 0,
    int Sinks = 0)
{
    // A bound for what is never reached, far from where sums of positions would overflow.
    private const int Endless = 1 << 30;

    /// <summary>Whether sequences go on beyond <see cref="ContextLength"/>: those of recurrent models, and those that are seen through a window.</summary>
    public bool IsUnbounded => IsRecurrent || Window > 0;

    /// <summary>Tokens that a sequence may have.</summary>
    public int LongestSequence => IsUnbounded ? Endless : ContextLength;

    /// <summary>Whether the state after that many tokens is as large as after more, and is saved in one piece.</summary>
    internal bool HasFullState(int position) => IsRecurrent || (Window > 0 && position >= Window + Sinks);
}

/// <summary>What every architecture is built from besides its own weights.</summary>
/// <param name="Info">Description read from the file.</param>
/// <param name="Tokenizer">Vocabulary, or null where the file has none.</param>
/// <param name="File">Where the weights are; the model disposes of it.</param>
/// <param name="Ops">Kernels and threads; the model disposes of them.</param>
/// <param name="Options">How to run it.</param>
internal sealed record ModelParts(ModelInfo Info, ITokenizer? Tokenizer, TensorFile File, Ops Ops, LoadOptions Options);

/// <summary>
/// A network with its weights: advances sequences and writes logits or hidden states. No sampling, no text, no allocation per call once its buffers have grown
/// to the largest batch seen.
/// </summary>
/// <remarks>One call at a time: a model belongs to one thread (its scheduler's).</remarks>
public abstract unsafe class LanguageModel : IDisposable
{
    // A smaller head lies in the caches, where the bytes of the full product cost little.
    private const long LargeHead = 64L << 20;

    // A smaller head is read before candidates are found: some 0.2 ms.
    private const long LargeDraftHead = 8L << 20;

    private readonly TensorFile _file;
    private readonly HeadProduct _headProduct;
    private TwoStageHead? _head;
    private WeightMatrix? _headMatrix; // the embedding too, where the file has no other
    private CandidateHead? _candidates;
    private int _openSessions;
    private bool _disposed;

    // The rows that are being embedded.
    private readonly Ops.RowWork _embedRow;
    private Batch? _embedded;
    private WeightMatrix? _embedding;
    private float* _embeddings;

    private protected LanguageModel(ModelParts parts)
    {
        Info = parts.Info;
        Tokenizer = parts.Tokenizer;
        Ops = parts.Ops;
        _file = parts.File;
        _headProduct = parts.Options.Head;
        _embedRow = EmbedRow;
    }

    /// <summary>What this model is.</summary>
    public ModelInfo Info { get; }

    /// <summary>Its vocabulary; null for files without one (ids only).</summary>
    public ITokenizer? Tokenizer { get; }

    /// <summary>Kernels and threads it runs on.</summary>
    public Ops Ops { get; }

    /// <summary>The two-stage output head, once it was used.</summary>
    internal TwoStageHead? Head => _head;

    /// <summary>Bytes of its file.</summary>
    internal long FileBytes => _file.Length;

    private protected KernelSet Kernels => Ops.Kernels;

    /// <summary>Sessions that exist and were not disposed of.</summary>
    public int OpenSessions => Volatile.Read(ref _openSessions);

    /// <summary>A fresh sequence at position 0.</summary>
    public abstract Session CreateSession();

    /// <summary>Bytes that a sequence takes when it has that many tokens. From any thread.</summary>
    public long SessionBytes(int tokens)
    {
        using var session = CreateSession();
        return session.BytesAt(tokens);
    }

    /// <summary>Restores a sequence written by <see cref="Session.Save"/> for the same model.</summary>
    /// <exception cref="InvalidDataException">The data is damaged, of another version, or belongs to another model.</exception>
    public abstract Session LoadSession(Stream source);

    /// <summary>
    /// Advances every sequence in the batch by its rows and writes logits, or hidden states, for the rows that ask. Rows of a session that form one chain
    /// from its head are taken over at once; after a tree, <see cref="Session.Accept"/> says which path stays.
    /// </summary>
    /// <exception cref="ArgumentException">A row's token is outside the vocabulary, or its session belongs to another model. Nothing was computed.</exception>
    /// <exception cref="InvalidOperationException">The batch was computed already.</exception>
    /// <remarks>After any other error the sessions of the batch have lost their state: dispose of them.</remarks>
    public void Forward(Batch batch)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        batch.Begin(this);
        if (batch.Count > 0)
        {
            var started = Stopwatch.GetTimestamp();
            try
            {
                Compute(batch);
            }
            catch
            {
                batch.Fail();
                throw;
            }

            batch.Complete();
            batch.Seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        }
    }

    /// <summary>Ends the threads and frees buffers; sessions of this model are no longer of use.</summary>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            Instruments.Resident(this, -1);
            Ops.Dispose();
            _head?.Dispose();
            _candidates?.Dispose();
            DisposeModel();
            _file.Dispose();
        }

        GC.SuppressFinalize(this);
    }

    /// <summary>Counts a session that came, or went.</summary>
    internal void CountSession(int change) => Interlocked.Add(ref _openSessions, change);

    /// <summary>Computes all rows: states of sessions move to uncommitted positions, what rows ask for goes to the batch.</summary>
    private protected abstract void Compute(Batch batch);

    /// <summary>Frees what the architecture owns.</summary>
    private protected abstract void DisposeModel();

    /// <summary>Writes the embedding of every row's token to x, [rows][n].</summary>
    private protected void Embed(Batch batch, WeightMatrix embedding, float* x)
    {
        (_embedded, _embedding) = (batch, embedding);
        _embeddings = x;
        Ops.ForEach(batch.Count, _embedRow);
        _embedded = null;
        for (var t = 0; t < batch.Count && _head is not null && embedding == _headMatrix; t++)
        {
            _head.Touch(batch.Rows[t].Token);
        }
    }

    private void EmbedRow(int t)
    {
        var n = _embedding!.Columns;
        _embedding.DecodeRow(_embedded!.Rows[t].Token, new Span<float>(_embeddings + ((long)t * n), n));
    }

    /// <summary>Copies the rows of which something is wanted from x to y, those with logits first, and returns their number.</summary>
    private protected static int GatherWanted(Batch batch, float* x, int n, float* y)
    {
        for (var t = 0; t < batch.Count; t++)
        {
            var row = batch.Rows[t];
            var wanted = row.HiddenRow >= 0 ? batch.LogitsCount + row.HiddenRow : row.LogitsRow;
            if (wanted >= 0)
            {
                new Span<float>(x + ((long)t * n), n).CopyTo(new Span<float>(y + ((long)wanted * n), n));
            }
        }

        return batch.LogitsCount + batch.HiddenCount;
    }

    /// <summary>
    /// What the gathered and normed rows asked for: hidden states as they are; logits, from fewer bytes where only the largest are wanted, or guesses do.
    /// </summary>
    private protected void WriteOutputs(Batch batch, WeightMatrix output, float* y)
    {
        var n = Info.EmbeddingLength;
        for (var i = 0; i < batch.HiddenCount; i++)
        {
            new Span<float>(y + ((long)(batch.LogitsCount + i) * n), n).CopyTo(batch.HiddenRow(i));
        }

        if (batch.LogitsCount == 0)
        {
            return;
        }

        if (UsesCandidates(output) && CandidateHead.Pays(output, batch.Tops))
        {
            _candidates ??= new CandidateHead(output, Ops);
            _candidates.Multiply(y, batch.Tops, batch.LogitsRow(0));
            return;
        }

        if (!UsesTwoStages(output) || !WantsFew(batch.Tops))
        {
            Ops.Linear(output, y, batch.LogitsCount, batch.LogitsRow(0));
            return;
        }

        if (_head is null)
        {
            (_head, _headMatrix) = (new(output, Ops), output);
        }

        _head.Multiply(y, batch.Tops, batch.LogitsRow(0));
    }

    private bool UsesTwoStages(WeightMatrix output) => _headProduct switch
    {
        HeadProduct.Full or HeadProduct.Candidates or HeadProduct.Draft => false,
        HeadProduct.TwoStage => TwoStageHead.Pays(output.Format.Type),
        _ => TwoStageHead.Pays(output.Format.Type) && output.Bytes >= LargeHead,
    };

    private bool UsesCandidates(WeightMatrix output) => _headProduct switch
    {
        HeadProduct.Candidates => CandidateHead.Fits(output),
        HeadProduct.Draft => CandidateHead.Fits(output) && output.Bytes >= LargeDraftHead,
        _ => false,
    };

    private static bool WantsFew(ReadOnlySpan<TopRows> tops)
    {
        foreach (var top in tops)
        {
            if (top.Count is 0 or > TwoStageHead.MaxTop)
            {
                return false;
            }
        }

        return tops.Length <= TwoStageHead.MaxRows;
    }
}
