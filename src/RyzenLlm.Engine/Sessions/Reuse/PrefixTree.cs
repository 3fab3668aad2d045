namespace RyzenLlm.Engine.Sessions.Reuse;

/// <summary>
/// Values filed under token sequences, in a radix tree: sequences that begin alike share a path, so that the longest beginning that a new sequence has in common
/// with any of them is found in one walk. Paths without a value at their end are cut off.
/// </summary>
internal sealed class PrefixTree<T>
    where T : class
{
    private readonly Node _root = new([], null, 0);

    /// <summary>Number of values.</summary>
    public int Count { get; private set; }

    /// <summary>How far a sequence is known.</summary>
    /// <param name="tokens">The sequence.</param>
    /// <param name="serves">Whether a value is of use to sequences that have only so many tokens in common with its own.</param>
    public Match Find(ReadOnlySpan<int> tokens, Func<T, int, bool> serves)
    {
        var node = _root;
        var deepest = _root.Value is null ? null : _root;
        while (true)
        {
            var rest = tokens[node.Depth..];
            if (rest.IsEmpty || !node.Children.TryGetValue(rest[0], out var child))
            {
                return new(node.Depth, deepest, AnyBelow(node, node.Depth, serves));
            }

            var common = rest.CommonPrefixLength(child.Label);
            if (common < child.Label.Length)
            {
                return new(node.Depth + common, deepest, AnyBelow(child, node.Depth + common, serves));
            }

            node = child;
            deepest = node.Value is null ? deepest : node;
        }
    }

    /// <summary>The place of a sequence, made if there is none.</summary>
    public Node Place(ReadOnlySpan<int> tokens)
    {
        var node = _root;
        while (node.Depth < tokens.Length)
        {
            var rest = tokens[node.Depth..];
            if (!node.Children.TryGetValue(rest[0], out var child))
            {
                child = new(rest.ToArray(), node, tokens.Length);
                node.Children.Add(rest[0], child);
                return child;
            }

            var common = rest.CommonPrefixLength(child.Label);
            node = common < child.Label.Length ? Split(child, common) : child;
        }

        return node;
    }

    /// <summary>Files a value at an empty place.</summary>
    public void Set(Node node, T value)
    {
        node.Value = value;
        Count++;
    }

    /// <summary>Takes the value of a place out, and the path to it as far as nobody else needs it.</summary>
    public void Remove(Node node)
    {
        node.Value = null;
        Count--;
        while (node is { Value: null, Children.Count: 0, Parent: { } parent })
        {
            parent.Children.Remove(node.Label[0]);
            node = parent;
        }

        if (node is { Value: null, Children.Count: 1, Parent: not null })
        {
            Join(node, node.Children.Values.First());
        }
    }

    private static Node? AnyBelow(Node top, int common, Func<T, int, bool> serves)
    {
        var open = new Stack<Node>([top]);
        while (open.TryPop(out var node))
        {
            if (node.Value is { } value && serves(value, common))
            {
                return node;
            }

            foreach (var child in node.Children.Values)
            {
                open.Push(child);
            }
        }

        return null;
    }

    private static Node Split(Node node, int at)
    {
        var upper = new Node(node.Label[..at], node.Parent, node.Depth - node.Label.Length + at);
        node.Parent!.Children[node.Label[0]] = upper;
        node.Label = node.Label[at..];
        node.Parent = upper;
        upper.Children.Add(node.Label[0], node);
        return upper;
    }

    // The lower node stays, for it is known to whoever filed its value.
    private static void Join(Node upper, Node lower)
    {
        lower.Label = [.. upper.Label, .. lower.Label];
        lower.Parent = upper.Parent;
        upper.Parent!.Children[lower.Label[0]] = lower;
    }

    /// <summary>What a walk found.</summary>
    /// <param name="Common">Tokens that the sequence has in common with one in the tree.</param>
    /// <param name="Deepest">Longest sequence with a value that is a beginning of the one looked for, or null.</param>
    /// <param name="Below">Some sequence that begins with the common tokens and has a value that serves those that have no more in common with it, or null.</param>
    internal readonly record struct Match(int Common, Node? Deepest, Node? Below);

    /// <summary>End of a sequence, or a place where sequences part.</summary>
    internal sealed class Node(int[] label, Node? parent, int depth)
    {
        /// <summary>Tokens from the parent to here.</summary>
        public int[] Label { get; set; } = label;

        /// <summary>Where it branches off.</summary>
        public Node? Parent { get; set; } = parent;

        /// <summary>Length of the sequence.</summary>
        public int Depth { get; } = depth;

        /// <summary>By the first token of their labels.</summary>
        public Dictionary<int, Node> Children { get; } = [];

        /// <summary>What is filed here, or null.</summary>
        public T? Value { get; set; }
    }
}
