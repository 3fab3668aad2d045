namespace RyzenLlm.Engine.Decoding.Constraints;

/// <summary>
/// A <see cref="Pattern"/> as a recursive transition network (Woods 1970): states with edges that read a byte, read nothing, or call a rule
/// and go on where it returns.
/// </summary>
internal sealed class Network
{
    /// <summary>States at most: beyond it, counted repetitions have multiplied to something that cannot be meant.</summary>
    public const int MostStates = 400_000;

    /// <summary>Bytes ahead for which a place is compared with its likes (<see cref="Alike"/>).</summary>
    public const int Horizon = 16;

    // Each is a frame on the stack.
    private const int DeepestCalls = 1_000;

    /// <summary>Distance of a state from which no text leads to the end.</summary>
    public const int Unreachable = int.MaxValue / 4;

    private readonly List<State> _states = [];
    private readonly Dictionary<Pattern.Rule, int> _rules = [];
    private readonly ByteSet _spellable;

    /// <summary>Builds the network of a pattern.</summary>
    /// <param name="pattern">The language.</param>
    /// <param name="spellable">Bytes that texts may contain.</param>
    /// <exception cref="ArgumentException">It is too large, or a rule begins with itself.</exception>
    public Network(Pattern pattern, ByteSet spellable)
    {
        _spellable = spellable;
        var root = new Pattern.Rule("") { Body = pattern };
        Start = StartOf(root);
        var pending = new Queue<Pattern.Rule>([root]);
        var built = new HashSet<Pattern.Rule> { root };
        while (pending.TryDequeue(out var rule))
        {
            var end = Build(rule.Body, StartOf(rule), called =>
            {
                if (built.Add(called))
                {
                    pending.Enqueue(called);
                }
            });
            _states[end].Returns = true;
        }

        Measure();
        CheckLeftRecursion();
    }

    /// <summary>First state of the whole pattern.</summary>
    public int Start { get; }

    /// <summary>A state.</summary>
    public State this[int state] => _states[state];

    /// <summary>
    /// A state from which every text of up to <see cref="Horizon"/> bytes goes on as from this one, and is as far from the end: the same place in another copy of a
    /// repeated part, one of those that still have so many copies behind them that the limit cannot be felt. The state itself where there is none.
    /// </summary>
    public int Alike(int state)
    {
        while (_states[state].Alike is var other and >= 0)
        {
            state = other;
        }

        return state;
    }

    private int StartOf(Pattern.Rule rule)
    {
        if (!_rules.TryGetValue(rule, out var start))
        {
            _rules.Add(rule, start = Add());
        }

        return start;
    }

    private int Add()
    {
        if (_states.Count == MostStates)
        {
            throw new ArgumentException($"The constraint is too large: its repetitions multiply to more than {MostStates} states. Lower the counts.");
        }

        _states.Add(new());
        return _states.Count - 1;
    }

    // Builds a pattern behind a state and returns the state behind it.
    private int Build(Pattern pattern, int from, Action<Pattern.Rule> calls)
    {
        switch (pattern)
        {
            case Pattern.Byte single:
                var next = Add();
                _states[from].Bytes.Add((single.Set & _spellable, next));
                return next;
            case Pattern.Sequence sequence:
                foreach (var part in sequence.Parts)
                {
                    from = Build(part, from, calls);
                }

                return from;
            case Pattern.Alternatives alternatives:
                var join = Add();
                foreach (var part in alternatives.Parts)
                {
                    var begin = Add();
                    _states[from].Free.Add(begin);
                    _states[Build(part, begin, calls)].Free.Add(join);
                }

                return join;
            case Pattern.Repetition repetition:
                return Repeat(repetition, from, calls);
            case Pattern.Rule rule:
                calls(rule);
                var after = Add();
                _states[from].Calls.Add((StartOf(rule), after));
                return after;
            default:
                throw new ArgumentException($"Unknown pattern {pattern.GetType().Name}.");
        }
    }

    private int Repeat(Pattern.Repetition repetition, int from, Action<Pattern.Rule> calls)
    {
        for (var i = 0; i < repetition.Min; i++)
        {
            from = Build(repetition.Part, from, calls);
        }

        var end = Add();
        if (repetition.Max is not { } max)
        {
            var loop = Add(); // a state of its own: what comes before must not be entered again
            _states[from].Free.Add(loop);
            _states[Build(repetition.Part, loop, calls)].Free.Add(loop);
            _states[loop].Free.Add(end);
            return end;
        }

        var copies = new List<int>();
        for (var i = repetition.Min; i < max; i++)
        {
            _states[from].Free.Add(end);
            var begin = Add();
            copies.Add(begin);
            _states[from].Free.Add(begin);
            from = Build(repetition.Part, begin, calls);
        }

        _states[from].Free.Add(end);
        copies.Add(_states.Count);
        Compare(copies);
        return end;
    }

    // Copies of a part that may be left out are built alike, state by state (all but the first, in which rules are met for the first time). A copy reads
    // at least a byte, or else nothing has to be read for the copies behind it either. So those with more than so many copies behind them go on alike.
    private void Compare(List<int> begins)
    {
        var last = begins.Count - 2 - Horizon;
        for (var i = 1; i < last; i++)
        {
            for (var at = 0; at < begins[i + 1] - begins[i]; at++)
            {
                _states[begins[i] + at].Alike = begins[last] + at;
            }
        }
    }

    // Fewest bytes from every state to the return of its rule: Dijkstra's algorithm backwards, with calls as in Knuth's for grammars (1977). Each
    // state is settled once, whatever order the states were made in.
    private void Measure()
    {
        var (begin, edges) = Incoming();
        var nearest = new PriorityQueue<int, int>();
        for (var i = 0; i < _states.Count; i++)
        {
            if (_states[i].Returns)
            {
                _states[i].Distance = 0;
                nearest.Enqueue(i, 0);
            }
        }

        while (nearest.TryDequeue(out var settled, out var distance))
        {
            if (distance > _states[settled].Distance)
            {
                continue; // reached on a shorter way since
            }

            foreach (var (from, cost, other) in edges.AsSpan(begin[settled]..begin[settled + 1]))
            {
                var through = Math.Min(distance + cost + (other < 0 ? 0 : _states[other].Distance), Unreachable);
                if (through < _states[from].Distance)
                {
                    _states[from].Distance = through;
                    nearest.Enqueue(from, through);
                }
            }
        }
    }

    // Edges by the state they lead to: where from, how many bytes, and for the two ends of a call the other one.
    private (int[] Begin, (int From, int Cost, int Other)[] Edges) Incoming()
    {
        var begin = new int[_states.Count + 1];
        ForEachEdge((target, _) => begin[target + 1]++);
        for (var i = 0; i < _states.Count; i++)
        {
            begin[i + 1] += begin[i];
        }

        var edges = new (int, int, int)[begin[^1]];
        var next = begin.AsSpan(..^1).ToArray();
        ForEachEdge((target, edge) => edges[next[target]++] = edge);
        return (begin, edges);
    }

    private void ForEachEdge(Action<int, (int From, int Cost, int Other)> take)
    {
        for (var i = 0; i < _states.Count; i++)
        {
            foreach (var target in _states[i].Free)
            {
                take(target, (i, 0, -1));
            }

            foreach (var (set, target) in _states[i].Bytes)
            {
                if (set != default)
                {
                    take(target, (i, 1, -1));
                }
            }

            foreach (var (rule, target) in _states[i].Calls)
            {
                take(rule, (i, 0, target));
                take(target, (i, 0, rule));
            }
        }
    }

    // A rule that calls itself before reading a byte would be entered for ever.
    private void CheckLeftRecursion()
    {
        var done = new HashSet<int>();
        foreach (var (rule, start) in _rules)
        {
            Visit(rule, start, [], done);
        }
    }

    private void Visit(Pattern.Rule rule, int start, HashSet<int> path, HashSet<int> done)
    {
        if (done.Contains(start))
        {
            return;
        }

        if (path.Count == DeepestCalls)
        {
            throw new ArgumentException($"The constraint refers through more than {DeepestCalls} rules, {rule.Name} among them, before anything is read.");
        }

        if (!path.Add(start))
        {
            throw new ArgumentException($"{rule.Name} refers to itself without anything before: it describes no text.");
        }

        var seen = new HashSet<int> { start };
        var pending = new Stack<int>(seen);
        while (pending.TryPop(out var state))
        {
            foreach (var target in _states[state].Free)
            {
                Push(target);
            }

            foreach (var (called, target) in _states[state].Calls)
            {
                Visit(_rules.First(r => r.Value == called).Key, called, path, done);
                if (_states[called].Distance == 0)
                {
                    Push(target);
                }
            }
        }

        path.Remove(start);
        done.Add(start);

        void Push(int target)
        {
            if (seen.Add(target))
            {
                pending.Push(target);
            }
        }
    }

    /// <summary>A state of the network.</summary>
    public sealed class State
    {
        /// <summary>Edges that read a byte.</summary>
        public List<(ByteSet Set, int Target)> Bytes { get; } = new(0);

        /// <summary>Edges that read nothing.</summary>
        public List<int> Free { get; } = new(0);

        /// <summary>Edges that read what a rule describes: its first state, and the state after it.</summary>
        public List<(int Rule, int Target)> Calls { get; } = new(0);

        /// <summary>Whether the rule may end here.</summary>
        public bool Returns { get; set; }

        /// <summary>Fewest bytes until the rule ends.</summary>
        public int Distance { get; set; } = Unreachable;

        /// <summary>The same place in a later copy of a repeated part, or -1.</summary>
        public int Alike { get; set; } = -1;
    }
}
