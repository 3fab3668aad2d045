using System.Buffers;
using System.Globalization;
using System.Text;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>
/// SentencePiece's BPE (Kudo and Richardson 2018), GGUF's <c>llama</c> model: spaces are written U+2581, characters are merged into
/// the token of the highest score, and what is no token is spelled in byte tokens.
/// </summary>
internal sealed class SentencePieceTokenizer : VocabularyTokenizer, ITokenizer
{
    private readonly ByteStringIndex _pieces;
    private readonly ByteStrings _written;
    private readonly uint[] _ranks;
    private readonly int[] _byteTokens = new int[256];
    private readonly int _unknown;
    private readonly bool _spacePrefix;
    private readonly bool _cutsAtSpaces;

    /// <summary>Builds the tables.</summary>
    /// <param name="vocabulary">A checked vocabulary.</param>
    public SentencePieceTokenizer(TokenizerVocabulary vocabulary)
        : base(vocabulary, DecodeTokens(vocabulary), addsBos: true)
    {
        _spacePrefix = vocabulary.AddSpacePrefix ?? true;
        _unknown = vocabulary.UnknownId ?? -1;
        _written = vocabulary.Tokens;
        _pieces = new ByteStringIndex(_written);
        _ranks = new uint[VocabularySize];
        _cutsAtSpaces = true;
        Array.Fill(_byteTokens, -1);
        for (var id = VocabularySize - 1; id >= 0; id--)
        {
            switch (vocabulary.Type(id))
            {
                case TokenType.Byte:
                    _byteTokens[Bytes[id][0]] = id;
                    break;
                case TokenType.Normal or TokenType.UserDefined when !_written[id].IsEmpty:
                    _pieces.Add(id);
                    _ranks[id] = Rank(vocabulary, id);
                    _cutsAtSpaces &= !HasInnerSpace(_written[id]);
                    break;
            }
        }

        if (_unknown < 0 && _byteTokens.Contains(-1))
        {
            throw vocabulary.Error("256 byte tokens or tokenizer.ggml.unknown_token_id, so that every text has tokens", "neither");
        }
    }

    private static ReadOnlySpan<byte> Space => "\u2581"u8;

    /// <inheritdoc/>
    public byte[] Decode(ReadOnlySpan<int> ids)
    {
        var bytes = new ArrayBufferWriter<byte>();
        var afterSpecial = true;
        foreach (var id in ids)
        {
            // The space that encoding put before a text, and again after each special token, is no part of the text.
            var token = TokenBytes(id);
            bytes.Write(_spacePrefix && afterSpecial && !IsSpecial(id) && token.StartsWith(" "u8) ? token[1..] : token);
            afterSpecial = IsSpecial(id);
        }

        return bytes.WrittenSpan.ToArray();
    }

    /// <inheritdoc/>
    protected override void EncodeFragment(ReadOnlySpan<byte> text, bool afterSpecial, List<int> ids)
    {
        var written = WriteSpaces(text, afterSpecial && _spacePrefix);
        for (int start = 0, end; start < written.Length; start = end)
        {
            end = _cutsAtSpaces ? NextWord(written, start) : written.Length;
            EncodeWord(written[start..end], ids);
        }
    }

    private static ReadOnlySpan<byte> WriteSpaces(ReadOnlySpan<byte> text, bool prefix)
    {
        var written = new byte[text.Length + (Space.Length - 1) * text.Count((byte)' ') + (prefix ? Space.Length : 0)];
        var length = 0;
        if (prefix)
        {
            Space.CopyTo(written);
            length = Space.Length;
        }

        foreach (var value in text)
        {
            if (value == ' ')
            {
                Space.CopyTo(written.AsSpan(length));
                length += Space.Length;
            }
            else
            {
                written[length++] = value;
            }
        }

        return written;
    }

    /// <summary>End of the run of spaces and what follows it up to the next space: no token reaches over such an end.</summary>
    private static int NextWord(ReadOnlySpan<byte> written, int start)
    {
        while (written[start..].StartsWith(Space))
        {
            start += Space.Length;
        }

        var length = written[start..].IndexOf(Space);
        return length < 0 ? written.Length : start + length;
    }

    /// <summary>Whether a space follows another character.</summary>
    private static bool HasInnerSpace(ReadOnlySpan<byte> token) => NextWord(token, 0) < token.Length;

    private void EncodeWord(ReadOnlySpan<byte> word, List<int> ids)
    {
        var rented = ArrayPool<Piece>.Shared.Rent(word.Length);
        var count = 0;
        for (int start = 0, size; start < word.Length; start += size)
        {
            if (Rune.DecodeFromUtf8(word[start..], out _, out size) != OperationStatus.Done)
            {
                size = 1;
            }

            rented[count++] = new Piece(start, size, _pieces.Find(word.Slice(start, size)));
        }

        count = PairMerger.Merge(new ScoredPairs(_pieces, _ranks), word, rented.AsSpan(0, count));
        foreach (var (start, length, symbol) in rented.AsSpan(0, count))
        {
            if (symbol >= 0)
            {
                ids.Add(symbol);
                continue;
            }

            foreach (var value in word.Slice(start, length))
            {
                ids.Add(_byteTokens[value] >= 0 ? _byteTokens[value] : _unknown);
            }
        }

        ArrayPool<Piece>.Shared.Return(rented);
    }

    private static ByteStrings DecodeTokens(TokenizerVocabulary vocabulary)
    {
        if (vocabulary.Scores.Length == 0)
        {
            throw vocabulary.Error("tokenizer.ggml.scores, one per token, for model 'llama'", "none");
        }

        var bytes = new ByteStrings(vocabulary.Tokens.Count);
        var buffer = new List<byte>();
        for (var id = 0; id < vocabulary.Tokens.Count; id++)
        {
            var token = vocabulary.Tokens[id];
            switch (vocabulary.Type(id))
            {
                case TokenType.Byte:
                    bytes.Add([ByteValue(vocabulary, id)]);
                    break;
                case TokenType.Normal:
                    buffer.Clear();
                    for (var i = 0; i < token.Length; i++)
                    {
                        var space = token[i..].StartsWith(Space);
                        buffer.Add(space ? (byte)' ' : token[i]);
                        i += space ? Space.Length - 1 : 0;
                    }

                    bytes.Add(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(buffer));
                    break;
                default:
                    bytes.Add(token);
                    break;
            }
        }

        return bytes;
    }

    /// <summary>The byte of a token written <c>&lt;0xHH&gt;</c>.</summary>
    private static byte ByteValue(TokenizerVocabulary vocabulary, int id)
    {
        var token = vocabulary.Tokens[id];
        return token.Length == 6 && token.StartsWith("<0x"u8) && token[5] == '>'
            && byte.TryParse(token.Slice(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value)
            ? value
            : throw vocabulary.Error($"a byte token written <0xHH> at tokenizer.ggml.tokens[{id}]", $"'{Encoding.UTF8.GetString(token)}'");
    }

    /// <summary>A number that is the lower the higher the score is.</summary>
    private static uint Rank(TokenizerVocabulary vocabulary, int id)
    {
        var score = vocabulary.Scores[id];
        if (!float.IsFinite(score))
        {
            throw vocabulary.Error($"a finite number at tokenizer.ggml.scores[{id}]", score.ToString(CultureInfo.InvariantCulture));
        }

        // Bits of floats sort like integers once the order of the negative ones is turned; adding 0 makes -0 into 0.
        var bits = BitConverter.SingleToUInt32Bits(score + 0f);
        return (bits & 0x8000_0000) != 0 ? bits : ~bits & 0x7FFF_FFFF;
    }

    private readonly struct ScoredPairs(ByteStringIndex pieces, uint[] ranks) : IPairRule
    {
        public bool TryJoin(int left, int right, ReadOnlySpan<byte> joined, out uint rank, out int symbol)
        {
            symbol = pieces.Find(joined);
            rank = symbol < 0 ? uint.MaxValue : ranks[symbol];
            return symbol >= 0;
        }
    }
}
