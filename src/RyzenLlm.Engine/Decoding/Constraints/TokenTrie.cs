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

    private readonly ITokenizer _tokenizer;

    private readonly int[] _childrenBegin; // of every node, among _children; the next node's is the end
    private readonly (byte Byte, int Node)[] _children;
    private readonly (int Begin, int Count)[] _tokenRanges; // of every node, among _tokens
    private readonly int[] _tokens;
    private readonly bool[] _isText;

    /// <summary>The tokens of a vocabulary.</summary>
    public TokenTrie(ITokenizer tokenizer)
    {
        _tokenizer = tokenizer;
        MaskLength = (tokenizer.VocabularySize + 63) / 64;
        EndTokens = [.. tokenizer.EosIds];
        _isText = new bool[tokenizer.VocabularySize];
        var ids = new List<int>(tokenizer.VocabularySize);
        for (var id = 0; id < tokenizer.VocabularySize; id++)
        {
            if (!tokenizer.IsSpecial(id) && !tokenizer.EosIds.Contains(id) && !tokenizer.TokenBytes(id).IsEmpty)
            {
                _isText[id] = true;
                ids.Add(id);
            }
        }

        ids.Sort((a, b) => tokenizer.TokenBytes(a).SequenceCompareTo(tokenizer.TokenBytes(b)) is var order and not 0 ? order : a.CompareTo(b));
        (_childrenBegin, _children, _tokenRanges) = Build(tokenizer, ids);
        _tokens = [.. ids];
        foreach (var (b, node) in Children(Root))
        {
            Spellable[b] = !Tokens(node).IsEmpty;
        }
    }

    /// <summary>Words of a bit set over the vocabulary.</summary>
    public int MaskLength { get; }

    /// <summary>Tokens that end a text.</summary>
    internal int[] EndTokens { get; }

    /// <summary>By byte: whether it is a token by itself. Only such bytes are used, so that every text can be completed whatever its beginning.</summary>
    internal bool[] Spellable { get; } = new bool[256];

    /// <summary>Bytes of a token, empty if it stands for no text.</summary>
    internal ReadOnlySpan<byte> Bytes(int token) => (uint)token < (uint)_isText.Length && _isText[token] ? _tokenizer.TokenBytes(token) : [];

    /// <summary>Children of a node, by ascending byte.</summary>
    internal ReadOnlySpan<(byte Byte, int Node)> Children(int node) => _children.AsSpan(_childrenBegin[node], _childrenBegin[node + 1] - _childrenBegin[node]);

    /// <summary>Tokens whose bytes lead to a node.</summary>
    internal ReadOnlySpan<int> Tokens(int node) => _tokens.AsSpan(_tokenRanges[node].Begin, _tokenRanges[node].Count);

    /// <summary>The child by a byte, or -1.</summary>
    internal int Child(int node, byte b)
    {
        foreach (var (label, child) in Children(node))
        {
            if (label == b)
            {
                return child;
            }
        }

        return -1;
    }

    // Nodes are numbered breadth first: each stands for a range of the sorted ids with a common beginning, those equal to it first.
    private static (int[] ChildrenBegin, (byte Byte, int Node)[] Children, (int Begin, int Count)[] Tokens) Build(ITokenizer tokenizer, List<int> ids)
    {
        var ranges = new List<(int Begin, int End, int Depth)> { (0, ids.Count, 0) };
        var childrenBegin = new List<int>();
        var children = new List<(byte, int)>();
        var tokens = new List<(int, int)>();
        for (var node = 0; node < ranges.Count; node++)
        {
            var (begin, end, depth) = ranges[node];
            childrenBegin.Add(children.Count);
            var first = begin;
            while (begin < end && tokenizer.TokenBytes(ids[begin]).Length == depth)
            {
                begin++;
            }

            tokens.Add((first, begin - first));
            while (begin < end)
            {
                var label = tokenizer.TokenBytes(ids[begin])[depth];
                var next = begin + 1;
                while (next < end && tokenizer.TokenBytes(ids[next])[depth] == label)
                {
                    next++;
                }

                children.Add((label, ranges.Count));
                ranges.Add((begin, next, depth + 1));
                begin = next;
            }
        }

        childrenBegin.Add(children.Count);
        return ([.. childrenBegin], [.. children], [.. tokens]);
    }
}
