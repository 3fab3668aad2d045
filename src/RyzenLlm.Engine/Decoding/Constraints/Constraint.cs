namespace RyzenLlm.Engine.Decoding.Constraints;

/// <summary>
/// An <see cref="Automaton"/> over bytes, seen through a vocabulary: which tokens may follow, which one must. Its states are those of the
/// automaton; masks are computed when a state is first reached and kept.
/// </summary>
/// <remarks>
/// Grows while it is used, so it belongs to the model's thread; requests with the same constraint may share it. As long as a text may still
/// grow by as many tokens as its shortest completion has bytes, it may go on: so a text is complete when the token limit comes.
/// </remarks>
public sealed class Constraint
{
    // Some 64 MB each.
    private const int MostStates = 50_000;
    private const long MostMaskWords = 8_000_000;

    private readonly TokenTrie _trie;
    private readonly Automaton _automaton;
    private readonly string _description;
    private readonly Dictionary<int, Mask> _masks = [];
    private readonly ulong[] _narrow;
    private readonly Place[] _path = new Place[TokenTrie.LongestToken + 1];
    private (int State, int Remaining) _narrowFor = (-1, 0);

    /// <summary>A constraint for one vocabulary.</summary>
    /// <param name="automaton">What the text must match.</param>
    /// <param name="trie">The vocabulary.</param>
    /// <param name="description">What it is, for messages: "the JSON schema".</param>
    internal Constraint(Automaton automaton, TokenTrie trie, string description)
    {
        (_automaton, _trie, _description) = (automaton, trie, description);
        _narrow = new ulong[trie.MaskLength];
        Array.Fill(_path, new(-1, 0, []));
    }

    /// <summary>Whether so many states were reached that a fresh one serves later requests better.</summary>
    internal bool IsWorn => _automaton.IsWorn || _automaton.StateCount > MostStates || (long)_masks.Count * _trie.MaskLength > MostMaskWords;

    /// <summary>The state before the first token.</summary>
    /// <param name="maxTokens">Tokens that may be generated.</param>
    /// <exception cref="ArgumentException">No text that short satisfies the constraint.</exception>
    public int Begin(int maxTokens)
    {
        var shortest = _automaton.Distance(_automaton.Start);
        if (shortest == Automaton.Unreachable)
        {
            throw new ArgumentException($"No text satisfies {_description}.");
        }

        return shortest <= maxTokens
            ? _automaton.Start
            : throw new ArgumentException($"The shortest text that satisfies {_description} may take {shortest} tokens: raise max_tokens, now {maxTokens}.");
    }

    /// <summary>The state after a token, or -1 if it may not follow.</summary>
    /// <param name="state">State before it.</param>
    /// <param name="token">A token; end tokens have no state after them and give -1.</param>
    /// <param name="remaining">Tokens that may be generated, this one included.</param>
    public int Next(int state, int token, int remaining)
    {
        var bytes = _trie.Bytes(token);
        if (bytes.IsEmpty)
        {
            return -1;
        }

        foreach (var b in bytes)
        {
            state = _automaton.Step(state, b);
            if (state < 0)
            {
                return -1;
            }
        }

        return _automaton.Distance(state) < remaining ? state : -1;
    }

    /// <summary>The tokens that may follow, as a bit set over the vocabulary; end tokens among them where the text may end. Valid until the next call.</summary>
    /// <param name="state">A state.</param>
    /// <param name="remaining">Tokens that may be generated, at least 1.</param>
    public ReadOnlySpan<ulong> Allowed(int state, int remaining)
    {
        var mask = MaskOf(state);
        if (mask.Farthest < remaining)
        {
            return mask.Bits;
        }

        // Near the limit, only what can still be completed.
        if (_narrowFor != (state, remaining))
        {
            _narrow.AsSpan().Clear();
            var farthest = 0;
            Walk(_trie.All, state, remaining, _narrow, ref farthest);
            AddEnds(state, _narrow);
            _narrowFor = (state, remaining);
        }

        return _narrow;
    }

    /// <summary>
    /// The token that follows without a choice, or -1. Bytes that alone can follow are cut into the longest tokens; where a token could
    /// reach beyond them, the model chooses.
    /// </summary>
    public int Forced(int state, int remaining)
    {
        var mask = MaskOf(state);
        if (mask.Forced == Mask.Unknown)
        {
            mask.Forced = FindForced(state);
        }

        return mask.Forced >= 0 && Next(state, mask.Forced, remaining) >= 0 ? mask.Forced : -1;
    }

    /// <summary>Whether the text satisfies the constraint and nothing can be added.</summary>
    /// <param name="state">A state.</param>
    /// <param name="remaining">Tokens that may be generated, at least 1.</param>
    public bool IsComplete(int state, int remaining) =>
        _automaton.Accepts(state)
        && (!_automaton.HasNext(state) || (_trie.EndTokens.Length == 0 && !Allowed(state, remaining).ContainsAnyExcept(0ul)));

    /// <summary>Whether the text satisfies the constraint as it is.</summary>
    public bool Accepts(int state) => _automaton.Accepts(state);

    private Mask MaskOf(int state)
    {
        if (!_masks.TryGetValue(state, out var mask))
        {
            var bits = new ulong[_trie.MaskLength];
            var farthest = 0;
            if (_automaton.Near(state) is var near && near != state)
            {
                // What is alike for that many bytes allows the same short tokens; only the others are walked for every state.
                var alike = MaskOf(near);
                for (var i = 0; i < bits.Length; i++)
                {
                    bits[i] = alike.Bits[i] & _trie.Short[i];
                }

                farthest = alike.Farthest;
                Walk(_trie.LongOnly, state, int.MaxValue, bits, ref farthest);
            }
            else
            {
                Walk(_trie.All, state, int.MaxValue, bits, ref farthest);
            }

            AddEnds(state, bits);
            _masks.Add(state, mask = new(bits, farthest));
        }

        return mask;
    }

    private void AddEnds(int state, ulong[] bits)
    {
        if (_automaton.Accepts(state))
        {
            foreach (var end in _trie.EndTokens)
            {
                bits[end / 64] |= 1ul << end;
            }
        }
    }

    // Vocabulary and automaton together, node by node; where the automaton has no way on, the subtree is skipped. The places on the way are
    // kept by depth: siblings mostly lead to the place that is there already.
    private void Walk(TokenTrie.Tree tree, int state, int remaining, ulong[] bits, ref int farthest)
    {
        var labels = tree.Labels;
        var depths = tree.Depths;
        var after = tree.After;
        var path = _path;
        path[0] = PlaceOf(state);
        for (var node = TokenTrie.Root + 1; node < labels.Length;)
        {
            var depth = depths[node];
            ref var from = ref path[depth - 1];
            var next = from.Steps[labels[node]];
            if (next < 0)
            {
                next = next == Automaton.Unknown ? _automaton.Step(from.State, labels[node]) : next;
                if (next < 0)
                {
                    node = after[node];
                    continue;
                }
            }

            ref var to = ref path[depth];
            if (to.State != next)
            {
                to = PlaceOf(next);
            }

            if (to.Distance < remaining)
            {
                foreach (var token in tree.TokensAt(node))
                {
                    farthest = Math.Max(farthest, to.Distance);
                    bits[token / 64] |= 1ul << token;
                }
            }

            node++;
        }
    }

    private Place PlaceOf(int state) => new(state, _automaton.Distance(state), _automaton.Steps(state));

    private int FindForced(int state)
    {
        var (tree, node, forced) = (_trie.All, TokenTrie.Root, -1);
        while (!_automaton.Accepts(state) && _automaton.OnlyByte(state) is var b and >= 0)
        {
            node = tree.Child(node, (byte)b);
            if (node < 0)
            {
                return forced; // the longest token within the stretch
            }

            var tokens = tree.TokensAt(node);
            forced = tokens.IsEmpty ? forced : tokens[0];
            state = _automaton.Step(state, (byte)b);
        }

        // The stretch ends here. Where longer tokens go on from it, the choice among those is the model's.
        return node == TokenTrie.Root || Continues(node, state) ? -1 : forced;
    }

    private bool Continues(int node, int state)
    {
        var tree = _trie.All;
        for (var child = node + 1; child < tree.After[node]; child = tree.After[child])
        {
            if (_automaton.Step(state, tree.Labels[child]) >= 0)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>A state with what the walk asks of it.</summary>
    private readonly record struct Place(int State, int Distance, int[] Steps);

    private sealed class Mask(ulong[] bits, int farthest)
    {
        public const int Unknown = -2;

        public ulong[] Bits { get; } = bits;

        /// <summary>Longest of the shortest completions after the allowed tokens, in bytes; no less.</summary>
        public int Farthest { get; } = farthest;

        public int Forced { get; set; } = Unknown;
    }
}
