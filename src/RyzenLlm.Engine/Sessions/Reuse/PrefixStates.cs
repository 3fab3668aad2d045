using System.Collections.Concurrent;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Telemetry;

namespace RyzenLlm.Engine.Sessions.Reuse;

/// <summary>How many states a model keeps.</summary>
/// <param name="Limit">Bytes that the kept states of a model take at most; 0 keeps none.</param>
/// <param name="Shortest">Shorter sequences are not worth a state.</param>
public sealed record ReuseOptions(long Limit = 1L << 30, int Shortest = 32);

/// <summary>
/// The states after token sequences that one model has computed, so that a request whose prompt begins like an earlier one of the same tenant costs only what is new.
/// The one unused for longest goes first.
/// </summary>
/// <remarks>
/// A transformer's state can be cut back to any of its positions, so the longest of a branch stands for all its beginnings; one past its window only to the last ones. A
/// recurrent state serves only sequences that begin with all of it. It is kept where it has a chance: at the end of an answer (the next turn), before the last token of a prompt (another
/// answer to it), at the end of the instruction, and where a prompt parts from an earlier one (whatever they share, a third may share too).
/// </remarks>
/// <remarks>States are copied on the model's thread. Everything else may be called from any thread; memory that falls free there is released by <see cref="Collect"/>.</remarks>
public sealed class PrefixStates : IDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, TenantStates> _tenants = [];
    private readonly LinkedList<KeptState> _uses = new(); // latest first
    private readonly ConcurrentQueue<Session> _dropped = new();
    private readonly LanguageModel _model;
    private readonly ReuseOptions _options;
    private readonly MemoryBudget _budget;
    private readonly IDisposable _registration;
    private readonly StateFiles? _files;
    private long _bytes;

    /// <summary>The kept states of a model; none yet.</summary>
    /// <param name="model">The model.</param>
    /// <param name="options">How many.</param>
    /// <param name="budget">The memory they share with everything else.</param>
    /// <param name="folder">Where states outlive the process, or null.</param>
    public PrefixStates(LanguageModel model, ReuseOptions options, MemoryBudget? budget = null, StateFolder? folder = null)
    {
        (_model, _options) = (model, options);
        _budget = budget ?? MemoryBudget.Unlimited;
        _registration = _budget.OnShortage(EvictionOrder.States, bytes =>
        {
            var freed = Evict(bytes);
            Dropped?.Invoke();
            return freed;
        });
        _files = folder is null ? null : new(folder, model);
    }

    /// <summary>The model.</summary>
    public LanguageModel Model => _model;

    /// <summary>Called when memory waits for <see cref="Collect"/> since it is short; from any thread.</summary>
    public Action? Dropped { get; init; }

    /// <summary>Bytes that the kept states take; pages that several share count once.</summary>
    public long Bytes => Locked(() => _bytes);

    /// <summary>Number of kept states.</summary>
    public int Count => Locked(() => _uses.Count);

    /// <summary>A session for a prompt, begun from the longest kept state that fits. On the thread of the model.</summary>
    /// <param name="tenant">Whose states may be used; null neither uses nor keeps any.</param>
    /// <param name="prompt">The whole prompt. Its last token is always left to compute: what follows it is wanted.</param>
    /// <param name="instruction">Tokens at its beginning that are the same from request to request; 0 if not known.</param>
    /// <param name="persist">Whether the state at the end goes to disk too, where there is a folder.</param>
    public PrefixReuse Begin(string? tenant, ReadOnlySpan<int> prompt, int instruction = 0, bool persist = false)
    {
        Collect();
        var usable = prompt.Length - 1;
        if (tenant is null || prompt.Length < _options.Shortest || _options.Limit <= 0)
        {
            return new(this, null, _model.CreateSession(), usable, [], false);
        }

        lock (_lock)
        {
            var states = TenantOf(tenant);
            var match = states.Tree.Find(prompt[..usable], Serves);
            var (state, position) = Best(match);
            Touch(state);
            Instruments.Reuse(_model.Info, position);
            var session = state?.Session.Snapshot(position) ?? _model.CreateSession();
            int[] marks = _model.Info.IsRecurrent
                ? [.. new[] { Math.Min(instruction, usable), match.Common, usable }.Where(m => m > position && m >= _options.Shortest).Distinct().Order()]
                : [];
            return new(this, states, session, usable, marks, persist);
        }
    }

    /// <summary>
    /// Brings the longest saved state of a prompt back from disk, if it goes further than what is in memory. From any thread, best before the request is given
    /// to the model, for reading takes time.
    /// </summary>
    public void Restore(string tenant, ReadOnlySpan<int> prompt)
    {
        var usable = prompt.Length - 1;
        if (_files is null || usable < _options.Shortest || _options.Limit <= 0)
        {
            return;
        }

        TenantStates states;
        int known;
        lock (_lock)
        {
            states = TenantOf(tenant);
            known = Best(states.Tree.Find(prompt[..usable], Serves)).Position;
        }

        if (_files.Load(tenant, prompt[..usable], known + _options.Shortest) is { } loaded)
        {
            lock (_lock)
            {
                if (loaded.Position >= _options.Shortest && !states.Forgotten)
                {
                    Add(states, prompt[..loaded.Position], loaded, persist: false);
                }
                else
                {
                    _dropped.Enqueue(loaded);
                }
            }
        }
    }

    /// <summary>
    /// Drops all states of a tenant in memory and says how many there were; what waits to be written is not written, and what runs now keeps nothing at its end.
    /// Those on disk belong to <see cref="StateFolder.Forget"/>.
    /// </summary>
    public int Forget(string tenant)
    {
        var count = 0;
        lock (_lock)
        {
            if (_tenants.Remove(tenant, out var states))
            {
                states.Forgotten = true;
                foreach (var state in _uses.Where(u => u.Tenant == states).ToList())
                {
                    Drop(state);
                    count++;
                }

                _files?.Forget(states);
            }
        }

        return count;
    }

    /// <summary>Gives up states, the one unused for longest first, until that many bytes are free or none is left.</summary>
    /// <returns>Bytes given up.</returns>
    public long Evict(long bytes)
    {
        lock (_lock)
        {
            var before = _bytes;
            for (var use = _uses.Last; use is not null && before - _bytes < bytes;)
            {
                var later = use.Previous;
                if (use.Value.Writers == 0) // else giving it up would free nothing
                {
                    Drop(use.Value);
                    Instruments.StateEvictions.Add(1, Instruments.Of(_model.Info));
                }

                use = later;
            }

            return before - _bytes;
        }
    }

    /// <summary>Releases the memory of states given up meanwhile. On the thread of the model, now and then.</summary>
    public void Collect()
    {
        while (_dropped.TryDequeue(out var session))
        {
            session.Dispose();
        }
    }

    /// <summary>Lets what was kept since the last time go to disk, in the background. To be called when the model has nothing else to do.</summary>
    public void Write() => _files?.Write();

    /// <summary>Waits for what is being written and drops all states. After the last forward pass, before the model is disposed of.</summary>
    public void Dispose()
    {
        _registration.Dispose();
        _files?.Dispose();
        lock (_lock)
        {
            while (_uses.First is { } use)
            {
                Drop(use.Value);
            }
        }

        Collect();
    }

    /// <summary>Keeps the state after <paramref name="tokens"/>, which the session stands at or can go back to.</summary>
    internal void Keep(TenantStates? tenant, ReadOnlySpan<int> tokens, Session session, bool persist)
    {
        if (tenant is null || tokens.Length < _options.Shortest || session.IsLost)
        {
            return;
        }

        Collect();
        lock (_lock)
        {
            if (!tenant.Forgotten)
            {
                Add(tenant, tokens, session.Snapshot(tokens.Length), persist);
            }
        }
    }

    /// <summary>A state is on disk, or will not get there.</summary>
    internal void Written(KeptState state)
    {
        lock (_lock)
        {
            if (--state.Writers == 0 && state.Dropped)
            {
                Release(state.Session);
            }
        }
    }

    private T Locked<T>(Func<T> read)
    {
        lock (_lock)
        {
            return read();
        }
    }

    private TenantStates TenantOf(string name)
    {
        if (!_tenants.TryGetValue(name, out var states))
        {
            _tenants.Add(name, states = new(name));
        }

        return states;
    }

    private static bool Serves(KeptState state, int common) => state.Session.CanRewind(common);

    private (KeptState? State, int Position) Best(PrefixTree<KeptState>.Match match)
    {
        var (state, position) = match.Below is { } below ? (below.Value, match.Common) : (match.Deepest?.Value, match.Deepest?.Depth ?? 0);
        return position >= _options.Shortest ? (state, position) : (null, 0);
    }

    // Files the session, which is given away, or gives it up: because it is known already, or because there is no room.
    private void Add(TenantStates tenant, ReadOnlySpan<int> tokens, Session session, bool persist)
    {
        var match = tenant.Tree.Find(tokens, Serves);
        var known = Best(match);
        if (known.State is { } longer && known.Position == tokens.Length)
        {
            _dropped.Enqueue(session);
            Touch(longer);
            Save(longer, tokens, persist);
            return;
        }

        var bytes = session.Charge();
        DropBeginnings(match.Deepest, session);

        if (!Reserve(bytes))
        {
            session.Discharge();
            _dropped.Enqueue(session);
            return;
        }

        _bytes += bytes;
        Instruments.StateBytes.Add(bytes, Instruments.Of(_model.Info));
        var state = new KeptState { Session = session, Tenant = tenant, Place = tenant.Tree.Place(tokens) };
        state.Use = _uses.AddFirst(state);
        tenant.Tree.Set(state.Place, state);
        Save(state, tokens, persist);
    }

    private void Save(KeptState state, ReadOnlySpan<int> tokens, bool persist)
    {
        if (persist && _files is not null)
        {
            state.Writers++;
            _files.Add(this, state, tokens.ToArray());
        }
    }

    private bool Reserve(long bytes)
    {
        var over = _bytes + bytes - _options.Limit;
        if (over > 0)
        {
            Evict(over);
        }

        return _bytes + bytes <= _options.Limit
            && (_budget.TryReserve(bytes) || (Evict(bytes - _budget.Free) > 0 && _budget.TryReserve(bytes)));
    }

    // What a longer state can be cut back to need not be kept beside it.
    private void DropBeginnings(PrefixTree<KeptState>.Node? node, Session longer)
    {
        while (node is not null)
        {
            var above = node.Parent;
            if (node.Value is { } beginning && longer.CanRewind(node.Depth))
            {
                Drop(beginning);
            }

            node = above;
        }
    }

    private void Touch(KeptState? state)
    {
        if (state?.Use is { } use)
        {
            _uses.Remove(use);
            _uses.AddFirst(use);
        }
    }

    private void Drop(KeptState state)
    {
        state.Tenant.Tree.Remove(state.Place);
        _uses.Remove(state.Use!);
        state.Dropped = true;
        if (state.Writers == 0)
        {
            Release(state.Session);
        }
    }

    private void Release(Session session)
    {
        var bytes = session.Discharge();
        _bytes -= bytes;
        Instruments.StateBytes.Add(-bytes, Instruments.Of(_model.Info));
        _budget.Return(bytes);
        _dropped.Enqueue(session);
    }
}
