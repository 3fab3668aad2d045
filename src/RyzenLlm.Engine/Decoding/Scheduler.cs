using System.Collections.Concurrent;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Telemetry;

namespace RyzenLlm.Engine.Decoding;

/// <summary>
/// The one owner of a loaded model: all forward passes happen on its thread. Requests are served one after another in the order they came;
/// a request may be cancelled, or run out of time, while it waits as well as between any two steps.
/// </summary>
public sealed class Scheduler : IDisposable
{
    private readonly BlockingCollection<Entry> _queue = [];
    private readonly CancellationTokenSource _closing = new();
    private readonly TimeProvider _clock;
    private readonly int _queueLimit;
    private readonly Thread _thread;
    private readonly Experience _experience;
    private readonly ConstraintCache _constraints;
    private int _pending;

    /// <summary>Takes over a model, which is disposed of with the scheduler.</summary>
    /// <param name="model">The model.</param>
    /// <param name="queueLimit">Requests that may wait behind the one in work.</param>
    /// <param name="clock">Time for deadlines and measurements.</param>
    public Scheduler(LanguageModel model, int queueLimit = 64, TimeProvider? clock = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(queueLimit, 1);
        Model = model;
        _experience = new(model);
        _constraints = new(model);
        _queueLimit = queueLimit;
        _clock = clock ?? TimeProvider.System;
        _thread = new Thread(Serve) { IsBackground = true, Name = $"model {model.Info.Name}" };
        _thread.Start();
    }

    /// <summary>The model. Only what does not change (<see cref="LanguageModel.Info"/>, the tokenizer) may be used from outside.</summary>
    public LanguageModel Model { get; }

    /// <summary>Requests accepted and not yet answered, the one in work included.</summary>
    public int Pending => Volatile.Read(ref _pending);

    /// <summary>Generates text. Deadline and cancellation end it with what there is; they are finish reasons, not exceptions.</summary>
    /// <param name="request">What to generate.</param>
    /// <param name="sink">Receives every step, on the model's thread; or null.</param>
    /// <param name="cancel">Ends the generation before its next step.</param>
    /// <exception cref="ArgumentException">The request cannot be served; the message says what to change.</exception>
    /// <exception cref="QueueFullException">Too many requests wait already.</exception>
    /// <exception cref="ObjectDisposedException">The model is being unloaded.</exception>
    public Task<GenerationResult> GenerateAsync(GenerationRequest request, GenerationSink? sink = null, CancellationToken cancel = default)
    {
        request.Sampling.Validate();
        ArgumentOutOfRangeException.ThrowIfLessThan(request.MaxTokens, 1);
        if (Interlocked.Increment(ref _pending) > _queueLimit + 1)
        {
            Interlocked.Decrement(ref _pending);
            Instruments.Refused.Add(1, new KeyValuePair<string, object?>(Instruments.RequestModel, Model.Info.Name));
            throw new QueueFullException(_queueLimit);
        }

        var entry = new Entry(request, sink, _clock, cancel, _closing.Token);
        try
        {
            _queue.Add(entry);
        }
        catch (InvalidOperationException) // adding was completed: Dispose has begun
        {
            Interlocked.Decrement(ref _pending);
            entry.Dispose();
            throw new ObjectDisposedException(nameof(Scheduler), $"{Model.Info.Name} is being unloaded.");
        }

        return Answer(entry, new RequestTrace(Model.Info, request));
    }

    /// <summary>Ends all requests as cancelled, waits for the step in work, and disposes of the model.</summary>
    public void Dispose()
    {
        if (!_queue.IsAddingCompleted)
        {
            _queue.CompleteAdding();
            _closing.Cancel();
            _thread.Join();
            Model.Dispose();
        }
    }

    private async Task<GenerationResult> Answer(Entry entry, RequestTrace trace)
    {
        try
        {
            var result = await entry.Result.ConfigureAwait(false);
            trace.Complete(result);
            return result;
        }
        catch (Exception e)
        {
            trace.Fail(e);
            throw;
        }
        finally
        {
            Interlocked.Decrement(ref _pending);
            entry.Dispose();
        }
    }

    private void Serve()
    {
        using var batch = new Batch();
        foreach (var entry in _queue.GetConsumingEnumerable())
        {
            if (entry.TryStart())
            {
                try
                {
                    entry.Complete(Generate(entry, batch));
                }
                catch (Exception e)
                {
                    entry.Fail(e); // the request's fault or the model's: the caller decides, the thread goes on
                }
            }
        }
    }

    private GenerationResult Generate(Entry entry, Batch batch)
    {
        using var generator = new TextGenerator(Model, _experience, _constraints, entry.Request, entry.Sink, _clock, entry.Submitted);
        try
        {
            while (!generator.Finished)
            {
                if (entry.EndedBy is { } reason)
                {
                    generator.End(reason);
                    break;
                }

                batch.Clear();
                generator.AddRows(batch);
                Instruments.Step(Model.Info, batch);
                Model.Forward(batch);
                generator.Advance(batch);
            }

            return generator.Complete();
        }
        finally
        {
            batch.Clear();
        }
    }

    /// <summary>A request on its way: waiting, then in work, then answered.</summary>
    private sealed class Entry : IDisposable
    {
        private readonly TaskCompletionSource<GenerationResult> _answer = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly CancellationTokenSource _deadline;
        private readonly CancellationTokenSource _ended;
        private readonly CancellationTokenRegistration _registration;
        private int _started;

        public Entry(GenerationRequest request, GenerationSink? sink, TimeProvider clock, CancellationToken cancel, CancellationToken closing)
        {
            Request = request;
            Sink = sink;
            Submitted = clock.GetTimestamp();
            _deadline = new(request.Deadline, clock);
            _ended = CancellationTokenSource.CreateLinkedTokenSource(cancel, closing, _deadline.Token);
            Cancel = cancel;
            Closing = closing;
            _registration = _ended.Token.UnsafeRegister(static state => ((Entry)state!).EndWaiting(), this);
        }

        public GenerationRequest Request { get; }

        public GenerationSink? Sink { get; }

        public long Submitted { get; }

        public Task<GenerationResult> Result => _answer.Task;

        /// <summary>Why the request must end now, or null.</summary>
        public FinishReason? EndedBy =>
            !_ended.IsCancellationRequested ? null
            : Cancel.IsCancellationRequested || Closing.IsCancellationRequested ? FinishReason.Cancelled
            : FinishReason.Deadline;

        private CancellationToken Cancel { get; }

        private CancellationToken Closing { get; }

        /// <summary>False if the request ended while it waited.</summary>
        public bool TryStart() => Interlocked.Exchange(ref _started, 1) == 0;

        public void Complete(GenerationResult result) => _answer.TrySetResult(result);

        public void Fail(Exception e) => _answer.TrySetException(e);

        public void Dispose()
        {
            _registration.Dispose();
            _ended.Dispose();
            _deadline.Dispose();
        }

        private void EndWaiting()
        {
            if (TryStart())
            {
                Complete(new() { Text = "", FinishReason = EndedBy ?? FinishReason.Cancelled });
            }
        }
    }
}

/// <summary>More requests wait for a model than allowed.</summary>
public sealed class QueueFullException(int limit)
    : Exception($"{limit} requests already wait for this model: try again later, or raise Engine:QueueLimit.");
