using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Tokenizers;
using RyzenLlm.Kernels;

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
public sealed record ModelInfo(
    string Name,
    string Path,
    string Architecture,
    int VocabularySize,
    int ContextLength,
    int EmbeddingLength,
    int BlockCount,
    long ParameterCount,
    bool IsRecurrent);

/// <summary>
/// A network with its weights: advances sequences and writes logits. No sampling, no text, no allocation per call once its buffers have grown
/// to the largest batch seen.
/// </summary>
/// <remarks>One call at a time: a model belongs to one thread (its scheduler's).</remarks>
public abstract class LanguageModel : IDisposable
{
    private protected LanguageModel(ModelInfo info, ITokenizer? tokenizer, Ops ops)
    {
        Info = info;
        Tokenizer = tokenizer;
        Ops = ops;
    }

    /// <summary>What this model is.</summary>
    public ModelInfo Info { get; }

    /// <summary>Its vocabulary; null for files without one (ids only).</summary>
    public ITokenizer? Tokenizer { get; }

    /// <summary>Kernels and threads it runs on.</summary>
    public Ops Ops { get; }

    /// <summary>A fresh sequence at position 0.</summary>
    public abstract Session CreateSession();

    /// <summary>Restores a sequence written by <see cref="Session.Save"/> for the same model.</summary>
    /// <exception cref="InvalidDataException">The data is damaged, of another version, or belongs to another model.</exception>
    public abstract Session LoadSession(Stream source);

    /// <summary>
    /// Advances every sequence in the batch by its rows and writes logits for the rows that ask. Rows of a session that form one chain
    /// from its head are taken over at once; after a tree, <see cref="Session.Accept"/> says which path stays.
    /// </summary>
    /// <exception cref="ArgumentException">A row's token is outside the vocabulary, or its session belongs to another model or is full.</exception>
    public void Forward(Batch batch)
    {
        batch.Begin(this);
        if (batch.Count > 0)
        {
            Compute(batch);
            batch.Complete();
        }
    }

    /// <inheritdoc/>
    public abstract void Dispose();

    /// <summary>Computes all rows: states of sessions move to uncommitted positions, logits go to <see cref="Batch.LogitsRow"/>.</summary>
    private protected abstract void Compute(Batch batch);
}
