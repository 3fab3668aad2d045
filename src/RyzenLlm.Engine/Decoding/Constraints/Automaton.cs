using System.Runtime.InteropServices;

namespace RyzenLlm.Engine.Decoding.Constraints;

/// <summary>
/// A deterministic automaton over bytes, built state by state as texts reach them: a state is the set of all places of the <see cref="Network"/>
/// where a text may be, each with the rules it will return to.
/// </summary>
internal sealed class Automaton
{
    /// <summary>Distance where no text leads to the end.</summary>
    public const int Unreachable = Network.Unreachable;

    /// <summary>In <see cref="Steps"/>: not asked for yet.</summary>
    public const int Unknown = -2;

    // A state is a set of places. Nested optional parts make such sets as large as the pattern, and each step as slow.
    private const int MostPlaces = 2_000;
    private const long MostVisits = 2_000_000; // well under a second

    private const int Bottom = -1;
    private const int Dead = -1;

    private readonly Network _network;

    // Calls in progress: where one returns to, and the call around it. Equal ones are one.
    private readonly Dictionary<(int Return, int Around), int> _callIds = [];
    private readonly List<(int Return, int Around, int Distance)> _calls = [];

    private readonly Dictionary<PlaceSet, int> _stateIds = [];
    private readonly List<DerivedState> _states = [];

    // Scratch of Close.
    private readonly HashSet<(int State, int Call)> _seen = [];
    private readonly Stack<(int State, int Call)> _pending = new();
    private readonly List<(int State, int Call)> _places = [];
    private long _visits;

    /// <summary>The automaton of a pattern.</summary>
    /// <exception cref="ArgumentException">The pattern is too large, too ambiguous, or contains itself without an end.</exception>
    public Automaton(Pattern pattern, ByteSet spellable)
    {
        _network = new(pattern, spellable);
        Push(_network.Start, Bottom);
        Start = Close();
    }

    /// <summary>The state of the empty text, or -1 if no text at all matches.</summary>
    public int Start { get; }

    /// <summary>States reached so far.</summary>
    public int StateCount => _states.Count;

    /// <summary>Whether most of what may be computed for one automaton has been.</summary>
    public bool IsWorn => _visits > MostVisits / 2;

    /// <summary>The state after one more byte, or -1 if no text that matches begins so.</summary>
    /// <exception cref="ArgumentException">The pattern is so ambiguous that following it takes too long.</exception>
    public int Step(int state, byte b)
    {
        var next = _states[state].Next[b];
        return next != Unknown ? next : Derive(state, b);
    }

    /// <summary>By byte: the state after it, -1 if no text that matches goes on so, or <see cref="Unknown"/> until <see cref="Step"/> was asked.</summary>
    public int[] Steps(int state) => _states[state].Next;

    /// <summary>Whether the text that led here matches.</summary>
    public bool Accepts(int state) => _states[state].Accepts;

    /// <summary>Whether a longer text may match.</summary>
    public bool HasNext(int state) => _states[state].Bytes != default;

    /// <summary>The only byte that can follow, or -1 if there are several or none.</summary>
    public int OnlyByte(int state) => _states[state].Bytes is { Count: 1 } bytes ? bytes.First : -1;

    /// <summary>A state from which every text of up to <see cref="Network.Horizon"/> bytes goes on as from this one, and is as far from the end; often itself.</summary>
    public int Near(int state)
    {
        var known = _states[state];
        if (known.Near < 0)
        {
            var places = known.Places.Select(p => (_network.Alike(p.State), NearCall(p.Call))).Distinct().Order();
            known.Near = Intern(new([.. places], known.Accepts), known.Distance);
        }

        return known.Near;
    }

    private int NearCall(int call)
    {
        if (call == Bottom)
        {
            return Bottom;
        }

        var (target, around, _) = _calls[call];
        return Call(_network.Alike(target), NearCall(around));
    }

    /// <summary>Fewest bytes until the text matches; <see cref="Unreachable"/> for -1.</summary>
    public int Distance(int state) => state < 0 ? Unreachable : _states[state].Distance;

    // Bytes that all edges treat alike lead to the same state, so they are done together.
    private int Derive(int state, byte b)
    {
        var alike = ByteSet.All;
        var places = _states[state].Places;
        _visits += places.Length / 16; // looking at a place takes a small part of visiting one
        foreach (var (at, call) in places)
        {
            foreach (var (set, target) in _network[at].Bytes)
            {
                if (set.Contains(b))
                {
                    alike &= set;
                    Push(target, call);
                }
                else
                {
                    alike &= ~set;
                }
            }
        }

        var next = Close();
        var steps = _states[state].Next;
        for (var i = 0; i < steps.Length; i++)
        {
            if (alike.Contains((byte)i))
            {
                steps[i] = next;
            }
        }

        return next;
    }

    private void Push(int state, int call)
    {
        // Places from which the text cannot be completed are left out, so a state that exists has a way to the end.
        if (_network[state].Distance < Unreachable && _seen.Add((state, call)))
        {
            _pending.Push((state, call));
        }
    }

    // Follows all edges that read nothing from the pending places, and finds or adds the state that they make up.
    private int Close()
    {
        _places.Clear();
        var accepts = false;
        var distance = Unreachable;
        while (_pending.TryPop(out var place))
        {
            if (++_visits > MostVisits || _places.Count > MostPlaces)
            {
                throw TooAmbiguous();
            }

            var (at, call) = place;
            var state = _network[at];
            distance = Math.Min(distance, state.Distance + DistanceOf(call));
            if (state.Bytes.Count > 0)
            {
                _places.Add(place);
            }

            foreach (var target in state.Free)
            {
                Push(target, call);
            }

            foreach (var (rule, target) in state.Calls)
            {
                if (_network[target].Distance < Unreachable)
                {
                    Push(rule, Call(target, call));
                }
            }

            if (state.Returns && call == Bottom)
            {
                accepts = true;
            }
            else if (state.Returns)
            {
                Push(_calls[call].Return, _calls[call].Around);
            }
        }

        _seen.Clear();
        if (_places.Count == 0 && !accepts)
        {
            return Dead;
        }

        _places.Sort();
        return Intern(new([.. _places], accepts), distance);
    }

    private int Intern(PlaceSet key, int distance)
    {
        ref var id = ref CollectionsMarshal.GetValueRefOrAddDefault(_stateIds, key, out var known);
        if (!known)
        {
            id = _states.Count;
            _states.Add(new(key.Places, key.Accepts, distance, Union(key.Places)));
        }

        return id;
    }

    private ArgumentException TooAmbiguous()
    {
        _pending.Clear();
        _seen.Clear();
        return new("The constraint is too ambiguous: a text may be at too many of its places at once. Nest fewer optional or repeated parts, or lower their counts.");
    }

    private ByteSet Union((int State, int Call)[] places)
    {
        var union = default(ByteSet);
        foreach (var (at, _) in places)
        {
            foreach (var (set, target) in _network[at].Bytes)
            {
                union = _network[target].Distance < Unreachable ? union | set : union;
            }
        }

        return union;
    }

    private int DistanceOf(int call) => call == Bottom ? 0 : _calls[call].Distance;

    private int Call(int target, int around)
    {
        ref var id = ref CollectionsMarshal.GetValueRefOrAddDefault(_callIds, (target, around), out var known);
        if (!known)
        {
            id = _calls.Count;
            _calls.Add((target, around, _network[target].Distance + DistanceOf(around)));
        }

        return id;
    }

    /// <summary>Places as a key: compared by content.</summary>
    private readonly struct PlaceSet((int State, int Call)[] places, bool accepts) : IEquatable<PlaceSet>
    {
        public (int State, int Call)[] Places { get; } = places;

        public bool Accepts { get; } = accepts;

        public bool Equals(PlaceSet other) => Accepts == other.Accepts && Places.AsSpan().SequenceEqual(other.Places);

        public override bool Equals(object? obj) => obj is PlaceSet other && Equals(other);

        public override int GetHashCode()
        {
            var hash = new HashCode();
            hash.AddBytes(MemoryMarshal.AsBytes(Places.AsSpan()));
            return hash.ToHashCode();
        }
    }

    private sealed class DerivedState
    {
        public DerivedState((int State, int Call)[] places, bool accepts, int distance, ByteSet bytes)
        {
            (Places, Accepts, Distance, Bytes) = (places, accepts, distance, bytes);
            Next.AsSpan().Fill(Unknown);
        }

        public (int State, int Call)[] Places { get; }

        public bool Accepts { get; }

        public int Distance { get; }

        /// <summary>Bytes that can follow.</summary>
        public ByteSet Bytes { get; }

        public int[] Next { get; } = new int[256];

        /// <summary>See <see cref="Automaton.Near"/>; -1 until it was asked for.</summary>
        public int Near { get; set; } = -1;
    }
}
