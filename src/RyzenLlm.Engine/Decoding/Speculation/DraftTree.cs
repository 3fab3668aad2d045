using RyzenLlm.Engine.Decoding.Constraints;

namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>A drafted token.</summary>
public struct DraftNode
{
    /// <summary>Token id.</summary>
    public int Token { get; internal init; }

    /// <summary>Node of the token before it, or <see cref="DraftTree.Root"/>.</summary>
    public int Parent { get; internal init; }

    /// <summary>1 for a guess at the next token, 2 for the one after it, and so on.</summary>
    public int Depth { get; internal init; }

    /// <summary>Estimated chance that the target's text runs through this node; never above its parent's.</summary>
    public double Probability { get; internal init; }

    /// <summary>What drafted it.</summary>
    public HitRates Source { get; internal init; }

    /// <summary>How sure its source was, as an index of <see cref="Source"/>.</summary>
    public int Grade { get; internal init; }

    /// <summary>State of the constraint after it; 0 without one.</summary>
    internal int State { get; init; }

    /// <summary>Row of the batch that verifies it, or -1 if it was not worth one.</summary>
    internal int Row { get; set; }
}

/// <summary>
/// Guesses at how a sequence goes on: a tree whose root is the sequence's latest token. Drafts add to it one after another, each seeing
/// what is there already. Nodes come in the order added, so a parent precedes its children.
/// </summary>
public sealed class DraftTree
{
    /// <summary>The latest token of the sequence, as a parent.</summary>
    public const int Root = -1;

    /// <summary>Returned for a token that cannot follow: it ends the text, is outside the vocabulary or forbidden by the constraint, or the tree is full.</summary>
    public const int Refused = -2;

    /// <summary>Nodes at most.</summary>
    public const int Capacity = 96;

    private readonly DraftNode[] _nodes = new DraftNode[Capacity];

    // Of the root and of every node: chance that none of its children so far is right, if it is.
    private readonly double[] _rests = new double[Capacity + 1];
    private readonly int _vocabularySize;
    private readonly Constraint? _constraint;
    private readonly IReadOnlySet<int> _endTokens;
    private int _state;
    private int _remaining;

    /// <summary>An empty tree for sequences under this constraint.</summary>
    internal DraftTree(int vocabularySize, IReadOnlySet<int> endTokens, Constraint? constraint = null) =>
        (_vocabularySize, _endTokens, _constraint) = (vocabularySize, endTokens, constraint);

    /// <summary>Number of nodes.</summary>
    public int Count { get; private set; }

    /// <summary>Depth to which guesses are of use; <see cref="Add"/> refuses deeper ones.</summary>
    public int MaxDepth { get; private set; }

    /// <summary>A node.</summary>
    public ref readonly DraftNode this[int node] => ref _nodes[node];

    /// <summary>Estimated chance that the text runs through a node; 1 for the root.</summary>
    public double Probability(int node) => node < 0 ? 1 : _nodes[node].Probability;

    /// <summary>Depth of a node; 0 for the root.</summary>
    public int Depth(int node) => node < 0 ? 0 : _nodes[node].Depth;

    /// <summary>Guesses that <paramref name="token"/> follows <paramref name="parent"/>.</summary>
    /// <param name="parent">A node or <see cref="Root"/>.</param>
    /// <param name="token">Token id.</param>
    /// <param name="source">Hit rates of what drafts it.</param>
    /// <param name="grade">How sure the draft is, as an index of <paramref name="source"/>.</param>
    /// <returns>The node, which may have been there already, or <see cref="Refused"/>.</returns>
    public int Add(int parent, int token, HitRates source, int grade)
    {
        var depth = Depth(parent) + 1;
        if (Find(parent, token) is var found and >= 0)
        {
            return found;
        }

        if (Count == Capacity || depth > MaxDepth || (uint)token >= (uint)_vocabularySize || _endTokens.Contains(token))
        {
            return Refused;
        }

        var state = _constraint?.Next(State(parent), token, _remaining - depth + 1) ?? 0;
        if (state < 0)
        {
            return Refused;
        }

        // Right if it is as good as its grade and nothing drafted before it for the same place is right.
        ref var rest = ref _rests[parent + 1];
        var share = source.Rate(grade) * rest;
        rest -= share;
        _rests[Count + 1] = 1;
        _nodes[Count] = new()
        {
            Token = token,
            Parent = parent,
            Depth = depth,
            Probability = Probability(parent) * share,
            Source = source,
            Grade = grade,
            State = state,
            Row = -1,
        };
        return Count++;
    }

    /// <summary>The child of <paramref name="parent"/> with this token, or <see cref="Refused"/>.</summary>
    public int Find(int parent, int token)
    {
        for (var i = parent + 1; i < Count; i++)
        {
            if (_nodes[i].Parent == parent && _nodes[i].Token == token)
            {
                return i;
            }
        }

        return Refused;
    }

    /// <summary>Tokens that the constraint allows after a node, as for the sampler; empty without a constraint.</summary>
    public ReadOnlySpan<ulong> Allowed(int node) =>
        _constraint is null ? default : _constraint.Allowed(State(node), _remaining - Depth(node));

    /// <summary>The only token that the constraint lets follow a node, or -1.</summary>
    public int Forced(int node) => _constraint is null ? -1 : _constraint.Forced(State(node), _remaining - Depth(node));

    /// <summary>Starts over.</summary>
    /// <param name="maxDepth">Depth to which guesses are of use.</param>
    /// <param name="state">State of the constraint at the root.</param>
    /// <param name="remaining">Tokens that may still be generated after the root.</param>
    internal void Clear(int maxDepth, int state, int remaining)
    {
        (Count, MaxDepth, _state, _remaining) = (0, maxDepth, state, remaining);
        _rests[0] = 1;
    }

    internal void SetRow(int node, int row) => _nodes[node].Row = row;

    /// <summary>Tells the sources of all guesses after <paramref name="parent"/> which were right.</summary>
    internal void Record(int parent, int token)
    {
        for (var i = parent + 1; i < Count; i++)
        {
            if (_nodes[i].Parent == parent)
            {
                _nodes[i].Source.Record(_nodes[i].Grade, _nodes[i].Token == token);
            }
        }
    }

    /// <summary>Writes the nodes to <paramref name="order"/>, most probable first and parents before children.</summary>
    internal void Order(Span<int> order)
    {
        for (var i = 0; i < Count; i++)
        {
            var at = i;
            for (; at > 0 && _nodes[order[at - 1]].Probability < _nodes[i].Probability; at--)
            {
                order[at] = order[at - 1];
            }

            order[at] = i;
        }
    }

    private int State(int node) => node < 0 ? _state : _nodes[node].State;
}
