using System.Globalization;
using System.Text;

namespace RyzenLlm.Engine.Tokenizers;

/// <summary>The RWKV World tokenizer: at each byte the longest token that matches. Takes and gives any bytes.</summary>
internal sealed class RwkvTokenizer : VocabularyTokenizer
{
    private const int Root = 0;

    /// <summary>Trie: (node, byte) to the node below it.</summary>
    private readonly Dictionary<long, int> _children = [];

    /// <summary>Token that ends at a node, or -1.</summary>
    private readonly List<int> _tokens = [-1];

    /// <summary>Builds the trie.</summary>
    /// <param name="vocabulary">A checked vocabulary, tokens written with escapes.</param>
    public RwkvTokenizer(TokenizerVocabulary vocabulary)
        : base(WithoutMatching(vocabulary), Unescape(vocabulary), addsBos: false)
    {
        for (var id = 0; id < VocabularySize; id++)
        {
            if (vocabulary.Type(id) is TokenType.Normal or TokenType.UserDefined or TokenType.Byte)
            {
                Insert(Bytes[id], id);
            }
        }

        for (var value = 0; value < 256; value++)
        {
            if (!_children.TryGetValue(Edge(Root, (byte)value), out var node) || _tokens[node] < 0)
            {
                throw vocabulary.Error("a token for each of the 256 bytes, so that every text has tokens", $"none for byte 0x{value:X2}");
            }
        }
    }

    /// <inheritdoc/>
    protected override void EncodeFragment(ReadOnlySpan<byte> text, bool afterSpecial, List<int> ids)
    {
        for (int start = 0, end = 0; start < text.Length; start = end)
        {
            var (node, id) = (Root, -1);
            for (var i = start; i < text.Length && _children.TryGetValue(Edge(node, text[i]), out node); i++)
            {
                if (_tokens[node] >= 0)
                {
                    (id, end) = (_tokens[node], i + 1);
                }
            }

            ids.Add(id);
        }
    }

    private void Insert(ReadOnlySpan<byte> bytes, int id)
    {
        if (bytes.IsEmpty)
        {
            return;
        }

        var node = Root;
        foreach (var value in bytes)
        {
            if (!_children.TryGetValue(Edge(node, value), out var child))
            {
                child = _tokens.Count;
                _tokens.Add(-1);
                _children.Add(Edge(node, value), child);
            }

            node = child;
        }

        _tokens[node] = id;
    }

    private static long Edge(int node, byte value) => (long)node << 8 | value;

    /// <summary>The same vocabulary without types that match raw text: here the trie alone decides, and no text gives id 0.</summary>
    private static TokenizerVocabulary WithoutMatching(TokenizerVocabulary vocabulary) => vocabulary with
    {
        Types = [.. vocabulary.Types.Select(type => (TokenType)type switch
        {
            TokenType.Control or TokenType.Unknown => (int)TokenType.Unused,
            TokenType.UserDefined => (int)TokenType.Normal,
            _ => type,
        })],
    };

    private static ByteStrings Unescape(TokenizerVocabulary vocabulary)
    {
        var bytes = new ByteStrings(vocabulary.Tokens.Count);
        var buffer = new byte[256];
        for (var id = 0; id < vocabulary.Tokens.Count; id++)
        {
            var token = vocabulary.Tokens[id];
            buffer = buffer.Length < token.Length ? new byte[token.Length * 2] : buffer;
            if (Unescape(token, buffer) is not { } length)
            {
                throw vocabulary.Error(
                    $"escapes \\t, \\n, \\r, \\xHH or backslash and a character at tokenizer.ggml.tokens[{id}]", $"'{Encoding.UTF8.GetString(token)}'");
            }

            bytes.Add(buffer.AsSpan(0, length));
        }

        return bytes;
    }

    /// <summary>Writes the bytes that a token string stands for and returns their number, or null if it ends inside an escape.</summary>
    private static int? Unescape(ReadOnlySpan<byte> token, Span<byte> bytes)
    {
        var length = 0;
        for (var i = 0; i < token.Length; i++)
        {
            if (token[i] != '\\')
            {
                bytes[length++] = token[i];
                continue;
            }

            if (++i == token.Length)
            {
                return null;
            }

            if (token[i] == 'x')
            {
                if (i + 2 >= token.Length
                    || !byte.TryParse(token.Slice(i + 1, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out bytes[length]))
                {
                    return null;
                }

                length++;
                i += 2;
                continue;
            }

            bytes[length++] = token[i] switch
            {
                (byte)'t' => (byte)'\t',
                (byte)'n' => (byte)'\n',
                (byte)'r' => (byte)'\r',
                var other => other,
            };
        }

        return length;
    }
}
