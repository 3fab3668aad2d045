using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Frozen;
using System.Security.Cryptography;
using System.Text;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>What the tokenizers share: the token table, special tokens and the way from text to ranges without special tokens.</summary>
/// <remarks>
/// The algorithms are written here rather than taken from Microsoft.ML.Tokenizers, which serves the tests as an independent check.
/// Found with version 2.0.1 on the published vocabularies: its BpeTokenizer lacks Llama-3's rule that a word which is a token stays
/// whole, takes time quadratic in the length of a word, and writes lone surrogates as bytes that are no UTF-8; its LlamaTokenizer
/// breaks ties between equal scores otherwise than the published ids; it has no RWKV trie; and none of them takes bytes.
/// </remarks>
internal abstract class VocabularyTokenizer : ITokenizer
{
    /// <summary>Names by which published vocabularies call the token that ends a turn, for files without <c>eot_token_id</c>.</summary>
    private static readonly string[] EndOfTurnNames = ["<|eot_id|>", "<|im_end|>", "<|end_of_turn|>", "<end_of_turn>", "<|end|>"];

    private readonly TokenizerVocabulary _vocabulary;
    private readonly SpecialTokens _special;
    private readonly Lazy<string> _fingerprint;

    /// <param name="vocabulary">A checked vocabulary.</param>
    /// <param name="tokenBytes">Bytes of each token; may go on after the last id.</param>
    /// <param name="addsBos">Whether BOS is usual for this kind of model.</param>
    protected VocabularyTokenizer(TokenizerVocabulary vocabulary, ByteStrings tokenBytes, bool addsBos)
    {
        _vocabulary = vocabulary;
        _special = new SpecialTokens(vocabulary);
        Bytes = tokenBytes;
        AddBos = vocabulary.BosId is not null && (vocabulary.AddBos ?? addsBos);
        var eos = new List<int>();
        if (vocabulary.EosId is { } end)
        {
            eos.Add(end);
        }

        if (vocabulary.EotId is { } turn)
        {
            eos.Add(turn);
        }
        else
        {
            eos.AddRange(EndOfTurnNames.Select(_special.Find).OfType<int>().Where(id => vocabulary.Type(id) == TokenType.Control));
        }

        EosIds = eos.ToFrozenSet();
        _fingerprint = new Lazy<string>(ComputeFingerprint);
    }

    /// <inheritdoc/>
    public int VocabularySize => _vocabulary.Tokens.Count;

    /// <inheritdoc/>
    public int? BosId => _vocabulary.BosId;

    /// <inheritdoc/>
    public IReadOnlySet<int> EosIds { get; }

    /// <inheritdoc/>
    public bool AddBos { get; }

    /// <inheritdoc/>
    public string Fingerprint => _fingerprint.Value;

    /// <summary>Bytes of every token.</summary>
    protected ByteStrings Bytes { get; }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> TokenBytes(int id)
    {
        CheckId(id);
        return Bytes[id];
    }

    /// <inheritdoc/>
    public bool IsSpecial(int id)
    {
        CheckId(id);
        return _vocabulary.Type(id) is TokenType.Control or TokenType.Unknown or TokenType.Unused;
    }

    /// <inheritdoc/>
    public int? FindSpecial(string text) => _special.Find(text);

    /// <inheritdoc/>
    public int[] Encode(string text, bool addBos, bool parseSpecial)
    {
        var size = Encoding.UTF8.GetByteCount(text);
        var rented = ArrayPool<byte>.Shared.Rent(size);
        try
        {
            Encoding.UTF8.GetBytes(text, rented);
            return Encode(rented.AsSpan(0, size), addBos, parseSpecial);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented, clearArray: true);
        }
    }

    /// <inheritdoc/>
    public int[] Encode(ReadOnlySpan<byte> text, bool addBos, bool parseSpecial)
    {
        var ids = new List<int>(text.Length / 3 + 4);
        if (addBos && BosId is { } bos)
        {
            ids.Add(bos);
        }

        var afterSpecial = true;
        foreach (var fragment in _special.Cut(text, parseSpecial))
        {
            if (fragment.Id >= 0)
            {
                ids.Add(fragment.Id);
            }
            else
            {
                EncodeFragment(text.Slice(fragment.Start, fragment.Length), afterSpecial, ids);
            }

            afterSpecial = fragment.Id >= 0;
        }

        return [.. ids];
    }

    /// <summary>Appends the ids of a range in which no special token is to be found.</summary>
    /// <param name="text">At least one byte.</param>
    /// <param name="afterSpecial">Whether it begins the text or follows a special token.</param>
    /// <param name="ids">Receives the ids.</param>
    protected abstract void EncodeFragment(ReadOnlySpan<byte> text, bool afterSpecial, List<int> ids);

    private void CheckId(int id)
    {
        if ((uint)id >= (uint)VocabularySize)
        {
            throw new ArgumentOutOfRangeException(nameof(id), id, $"Token ids of this vocabulary are 0 to {VocabularySize - 1}.");
        }
    }

    // Only what an id means when it is decoded: how text is cut matters to the one tokenizer that encodes the prompt.
    private string ComputeFingerprint()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Span<byte> header = stackalloc byte[5];
        for (var id = 0; id < VocabularySize; id++)
        {
            header[0] = IsSpecial(id) ? (byte)1 : (byte)0;
            BinaryPrimitives.WriteInt32LittleEndian(header[1..], Bytes[id].Length);
            hash.AppendData(header);
            hash.AppendData(Bytes[id]);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
