using System.Buffers;
using System.Text;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>Byte-level BPE, GGUF's <c>gpt2</c> model (Radford et al. 2019): words of bytes, merged in the order of a list.</summary>
internal sealed class BytePairTokenizer : VocabularyTokenizer
{
    /// <summary>Pre-tokenisers that split by the rules of Llama-3 and keep a word that is a token whole.</summary>
    private static readonly string[] Llama3Names = ["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon_e"];

    /// <summary>Pre-tokenisers that split by the rules of Qwen2.</summary>
    private static readonly string[] Qwen2Names = ["qwen2"];

    /// <summary>Pre-tokenisers that split by the rules of GPT-2.</summary>
    private static readonly string[] Gpt2Names = ["gpt-2", "mpt", "olmo", "default"];

    private readonly ByteStringIndex _symbols;
    private readonly int[] _byteSymbols = new int[256];
    private readonly Dictionary<SymbolPair, Join> _joins;
    private readonly Rules _rules;

    /// <summary>Builds the tables.</summary>
    /// <param name="vocabulary">A checked vocabulary.</param>
    public BytePairTokenizer(TokenizerVocabulary vocabulary)
        : this(vocabulary, RulesOf(vocabulary))
    {
    }

    private BytePairTokenizer(TokenizerVocabulary vocabulary, Rules rules)
        : base(vocabulary, DecodeTokens(vocabulary, out var symbols), addsBos: rules == Rules.Llama3)
    {
        _rules = rules;
        _symbols = symbols;

        // Symbols of merges are interned among the tokens; one that is no token gets a number after the last id. It may be a step
        // on the way to a token; if a word ends with it, its bytes are output one by one.
        Span<byte> single = stackalloc byte[1];
        for (var value = 0; value < 256; value++)
        {
            single[0] = (byte)value;
            _byteSymbols[value] = Intern(single);
        }

        _joins = ReadMerges(vocabulary);
    }

    /// <inheritdoc/>
    protected override void EncodeFragment(ReadOnlySpan<byte> text, bool afterSpecial, List<int> ids)
    {
        Span<Piece> scratch = stackalloc Piece[PairMerger.ShortWord];
        for (int start = 0, end; start < text.Length; start = end)
        {
            end = _rules switch
            {
                Rules.Llama3 => WordSplitter.NextLlama3(text, start),
                Rules.Qwen2 => WordSplitter.NextQwen2(text, start),
                _ => WordSplitter.NextGpt2(text, start),
            };
            var word = text[start..end];
            if (_rules == Rules.Llama3 && _symbols.Find(word) is >= 0 and var id && id < VocabularySize)
            {
                ids.Add(id);
            }
            else if (word.Length <= scratch.Length)
            {
                EncodeWord(word, scratch[..word.Length], ids);
            }
            else
            {
                var rented = ArrayPool<Piece>.Shared.Rent(word.Length);
                EncodeWord(word, rented.AsSpan(0, word.Length), ids);
                ArrayPool<Piece>.Shared.Return(rented);
            }
        }
    }

    private void EncodeWord(ReadOnlySpan<byte> word, Span<Piece> pieces, List<int> ids)
    {
        for (var i = 0; i < word.Length; i++)
        {
            pieces[i] = new Piece(i, 1, _byteSymbols[word[i]]);
        }

        var count = PairMerger.Merge(new ListedPairs(_joins), word, pieces);
        foreach (var (start, length, symbol) in pieces[..count])
        {
            if (symbol < VocabularySize)
            {
                ids.Add(symbol);
                continue;
            }

            // A byte for which the vocabulary has no token is left out, as in llama.cpp; published vocabularies have all 256.
            foreach (var value in word.Slice(start, length))
            {
                if (_byteSymbols[value] < VocabularySize)
                {
                    ids.Add(_byteSymbols[value]);
                }
            }
        }
    }

    private static Rules RulesOf(TokenizerVocabulary vocabulary)
    {
        if (vocabulary.Pre is null or "default")
        {
            // The published BitNet b1.58 2B4T file has Llama-3's vocabulary and does not name the pre-tokeniser.
            return vocabulary.Architecture.StartsWith("bitnet", StringComparison.Ordinal) ? Rules.Llama3 : Rules.Gpt2;
        }

        return Llama3Names.Contains(vocabulary.Pre) ? Rules.Llama3
            : Qwen2Names.Contains(vocabulary.Pre) ? Rules.Qwen2
            : Gpt2Names.Contains(vocabulary.Pre) ? Rules.Gpt2
            : throw vocabulary.Error(
                $"tokenizer.ggml.pre to be one of {string.Join(", ", Llama3Names.Concat(Qwen2Names).Concat(Gpt2Names))}", $"'{vocabulary.Pre}'");
    }

    private static ByteStrings DecodeTokens(TokenizerVocabulary vocabulary, out ByteStringIndex symbols)
    {
        var tokens = vocabulary.Tokens;
        var bytes = new ByteStrings(tokens.Count);
        var reachable = new bool[tokens.Count];
        var buffer = new byte[256];
        for (var id = 0; id < tokens.Count; id++)
        {
            if (vocabulary.Type(id) != TokenType.Normal)
            {
                bytes.Add(tokens[id]);
                continue;
            }

            buffer = buffer.Length < tokens[id].Length ? new byte[tokens[id].Length * 2] : buffer;
            reachable[id] = ByteAlphabet.Decode(tokens[id], buffer, out var length) && length > 0;
            bytes.Add(buffer.AsSpan(0, length));
        }

        // Text becomes normal tokens only: no spelling of a control token's name gives that token. Of equal strings the last one counts.
        symbols = new ByteStringIndex(bytes);
        for (var id = tokens.Count - 1; id >= 0; id--)
        {
            if (reachable[id])
            {
                symbols.Add(id);
            }
        }

        return bytes;
    }

    private Dictionary<SymbolPair, Join> ReadMerges(TokenizerVocabulary vocabulary)
    {
        var merges = vocabulary.Merges;
        var joins = new Dictionary<SymbolPair, Join>(merges.Count);
        var buffer = new byte[512];
        for (var rank = 0; rank < merges.Count; rank++)
        {
            var line = merges[rank];
            var space = line.Length < 2 ? -1 : line[1..].IndexOf((byte)' ') + 1;
            if (space <= 0 || space == line.Length - 1)
            {
                throw vocabulary.Error($"two symbols with a space between them at tokenizer.ggml.merges[{rank}]", $"'{Encoding.UTF8.GetString(line)}'");
            }

            buffer = buffer.Length < line.Length ? new byte[line.Length * 2] : buffer;
            if (!ByteAlphabet.Decode(line[..space], buffer, out var left) | !ByteAlphabet.Decode(line[(space + 1)..], buffer.AsSpan(left), out var right))
            {
                // No byte is ever written with a character outside the alphabet, so this merge never applies.
                continue;
            }

            var pair = new SymbolPair(Intern(buffer.AsSpan(0, left)), Intern(buffer.AsSpan(left, right)));
            joins[pair] = new Join((uint)rank, Intern(buffer.AsSpan(0, left + right)));
        }

        return joins;
    }

    private int Intern(ReadOnlySpan<byte> bytes)
    {
        var symbol = _symbols.Find(bytes);
        if (symbol < 0)
        {
            symbol = Bytes.Add(bytes);
            _symbols.Add(symbol);
        }

        return symbol;
    }

    /// <summary>Two neighbours. Ids of pairs are anything but evenly spread, so the hash has to mix them well.</summary>
    private readonly record struct SymbolPair(int Left, int Right)
    {
        public override int GetHashCode() => HashCode.Combine(Left, Right);
    }

    /// <summary>What a pair becomes, and when.</summary>
    private readonly record struct Join(uint Rank, int Symbol);

    private readonly struct ListedPairs(Dictionary<SymbolPair, Join> joins) : IPairRule
    {
        public bool TryJoin(int left, int right, ReadOnlySpan<byte> joined, out uint rank, out int symbol)
        {
            var found = joins.TryGetValue(new SymbolPair(left, right), out var join);
            (rank, symbol) = join;
            return found;
        }
    }

    /// <summary>How text is split into words.</summary>
    private enum Rules
    {
        Gpt2,
        Llama3,
        Qwen2,
    }
}
