using RyzenLlm.Engine.Models;

namespace RyzenLlm.Engine.Sessions.Reuse;

/// <summary>A state on its way to disk.</summary>
internal sealed class StateFile(PrefixStates owner, KeptState state, int[] tokens, byte[] model, IReadOnlyList<int> positions)
{
    private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The state; it may go further than the tokens.</summary>
    public KeptState State => state;

    /// <summary>Whose.</summary>
    public TenantStates Tenant => state.Tenant;

    /// <summary>The sequence.</summary>
    public int[] Tokens => tokens;

    /// <summary>What the model is called.</summary>
    public byte[] Model => model;

    /// <summary>Positions after which there is a file, ascending; the last is the length of the sequence.</summary>
    public IReadOnlyList<int> Positions => positions;

    /// <summary>Whether it is not wanted any more.</summary>
    public bool Withdrawn => state.Tenant.Forgotten;

    /// <summary>Ends when the file is there or will never be.</summary>
    public Task Completion => _done.Task;

    /// <summary>Whether a file that ends at this position is the last of a state, and of no use to a longer one.</summary>
    public bool IsEnd(int position) => state.Session.Model.Info.HasFullState(position) || position % StateFiles.PartPositions != 0;

    /// <summary>First position told by the file that ends at this one.</summary>
    public int StartOf(int position) => state.Session.Model.Info.HasFullState(position) ? 0 : (position - 1) / StateFiles.PartPositions * StateFiles.PartPositions;

    /// <summary>Lets go of the state.</summary>
    public void Done()
    {
        owner.Written(state);
        _done.SetResult();
    }
}

/// <summary>
/// The states of one model in a folder. A state of full size (recurrent, or past a window) is one file. Others grow with their length, so they are cut into parts of
/// <see cref="PartPositions"/> positions, each filed under all tokens up to its end: a longer conversation adds files, and what two have in common is there once.
/// </summary>
internal sealed class StateFiles(StateFolder folder, LanguageModel model) : IDisposable
{
    /// <summary>Positions in a part; a multiple of a page of the cache.</summary>
    public const int PartPositions = 256;

    /// <summary>States that may wait for the model to be idle; with a further one all are written at once.</summary>
    private const int MostWaiting = 8;

    private readonly Lock _lock = new();
    private readonly List<StateFile> _waiting = [];
    private readonly List<StateFile> _given = [];
    private readonly Lazy<byte[]> _model = new(() => Identity(model));

    /// <summary>Has a state written when the model is idle.</summary>
    public void Add(PrefixStates owner, KeptState state, int[] tokens)
    {
        lock (_lock)
        {
            _waiting.Add(new(owner, state, tokens, _model.Value, PositionsOf(tokens.Length)));
            if (_waiting.Count <= MostWaiting)
            {
                return;
            }
        }

        Write();
    }

    /// <summary>Gives what waits to the writer.</summary>
    public void Write()
    {
        lock (_lock)
        {
            _given.RemoveAll(file => file.Completion.IsCompleted);
            foreach (var file in _waiting)
            {
                _given.Add(file);
                folder.Enqueue(file);
            }

            _waiting.Clear();
        }
    }

    /// <summary>Gives up what waits for a tenant that wants to be forgotten; what was given to the writer notices by itself.</summary>
    public void Forget(TenantStates tenant)
    {
        List<StateFile> withdrawn;
        lock (_lock)
        {
            withdrawn = _waiting.FindAll(file => file.Tenant == tenant);
            _waiting.RemoveAll(withdrawn.Contains);
        }

        withdrawn.ForEach(file => file.Done());
    }

    /// <summary>
    /// The longest saved state of a beginning of the sequence, if there seems to be one of at least that many tokens; else null. Shorter, down to nothing, where files turned out
    /// to be damaged. From any thread; to be disposed of on the model's.
    /// </summary>
    public Session? Load(string tenant, ReadOnlySpan<int> tokens, int atLeast)
    {
        try
        {
            return LoadFiles(tenant, tokens, atLeast);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            folder.Warn(e);
            return null;
        }
    }

    /// <summary>Waits until all that was kept is on disk.</summary>
    public void Dispose()
    {
        Write();
        Task.WaitAll(_given.Select(file => file.Completion));
    }

    private Session? LoadFiles(string tenant, ReadOnlySpan<int> tokens, int atLeast)
    {
        var shelf = folder.Shelf(tenant, _model.Value);
        var names = folder.List(shelf);
        var length = tokens.Length;
        int[] positions = [.. names.Select(StateFolder.PositionOf).Where(p => p <= length).Distinct().Order()];
        if (positions.Length == 0)
        {
            return null;
        }

        var identities = folder.Identities(tenant, _model.Value, tokens, positions);
        var files = positions.Zip(identities).Where(f => names.Contains(StateFolder.FileName(f.First, f.Second))).ToDictionary(f => f.First, f => f.Second);
        var (full, parts, ends) = Route(files);
        if (full.Concat(parts).Concat(ends).DefaultIfEmpty(0).Max() < atLeast)
        {
            return null;
        }

        var session = model.CreateSession();
        if (!full.Any(Read) && parts.All(Read))
        {
            _ = ends.Any(Read); // the first that is sound
        }

        return session;

        bool Read(int position) =>
            folder.Read(Path.Combine(shelf, StateFolder.FileName(position, files[position])), stream => session.LoadPart(stream, files[position]));
    }

    // The files that are a state each, those that together make one, and those that may follow as its end; best first.
    private (int[] Full, int[] Parts, int[] Ends) Route(Dictionary<int, byte[]> files)
    {
        var whole = 0;
        while (!model.Info.HasFullState(whole + PartPositions) && files.ContainsKey(whole + PartPositions))
        {
            whole += PartPositions;
        }

        return (
            [.. files.Keys.Where(model.Info.HasFullState).OrderDescending()],
            [.. Enumerable.Range(1, whole / PartPositions).Select(i => i * PartPositions)],
            [.. files.Keys.Where(p => p > whole && p < whole + PartPositions && !model.Info.HasFullState(p)).OrderDescending()]);
    }

    private IReadOnlyList<int> PositionsOf(int length) => model.Info.HasFullState(length)
        ? [length]
        : [.. Enumerable.Range(1, length / PartPositions).Select(i => i * PartPositions), .. length % PartPositions > 0 ? [length] : Array.Empty<int>()];

    // What a state's bits depend on: the weights, the kernel path and its precision, and the build that computed them.
    private static byte[] Identity(LanguageModel model)
    {
        using var session = model.CreateSession();
        return
        [
            .. session.Identity,
            .. System.Text.Encoding.UTF8.GetBytes($"{model.Ops.Kernels.Name} {model.Ops.Precision}"),
            .. typeof(LanguageModel).Module.ModuleVersionId.ToByteArray(),
            .. typeof(Kernels.Ops).Module.ModuleVersionId.ToByteArray(),
        ];
    }
}
