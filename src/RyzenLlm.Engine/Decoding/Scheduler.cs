using System.Collections.Concurrent;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Scheduling;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;
using RyzenLlm.Engine.Telemetry;

namespace RyzenLlm.Engine.Decoding;

/// <summary>
/// The one owner of a loaded model: all forward passes happen on its thread. Requests join and leave between steps, and a step serves them all: the
/// next tokens of every sequence, and as much of the waiting prompts as keeps it short (continuous batching, Yu et al. 2022, "Orca"; chunked
/// prompts, Agrawal et al. 2024, "Sarathi-Serve"). Texts do not depend on it: a row's result is the same in any batch.
/// </summary>
/// <remarks>
/// What a request brings along may fail (its draft, sampler, constraint, sink) and takes only that request with it. Callers and the model's thread
/// meet in one queue; the loop itself takes no locks and, while requests neither come nor go, allocates nothing.
/// </remarks>
public sealed partial class Scheduler : IDisposable
{
    private readonly ConcurrentQueue<Ticket> _incoming = new();
    private readonly ManualResetEventSlim _wake = new();
    private readonly CancellationTokenSource _closing = new();
    private readonly SchedulerOptions _options;
    private readonly TimeProvider _clock;
    private readonly MemoryBudget _memory;
    private readonly PrefixStates _states;
    private readonly Action<Batch> _forward;
    private readonly Action _leave;
    private readonly Thread _thread;
    private readonly Experience _experience;
    private readonly ConstraintCache _constraints;
    private readonly WaitingLine _waiting;
    private readonly StepBudget _budget;
    private readonly List<Sequence> _running;
    private double _service;   // seconds that a request runs, on average
    private double _nextPlace; // what callers are told
    private int _pending;
    private int _disposed;

    /// <summary>Takes over a model, which is disposed of with the scheduler.</summary>
    /// <param name="model">The model.</param>
    /// <param name="options">Bounds; null for the usual ones.</param>
    /// <param name="clock">Time for deadlines and measurements.</param>
    /// <exception cref="ArgumentOutOfRangeException">A bound is out of range.</exception>
    public Scheduler(LanguageModel model, SchedulerOptions? options = null, TimeProvider? clock = null)
        : this(model, options, clock, model.Forward)
    {
    }

    /// <summary>As the public one, with another way to advance a batch: tests look into steps, hold them up and let them fail.</summary>
    internal Scheduler(LanguageModel model, SchedulerOptions? options, TimeProvider? clock, Action<Batch> forward)
    {
        _options = options ?? new();
        _options.Validate();
        Model = model;
        _forward = forward;
        _leave = () => Interlocked.Decrement(ref _pending);
        _clock = clock ?? TimeProvider.System;
        _memory = _options.Memory ?? MemoryBudget.Unlimited;
        _states = new(model, _options.Reuse ?? new(Limit: 0), _memory, _options.States) { Dropped = _wake.Set };
        _experience = new(model);
        _constraints = new(model);
        _waiting = new(_options.QueueLimit);
        _budget = new(_options.StepTokens);
        _running = new(_options.MaxSequences);
        _thread = new Thread(Serve) { IsBackground = true, Name = $"model {model.Info.Name}" };
        _thread.Start();
    }

    /// <summary>The model. Only what does not change (<see cref="LanguageModel.Info"/>, the tokenizer) may be used from outside.</summary>
    public LanguageModel Model { get; }

    /// <summary>Requests that wait or run.</summary>
    public int Pending => Volatile.Read(ref _pending);

    /// <summary>Generates text. Deadline and cancellation end it with what there is; they are finish reasons, not exceptions.</summary>
    /// <param name="request">What to generate.</param>
    /// <param name="sink">Receives every step; or null.</param>
    /// <param name="cancel">Ends the generation before its next step.</param>
    /// <exception cref="ArgumentException">The request cannot be served; the message says what to change.</exception>
    /// <exception cref="QueueFullException">Too many requests wait already.</exception>
    /// <exception cref="MemoryLimitException">There is no memory for a sequence of that length.</exception>
    /// <exception cref="StepFailedException">The model failed.</exception>
    /// <exception cref="ObjectDisposedException">The model is being unloaded.</exception>
    public Task<GenerationResult> GenerateAsync(GenerationRequest request, GenerationSink? sink = null, CancellationToken cancel = default)
    {
        request.Sampling.Validate();
        ArgumentOutOfRangeException.ThrowIfLessThan(request.MaxTokens, 1);
        EnterLine();
        var ticket = new Ticket(request, sink, _clock, cancel, _closing.Token, _leave);
        _incoming.Enqueue(ticket);
        ThreadPool.UnsafeQueueUserWorkItem(Prepare, ticket, preferLocal: false);
        return Answer(ticket, new RequestTrace(Model.Info, request));
    }

    /// <summary>Drops the states of a tenant that are kept in memory and says how many there were; requests that run keep none either.</summary>
    public int ForgetStates(string tenant) => _states.Forget(tenant);

    /// <summary>Ends all requests as cancelled, waits for the step in work, and disposes of the model.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            _closing.Cancel();
            _wake.Set();
            _thread.Join();
            Interlocked.Exchange(ref _ended, true);
            FailIncoming();
            _states.Dispose();
            Model.Dispose();
        }
    }

    // One more request; refused where too many wait.
    private void EnterLine()
    {
        if (_closing.IsCancellationRequested)
        {
            throw Unloading();
        }

        if (Interlocked.Increment(ref _pending) > _options.QueueLimit + _options.MaxSequences)
        {
            Interlocked.Decrement(ref _pending);
            Instruments.Refused.Add(1, new KeyValuePair<string, object?>(Instruments.RequestModel, Model.Info.Name));
            throw new QueueFullException(_options.QueueLimit, TimeSpan.FromSeconds(Math.Clamp(Math.Ceiling(Volatile.Read(ref _nextPlace)), 1, 3600)));
        }
    }

    private static async Task<GenerationResult> Answer(Ticket ticket, RequestTrace trace)
    {
        using (ticket)
        {
            try
            {
                var result = await ticket.Result.ConfigureAwait(false);
                trace.Complete(result);
                return result;
            }
            catch (Exception e)
            {
                trace.Fail(e);
                throw;
            }
        }
    }

    private void Prepare(Ticket ticket)
    {
        try
        {
            var (request, prepared) = (ticket.Request, PreparedRequest.Of(Model, _constraints, ticket.Request));
            var tokens = (int)Math.Min(int.MaxValue, prepared.PromptTokens + (long)request.MaxTokens);
            ticket.Hold(_memory.Reserve($"a request of up to {tokens} tokens", Model.SessionBytes(tokens), "Shorten the prompt or lower max_tokens"));
            if (request.Reuse != StateReuse.Off)
            {
                _states.Restore(request.Tenant, prepared.Tokens);
            }

            ticket.Prepared = prepared;
            _wake.Set();
        }
        catch (Exception e)
        {
            ticket.Refuse(e);
        }
    }

    private void Serve()
    {
        using var batch = new Batch();
        while (Gather())
        {
            Step(batch);
            batch.Clear();
        }
    }

    // Between two steps: who came, who ended, who may start. Waits while there is nothing to do; false once there never will be.
    private bool Gather()
    {
        while (true)
        {
            _wake.Reset();
            while (_incoming.TryDequeue(out var ticket))
            {
                _waiting.Add(ticket);
            }

            LetGo();
            Admit();
            GatherRuns();
            _states.Collect();
            if (_running.Count > 0)
            {
                Volatile.Write(ref _nextPlace, NextPlace());
                return true;
            }

            if (_runs.Count > 0)
            {
                return true;
            }

            if (_closing.IsCancellationRequested)
            {
                return false;
            }

            _states.Write();
            _wake.Wait();
        }
    }

    private void LetGo()
    {
        for (var i = _running.Count - 1; i >= 0; i--)
        {
            var sequence = _running[i];
            if ((sequence.Failure ?? sequence.Ticket.Relay.Failure) is { } failure)
            {
                _running.RemoveAt(i);
                Fail(sequence, failure);
                continue;
            }

            if (!sequence.Generator.Finished && sequence.Ticket.EndedBy is { } reason)
            {
                sequence.Generator.End(reason);
            }

            if (sequence.Generator.Finished)
            {
                _running.RemoveAt(i);
                Complete(sequence);
            }
        }
    }

    // Some places are kept free of what runs in the background.
    private void Admit()
    {
        while (_running.Count < _options.MaxSequences
            && _waiting.Next(background: _running.Count < _options.MaxSequences - (_options.MaxSequences / 4), out var tenant) is { } ticket)
        {
            PrefixReuse? state = null;
            try
            {
                state = Begin(ticket.Prepared!);
                var generator = new TextGenerator(ticket.Prepared!, state, _experience, ticket.Relay, _clock, ticket.Submitted);
                _running.Add(new(ticket, tenant!, state, generator, _clock.GetTimestamp()));
            }
            catch (Exception e)
            {
                state?.Dispose();
                _waiting.Release(tenant!);
                ticket.Fail(e);
            }
        }
    }

    private PrefixReuse Begin(PreparedRequest prepared) => _states.Begin(
        prepared.Request.Reuse == StateReuse.Off ? null : prepared.Request.Tenant,
        prepared.Tokens,
        prepared.Instruction,
        persist: prepared.Request.Reuse == StateReuse.Disk);

    private void Complete(Sequence sequence)
    {
        GenerationResult result;
        try
        {
            result = sequence.Generator.Complete();
            sequence.State.Keep(sequence.Generator.Tokens);
        }
        catch (Exception e)
        {
            Fail(sequence, e);
            return;
        }

        var seconds = _clock.GetElapsedTime(sequence.Started).TotalSeconds;
        _service = _service == 0 ? seconds : _service + ((seconds - _service) / 16);
        sequence.Generator.Dispose();
        sequence.State.Dispose();
        _waiting.Release(sequence.Tenant);
        sequence.Ticket.Complete(result);
    }

    private void Fail(Sequence sequence, Exception e)
    {
        sequence.Generator.Dispose();
        sequence.State.Dispose();
        _waiting.Release(sequence.Tenant);
        sequence.Ticket.Fail(e);
    }

    // Seconds until a place is likely to be free: by what requests took so far, or else by what the shortest may still take.
    private double NextPlace()
    {
        if (_service > 0)
        {
            return _service / _running.Count;
        }

        var tokens = int.MaxValue;
        foreach (var sequence in _running)
        {
            tokens = Math.Min(tokens, sequence.Ticket.Request.MaxTokens - sequence.Generator.GeneratedTokens);
        }

        return tokens * _experience.Costs.Pass(_running.Count);
    }
}
