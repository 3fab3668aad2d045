using System.Collections.Concurrent;
using RyzenLlm.Engine.Decoding.Scheduling;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Telemetry;

namespace RyzenLlm.Engine.Decoding;

/// <summary>Embeddings: rows of their texts ride along in the steps, within the room that prompts have.</summary>
public sealed partial class Scheduler
{
    private readonly ConcurrentQueue<EmbeddingRun> _incomingRuns = new();
    private readonly List<EmbeddingRun> _runs = [];
    private bool _ended; // the thread of the model

    /// <summary>
    /// Embeds texts: final hidden states, pooled and of length 1. The same text gives the same bits in any company. Generation goes on meanwhile: a step grows by no
    /// more than it would for a prompt.
    /// </summary>
    /// <param name="request">The texts.</param>
    /// <param name="cancel">Gives up between two steps.</param>
    /// <exception cref="ArgumentException">The model has no vocabulary.</exception>
    /// <exception cref="QueueFullException">Too many requests wait already.</exception>
    /// <exception cref="MemoryLimitException">There is no memory for the longest text.</exception>
    /// <exception cref="StepFailedException">The model failed.</exception>
    /// <exception cref="ObjectDisposedException">The model is being unloaded.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public async Task<EmbeddingResult> EmbedAsync(EmbeddingRequest request, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        EnterLine();
        var trace = new RequestTrace(Model.Info, "embeddings");
        try
        {
            var run = await Task.Run(() => new EmbeddingRun(Model, request, _memory, cancel), cancel).ConfigureAwait(false);
            _incomingRuns.Enqueue(run);
            _wake.Set();
            using var registration = cancel.UnsafeRegister(static wake => ((ManualResetEventSlim)wake!).Set(), _wake);
            if (Volatile.Read(ref _ended))
            {
                FailIncoming(); // the thread was gone before it saw this one
            }

            var result = await run.Result.ConfigureAwait(false);
            trace.Complete(result.Tokens);
            return result;
        }
        catch (Exception e)
        {
            trace.Fail(e);
            throw;
        }
        finally
        {
            _leave();
        }
    }

    // Who came, who gave up, who is done.
    private void GatherRuns()
    {
        while (_incomingRuns.TryDequeue(out var come))
        {
            _runs.Add(come);
        }

        for (var i = _runs.Count - 1; i >= 0; i--)
        {
            var run = _runs[i];
            var failure = run.Failure
                ?? (run.IsDone ? null
                : run.Cancel.IsCancellationRequested ? new OperationCanceledException(run.Cancel)
                : _closing.IsCancellationRequested ? Unloading()
                : null);
            if (failure is not null || run.IsDone)
            {
                _runs.RemoveAt(i);
                run.End(failure);
            }
        }
    }

    // Half of the room where prompts wait too; the first in line changes from step to step.
    private void AddEmbeddings(Batch batch)
    {
        if (_runs.Count == 0)
        {
            return;
        }

        var room = _budget.Rows(position: 0);
        var left = NextToRead() is null ? room : room / 2;
        room = left;
        for (var i = 0; i < _runs.Count; i++)
        {
            try
            {
                left -= _runs[i].AddRows(batch, left);
            }
            catch (Exception e)
            {
                _runs[i].Failure = e;
            }
        }

        if (_runs.Count > 1)
        {
            _runs.Add(_runs[0]);
            _runs.RemoveAt(0);
        }

        _budget.Add(room - left, position: 0);
    }

    private void AdvanceRuns(Batch batch)
    {
        foreach (var run in _runs)
        {
            if (run.Failure is null)
            {
                run.Advance(batch);
            }
        }
    }

    private void FailIncoming()
    {
        while (_incomingRuns.TryDequeue(out var run))
        {
            run.End(Unloading());
        }
    }

    private ObjectDisposedException Unloading() => new(nameof(Scheduler), $"{Model.Info.Name} is being unloaded.");
}
