namespace RyzenLlm.Engine.Decoding.Scheduling;

/// <summary>A request on its way: waiting, then running, then answered. It may end, for whatever reason, once.</summary>
internal sealed class Ticket : IDisposable
{
    private const int Waiting = 0;
    private const int Running = 1;
    private const int Left = 2;

    private readonly TaskCompletionSource<GenerationResult> _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _deadline;
    private readonly CancellationTokenSource _ended;
    private readonly CancellationTokenRegistration _registration;
    private readonly CancellationToken _cancel;
    private readonly CancellationToken _closing;
    private readonly Action _leave;
    private PreparedRequest? _prepared;
    private IDisposable? _memory;
    private int _state;

    /// <summary>A request that waits.</summary>
    /// <param name="request">The request.</param>
    /// <param name="sink">Receives its text, or null.</param>
    /// <param name="clock">Time for its deadline.</param>
    /// <param name="cancel">The caller's.</param>
    /// <param name="closing">The scheduler's.</param>
    /// <param name="leave">Called once, when the request takes no place any more; before it is answered.</param>
    public Ticket(GenerationRequest request, GenerationSink? sink, TimeProvider clock, CancellationToken cancel, CancellationToken closing, Action leave)
    {
        (Request, Relay, _cancel, _closing, _leave) = (request, new(sink), cancel, closing, leave);
        Submitted = clock.GetTimestamp();
        _deadline = new(request.Deadline, clock);
        _ended = CancellationTokenSource.CreateLinkedTokenSource(cancel, closing, _deadline.Token);
        _registration = _ended.Token.UnsafeRegister(static state => ((Ticket)state!).EndWaiting(), this);
    }

    /// <summary>The request.</summary>
    public GenerationRequest Request { get; }

    /// <summary>Where its text goes.</summary>
    public TextRelay Relay { get; }

    /// <summary>When it came.</summary>
    public long Submitted { get; }

    /// <summary>The request, read; null until it is.</summary>
    public PreparedRequest? Prepared
    {
        get => Volatile.Read(ref _prepared);
        set => Volatile.Write(ref _prepared, value);
    }

    /// <summary>Keeps memory reserved until the request is answered; gives it back at once where it has been, as happens while it is prepared.</summary>
    public void Hold(IDisposable memory)
    {
        if (Interlocked.CompareExchange(ref _memory, memory, null) is not null)
        {
            memory.Dispose();
        }
    }

    /// <summary>The answer.</summary>
    public Task<GenerationResult> Result => _answer.Task;

    /// <summary>Whether it still waits.</summary>
    public bool IsWaiting => Volatile.Read(ref _state) == Waiting;

    /// <summary>Why the request must end now, or null.</summary>
    public FinishReason? EndedBy =>
        !_ended.IsCancellationRequested ? null
        : _cancel.IsCancellationRequested || _closing.IsCancellationRequested ? FinishReason.Cancelled
        : FinishReason.Deadline;

    /// <summary>From waiting to running; false if the request has left.</summary>
    public bool TryStart() => Interlocked.CompareExchange(ref _state, Running, Waiting) == Waiting;

    /// <summary>A waiting request cannot be served.</summary>
    public void Refuse(Exception e)
    {
        if (TryLeave(Waiting))
        {
            _answer.TrySetException(e);
        }
    }

    /// <summary>A running request has its result.</summary>
    public void Complete(GenerationResult result)
    {
        if (TryLeave(Running))
        {
            Relay.Close(() => Answer(result));
        }
    }

    /// <summary>A running request failed.</summary>
    public void Fail(Exception e)
    {
        if (TryLeave(Running))
        {
            Relay.Close(() => _answer.TrySetException(Relay.Failure ?? e));
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Interlocked.Exchange(ref _memory, _ended)?.Dispose(); // no longer null: what comes now is not held
        _registration.Dispose();
        _ended.Dispose();
        _deadline.Dispose();
    }

    private void Answer(GenerationResult result)
    {
        if (Relay.Failure is { } e)
        {
            _answer.TrySetException(e);
        }
        else
        {
            _answer.TrySetResult(result);
        }
    }

    private void EndWaiting()
    {
        if (TryLeave(Waiting))
        {
            _answer.TrySetResult(new() { Text = "", FinishReason = EndedBy ?? FinishReason.Cancelled });
        }
    }

    private bool TryLeave(int state)
    {
        if (Interlocked.CompareExchange(ref _state, Left, state) != state)
        {
            return false;
        }

        _leave();
        return true;
    }
}
