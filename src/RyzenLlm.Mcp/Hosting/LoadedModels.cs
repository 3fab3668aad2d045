using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Kernels;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>A model in memory.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Ready">Whether it is loaded, not only on its way.</param>
/// <param name="Pending">Requests accepted and not yet answered.</param>
public sealed record LoadedModel(string Name, bool Ready, int Pending);

/// <summary>
/// Models in memory: loaded when first used, kept for the next request, and the one unused for longest given up when there are more than
/// <see cref="ModelSettings.KeepLoaded"/>.
/// </summary>
public sealed class LoadedModels(AppSettings settings, TimeProvider? clock = null) : IDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Slot> _slots = [];
    private readonly TimeProvider _clock = clock ?? TimeProvider.System;
    private bool _disposed;

    /// <summary>How a model is loaded under these settings.</summary>
    public static LoadOptions OptionsFor(EngineSettings engine) => new()
    {
        Threads = engine.Threads,
        Kernels = engine.Kernels,
        KvType = Enum.Parse<KvType>(engine.KvType, ignoreCase: true),
        Precision = Enum.Parse<Precision>(engine.Precision, ignoreCase: true),
        Ternary = Enum.Parse<TernaryLayout>(engine.TernaryLayout, ignoreCase: true),
    };

    /// <summary>How many requests a model serves under these settings.</summary>
    public static SchedulerOptions BoundsFor(EngineSettings engine) => new()
    {
        MaxSequences = engine.MaxSequences,
        QueueLimit = engine.QueueLimit,
        StepTokens = Math.Max(engine.StepTokens, engine.MaxSequences),
    };

    /// <summary>The scheduler of a model, which stays loaded until the lease is disposed of.</summary>
    /// <param name="entry">The model.</param>
    /// <param name="cancel">Gives up waiting; the loading itself goes on for later requests.</param>
    public async Task<Lease> AcquireAsync(ModelEntry entry, CancellationToken cancel = default)
    {
        Slot slot;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (!_slots.TryGetValue(entry.Path, out slot!))
            {
                slot = new(entry.Name, Task.Run(() => new Scheduler(ModelLoader.Load(entry.Path, OptionsFor(settings.Engine)), BoundsFor(settings.Engine), _clock), CancellationToken.None));
                _slots.Add(entry.Path, slot);
            }

            slot.Users++;
        }

        try
        {
            return new(this, slot, await slot.Loading.WaitAsync(cancel).ConfigureAwait(false));
        }
        catch
        {
            Release(slot);
            throw;
        }
    }

    /// <summary>As <see cref="AcquireAsync"/> for a model that is in memory already; null for any other.</summary>
    public Lease? TryAcquire(ModelEntry entry)
    {
        lock (_lock)
        {
            if (_disposed || !_slots.TryGetValue(entry.Path, out var slot) || !slot.Loading.IsCompletedSuccessfully)
            {
                return null;
            }

            slot.Users++;
            return new(this, slot, slot.Loading.Result);
        }
    }

    /// <summary>
    /// A model that drafts for a loaded one. It runs on the thread of that one, between its steps, and is unloaded with it. One thread of its own
    /// suffices: a second team would compete with the target's for the processors.
    /// </summary>
    public async Task<LanguageModel> DraftAsync(Lease target, ModelEntry draft, CancellationToken cancel = default)
    {
        Task<LanguageModel> loading;
        lock (_lock)
        {
            var drafts = target.Drafts;
            if (!drafts.TryGetValue(draft.Path, out loading!) || loading.IsFaulted)
            {
                var options = OptionsFor(settings.Engine) with { Threads = 1 };
                drafts[draft.Path] = loading = Task.Run(() => ModelLoader.Load(draft.Path, options), CancellationToken.None);
            }
        }

        return await loading.WaitAsync(cancel).ConfigureAwait(false);
    }

    /// <summary>The models in memory at this moment, and those being loaded.</summary>
    public LoadedModel[] Snapshot()
    {
        lock (_lock)
        {
            return [.. _slots.Values.Select(slot => slot.Loading.IsCompletedSuccessfully
                ? new LoadedModel(slot.Name, Ready: true, slot.Loading.Result.Pending)
                : new LoadedModel(slot.Name, Ready: false, 0))];
        }
    }

    /// <summary>Ends all requests and unloads all models.</summary>
    public void Dispose()
    {
        List<Slot> slots;
        lock (_lock)
        {
            _disposed = true;
            slots = [.. _slots.Values];
            _slots.Clear();
        }

        slots.ForEach(Unload);
    }

    private void Release(Slot slot)
    {
        List<Slot> unused;
        lock (_lock)
        {
            slot.Users--;
            slot.LastUse = _clock.GetTimestamp();
            if (slot.Loading.IsFaulted)
            {
                Forget(slot); // a later request tries again: the file may have been replaced
            }

            unused = [.. _slots.Values.Where(s => s.Users == 0).OrderBy(s => s.LastUse).Take(_slots.Count - settings.Models.KeepLoaded)];
            unused.ForEach(Forget);
        }

        ServerInstruments.ModelEvictions.Add(unused.Count);
        unused.ForEach(Unload);
    }

    private void Forget(Slot slot)
    {
        foreach (var (path, other) in _slots)
        {
            if (other == slot)
            {
                _slots.Remove(path);
                return;
            }
        }
    }

    // The scheduler first: its thread may be using a draft.
    private static void Unload(Slot slot) => _ = Task.WhenAll([slot.Loading, .. slot.Drafts.Values]).ContinueWith(
        _ =>
        {
            if (slot.Loading.IsCompletedSuccessfully)
            {
                slot.Loading.Result.Dispose();
            }

            foreach (var draft in slot.Drafts.Values.Where(d => d.IsCompletedSuccessfully))
            {
                draft.Result.Dispose();
            }
        },
        CancellationToken.None,
        TaskContinuationOptions.None,
        TaskScheduler.Default);

    /// <summary>Use of a loaded model.</summary>
    public sealed class Lease : IDisposable
    {
        private readonly LoadedModels _owner;
        private Slot? _slot;

        internal Lease(LoadedModels owner, Slot slot, Scheduler scheduler)
        {
            _owner = owner;
            _slot = slot;
            Scheduler = scheduler;
            Drafts = slot.Drafts;
        }

        internal Dictionary<string, Task<LanguageModel>> Drafts { get; }

        /// <summary>Where requests go.</summary>
        public Scheduler Scheduler { get; }

        /// <inheritdoc/>
        public void Dispose()
        {
            if (Interlocked.Exchange(ref _slot, null) is { } slot)
            {
                _owner.Release(slot);
            }
        }
    }

    internal sealed class Slot(string name, Task<Scheduler> loading)
    {
        public string Name { get; } = name;

        public Task<Scheduler> Loading { get; } = loading;

        public Dictionary<string, Task<LanguageModel>> Drafts { get; } = [];

        public int Users { get; set; }

        public long LastUse { get; set; }
    }
}
