using RyzenLlm.Engine.Tokenizers;

namespace RyzenLlm.Engine.Decoding.Constraints;

/// <summary>
/// The tokens of a vocabulary by their bytes, for walking a vocabulary and an automaton together: tokens with a common beginning share the
/// steps of that beginning. Special tokens stand for no text and are not in it.
/// </summary>
public sealed class TokenTrie
{
    /// <summary>The node of no bytes.</summary>
    internal const int Root = 0;

    /// <summary>Bytes of the longest token that is taken in; longer ones, runs of spaces or rules, are never needed and left out.</summary>
    internal const int LongestToken = byte.MaxValue;

    /// <summary>Bytes up to which a token is short. Nearly all are; so the long ones are soon looked at one by one.</summary>
    internal const int ShortToken = Network.Horizon;

    private readonly ITokenizer _tokenizer;
    private readonly bool[] _isText;

    /// <summary>The tokens of a vocabulary.</summary>
    public TokenTrie(ITokenizer tokenizer)
    {
        _tokenizer = tokenizer;
        MaskLength = (tokenizer.VocabularySize + 63) / 64;
        EndTokens = [.. tokenizer.EosIds];
        Short = new ulong[MaskLength];
        _isText = new bool[tokenizer.VocabularySize];
        var ids = new List<int>(tokenizer.VocabularySize);
        for (var id = 0; id < tokenizer.VocabularySize; id++)
        {
            if (!tokenizer.IsSpecial(id) && !tokenizer.EosIds.Contains(id) && tokenizer.TokenBytes(id).Length is > 0 and <= LongestToken and var length)
            {
                _isText[id] = true;
                ids.Add(id);
                Short[id / 64] |= length <= ShortToken ? 1ul << id : 0;
            }
        }

        ids.Sort((a, b) => tokenizer.TokenBytes(a).SequenceCompareTo(tokenizer.TokenBytes(b)) is var order and not 0 ? order : a.CompareTo(b));
        All = new(tokenizer, ids);
        LongOnly = new(tokenizer, ids.FindAll(id => tokenizer.TokenBytes(id).Length > ShortToken));
        for (var node = Root + 1; node < All.NodeCount; node = All.After[node])
        {
            Spellable[All.Labels[node]] = !All.TokensAt(node).IsEmpty;
        }
    }

    /// <summary>Words of a bit set over the vocabulary.</summary>
    public int MaskLength { get; }

    /// <summary>Tokens that end a text.</summary>
    internal int[] EndTokens { get; }

    /// <summary>Tokens of at most <see cref="ShortToken"/> bytes, as a bit set over the vocabulary.</summary>
    internal ulong[] Short { get; }

    /// <summary>By byte: whether it is a token by itself. Only such bytes are used, so that every text can be completed whatever its beginning.</summary>
    internal bool[] Spellable { get; } = new bool[256];

    /// <summary>All tokens.</summary>
    internal Tree All { get; }

    /// <summary>The tokens of more than <see cref="ShortToken"/> bytes.</summary>
    internal Tree LongOnly { get; }

    /// <summary>Bytes of a token, empty if it stands for no text.</summary>
    internal ReadOnlySpan<byte> Bytes(int token) => (uint)token < (uint)_isText.Length && _isText[token] ? _tokenizer.TokenBytes(token) : [];

    /// <summary>
    /// Some tokens. Nodes are in the order of a walk, parents before children, siblings by ascending byte: the first child of a node is the next one if
    /// that is deeper, and the tokens of all nodes in this order are sorted by bytes.
    /// </summary>
    internal sealed class Tree
    {
        private readonly byte[] _labels;
        private readonly byte[] _depths;
        private readonly int[] _after;
        private readonly int[] _tokenBegin; // among _tokens; the next node's is the end
        private readonly int[] _tokens;

        /// <summary>A tree of tokens that are sorted by bytes.</summary>
        public Tree(ITokenizer tokenizer, List<int> ids)
        {
            (_labels, _depths, _after, _tokenBegin) = Build(tokenizer, ids);
            _tokens = [.. ids];
        }

        /// <summary>Number of nodes.</summary>
        public int NodeCount => _labels.Length;

        /// <summary>By node: the byte that leads to it.</summary>
        public ReadOnlySpan<byte> Labels => _labels;

        /// <summary>By node: bytes on the way to it.</summary>
        public ReadOnlySpan<byte> Depths => _depths;

        /// <summary>By node: the first node behind its subtree.</summary>
        public ReadOnlySpan<int> After => _after;

        /// <summary>Tokens whose bytes lead to a node.</summary>
        public ReadOnlySpan<int> TokensAt(int node) => _tokens.AsSpan(_tokenBegin[node], _tokenBegin[node + 1] - _tokenBegin[node]);

        /// <summary>The child by a byte, or -1.</summary>
        public int Child(int node, byte b)
        {
            for (var child = node + 1; child < _after[node]; child = _after[child])
            {
                if (_labels[child] == b)
                {
                    return child;
                }
            }

            return -1;
        }

        // From one token to the next in sorted order, the path keeps their common beginning.
        private static (byte[] Labels, byte[] Depths, int[] After, int[] TokenBegin) Build(ITokenizer tokenizer, List<int> ids)
        {
            List<byte> labels = [0], depths = [0];
            List<int> after = [0], tokenBegin = [0];
            List<int> path = [Root];
            var previous = ReadOnlySpan<byte>.Empty;
            for (var i = 0; i < ids.Count; i++)
            {
                var bytes = tokenizer.TokenBytes(ids[i]);
                Leave(previous.CommonPrefixLength(bytes) + 1);
                for (var depth = path.Count; depth <= bytes.Length; depth++)
                {
                    path.Add(labels.Count);
                    labels.Add(bytes[depth - 1]);
                    depths.Add((byte)depth);
                    after.Add(0);
                    tokenBegin.Add(i);
                }

                previous = bytes;
            }

            Leave(0);
            tokenBegin.Add(ids.Count);
            return ([.. labels], [.. depths], [.. after], [.. tokenBegin]);

            void Leave(int length)
            {
                for (; path.Count > length; path.RemoveAt(path.Count - 1))
                {
                    after[path[^1]] = labels.Count;
                }
            }
        }
    }
}
