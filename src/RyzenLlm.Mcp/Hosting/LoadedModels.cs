using Microsoft.Extensions.Logging;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;
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
/// <see cref="ModelSettings.KeepLoaded"/>, or when memory is short.
/// </summary>
public sealed class LoadedModels : IDisposable
{
    // What the process itself grows to beside what is reserved: compiled code, tokenizers, requests and answers.
    private const long Growth = 64_000_000;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Slot> _slots = [];
    private readonly List<Task> _unloading = [];
    private readonly AppSettings _settings;
    private readonly TimeProvider _clock;
    private bool _disposed;

    /// <summary>No models yet.</summary>
    /// <param name="settings">The settings.</param>
    /// <param name="clock">Time for deadlines and measurements.</param>
    /// <param name="log">Told about saved states that are no good.</param>
    /// <param name="memory">What may be taken; null for what the settings allow.</param>
    public LoadedModels(AppSettings settings, TimeProvider? clock = null, ILogger<LoadedModels>? log = null, MemoryBudget? memory = null)
    {
        _settings = settings;
        _clock = clock ?? TimeProvider.System;
        Memory = memory ?? new(Math.Max(1, MemorySize.Parse(settings.Engine.MemoryLimit, MachineInfo.MemoryBytes)), Environment.WorkingSet + Growth);
        Memory.OnShortage(EvictionOrder.Models, EvictIdle);
        States = Conversations.FolderOf(settings) is { } folder ? new(folder, DiskLimit(settings.States, folder), log) : null;
    }

    /// <summary>What models, sequences and kept states may take together.</summary>
    public MemoryBudget Memory { get; }

    /// <summary>Where states outlive the process, or null.</summary>
    public StateFolder? States { get; }

    /// <summary>Whether any model is in use.</summary>
    internal Workload Work { get; } = new();

    /// <summary>How a model is loaded under these settings.</summary>
    public static LoadOptions OptionsFor(EngineSettings engine) => new()
    {
        Threads = engine.Threads,
        Kernels = engine.Kernels,
        KvType = Enum.Parse<KvType>(engine.KvType, ignoreCase: true),
        Precision = Enum.Parse<Precision>(engine.Precision, ignoreCase: true),
        Ternary = Enum.Parse<TernaryLayout>(engine.TernaryLayout, ignoreCase: true),
        Window = engine.Window,
        Sinks = engine.Sinks,
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
    /// <exception cref="MemoryLimitException">There is no memory for it; nothing was loaded.</exception>
    public async Task<Lease> AcquireAsync(ModelEntry entry, CancellationToken cancel = default)
    {
        Slot slot;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (!_slots.TryGetValue(entry.Path, out slot!))
            {
                var memory = Memory.Reserve($"the model {entry.Name}", BytesOf(entry), "Choose a smaller model");
                slot = new(entry.Name, LoadAsync(entry, [.. _unloading])) { Reservations = { memory } };
                _slots.Add(entry.Path, slot);
            }

            slot.Users++;
            Work.Enter();
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
            Work.Enter();
            return new(this, slot, slot.Loading.Result);
        }
    }

    /// <summary>Whether a model is in memory.</summary>
    public bool IsLoaded(ModelEntry entry)
    {
        lock (_lock)
        {
            return _slots.TryGetValue(entry.Path, out var slot) && slot.Loading.IsCompletedSuccessfully;
        }
    }

    /// <summary>
    /// A model that drafts for a loaded one. It runs on the threads of that one, between its steps, and is unloaded with it.
    /// </summary>
    public async Task<LanguageModel> DraftAsync(Lease target, ModelEntry draft, CancellationToken cancel = default)
    {
        Task<LanguageModel> loading;
        lock (_lock)
        {
            var drafts = target.Drafts;
            if (!drafts.TryGetValue(draft.Path, out loading!) || loading.IsFaulted)
            {
                target.Reservations.Add(Memory.Reserve($"the model {draft.Name}", BytesOf(draft), "Set speculate to lookup"));
                drafts[draft.Path] = loading = Task.Run(
                    () => ModelLoader.LoadDraft(draft.Path, target.Scheduler.Model, OptionsFor(_settings.Engine)), CancellationToken.None);
            }
        }

        return await loading.WaitAsync(cancel).ConfigureAwait(false);
    }

    /// <summary>Drops the kept states of a tenant, in memory and on disk, and says how many there were.</summary>
    public int ForgetStates(string tenant)
    {
        List<Scheduler> schedulers;
        lock (_lock)
        {
            schedulers = [.. _slots.Values.Where(slot => slot.Loading.IsCompletedSuccessfully).Select(slot => slot.Loading.Result)];
        }

        return schedulers.Sum(scheduler => scheduler.ForgetStates(tenant)) + (States?.Forget(tenant) ?? 0);
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
        Task.WaitAll(_unloading);
        States?.Dispose();
    }

    // Weights are used in place from the mapped file; buffers of a step and pages in reserve come on top.
    internal static long BytesOf(ModelEntry entry) => entry.Bytes + (entry.Bytes / 8) + 32_000_000;

    private static long DiskLimit(StateSettings states, string folder) => states.Disk.Contains('%', StringComparison.Ordinal)
        ? MemorySize.Parse(states.Disk, new DriveInfo(Path.GetPathRoot(folder)!).AvailableFreeSpace)
        : MemorySize.Parse(states.Disk, 0);

    // What makes room goes first, so that both are never there together.
    private async Task<Scheduler> LoadAsync(ModelEntry entry, Task[] leaving)
    {
        await Task.WhenAll(leaving).ConfigureAwait(false);
        var options = BoundsFor(_settings.Engine) with
        {
            Reuse = new(MemorySize.Parse(_settings.States.Memory, Memory.Limit)),
            States = States,
            Memory = Memory,
        };
        return await Task.Run(() => new Scheduler(ModelLoader.Load(entry.Path, OptionsFor(_settings.Engine)), options, _clock)).ConfigureAwait(false);
    }

    private long EvictIdle(long bytes)
    {
        var freed = 0L;
        List<Slot> idle = [];
        lock (_lock)
        {
            foreach (var slot in _slots.Values.Where(s => s.Users == 0 && s.Loading.IsCompleted).OrderBy(s => s.LastUse).TakeWhile(_ => freed < bytes).ToList())
            {
                freed += slot.Reservations.Sum(r => r.Bytes);
                Forget(slot);
                idle.Add(slot);
            }

            idle.ForEach(Unload);
        }

        ServerInstruments.ModelEvictions.Add(idle.Count);
        return freed;
    }

    private void Release(Slot slot)
    {
        List<Slot> unused;
        lock (_lock)
        {
            slot.Users--;
            Work.Leave();
            slot.LastUse = _clock.GetTimestamp();
            if (slot.Loading.IsFaulted)
            {
                Forget(slot); // a later request tries again: the file may have been replaced
            }

            unused = [.. _slots.Values.Where(s => s.Users == 0).OrderBy(s => s.LastUse).Take(_slots.Count - _settings.Models.KeepLoaded)];
            unused.ForEach(Forget);
        }

        ServerInstruments.ModelEvictions.Add(unused.Count);
        unused.ForEach(Unload);
    }

    private void Forget(Slot slot)
    {
        slot.Reservations.ForEach(r => r.Dispose());
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
    private void Unload(Slot slot)
    {
        lock (_lock)
        {
            _unloading.RemoveAll(t => t.IsCompleted);
            _unloading.Add(UnloadAsync(slot));
        }
    }

    private static Task UnloadAsync(Slot slot) => Task.WhenAll([slot.Loading, .. slot.Drafts.Values]).ContinueWith(
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
            (Drafts, Reservations) = (slot.Drafts, slot.Reservations);
        }

        internal Dictionary<string, Task<LanguageModel>> Drafts { get; }

        internal List<MemoryBudget.Reservation> Reservations { get; }

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

        public List<MemoryBudget.Reservation> Reservations { get; } = [];

        public int Users { get; set; }

        public long LastUse { get; set; }
    }
}
