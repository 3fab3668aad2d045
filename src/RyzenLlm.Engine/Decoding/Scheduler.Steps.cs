using System.Collections.Concurrent;
using RyzenLlm.Engine.Decoding.Constraints;
using RyzenLlm.Engine.Decoding.Scheduling;
using RyzenLlm.Engine.Decoding.Speculation;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Engine.Sessions.Reuse;
using RyzenLlm.Engine.Telemetry;

namespace RyzenLlm.Engine.Decoding;

// A step: one row for everyone who waits for a token, the prompts' part, the pass, and what each sequence makes of it.
public sealed partial class Scheduler
{
    private void Step(Batch batch)
    {
        var decodeRows = AddNextTokens(batch);
        var usual = decodeRows > 0 ? _experience.Costs.Pass(decodeRows) : 0;
        if (decodeRows == 0 || usual > 0)
        {
            _budget.Begin(decodeRows, usual);
            AddEmbeddings(batch);
            AddPrompts(batch); // else a first step without prompts shows what is usual
        }

        var promptRows = batch.Count - decodeRows;
        Instruments.Step(Model.Info, batch);
        try
        {
            _forward(batch);
        }
        catch (Exception e)
        {
            foreach (var sequence in _running)
            {
                sequence.Failure ??= sequence.Rows > 0 ? new StepFailedException(Model.Info.Name, e) : null;
            }

            foreach (var run in _runs)
            {
                run.Failure ??= run.Rows > 0 ? new StepFailedException(Model.Info.Name, e) : null;
            }

            return;
        }

        if (promptRows > 0)
        {
            _budget.Record(batch.Seconds, usual);
        }
        else if (decodeRows > 0)
        {
            _experience.Costs.Record(decodeRows, batch.Seconds);
        }

        Advance(batch);
        AdvanceRuns(batch);
    }

    // One row for everyone who waits for a token, guesses where they pay. Returns the number of rows.
    private int AddNextTokens(Batch batch)
    {
        var decoding = 0;
        foreach (var sequence in _running)
        {
            sequence.Rows = 0;
            decoding += sequence.IsReading ? 0 : 1;
        }

        var after = decoding;
        foreach (var sequence in _running)
        {
            if (!sequence.IsReading)
            {
                var others = batch.Count + --after;
                Add(batch, sequence, new(decoding, others, Math.Max(sequence.Generator.PendingTokens, _options.StepTokens - others)));
            }
        }

        return batch.Count;
    }

    private void AddPrompts(Batch batch)
    {
        while (NextToRead() is { } sequence)
        {
            var position = sequence.Generator.Session.Position;
            var room = _budget.Rows(position);
            if (room == 0)
            {
                return;
            }

            Add(batch, sequence, new(1, batch.Count, Math.Min(room, sequence.Generator.PendingTokens)));
            _budget.Add(sequence.Rows, position);
            _waiting.Charge(sequence.Tenant, sequence.Ticket.Request.Priority, sequence.Rows);
        }
    }

    private Sequence? NextToRead()
    {
        Sequence? next = null;
        foreach (var sequence in _running)
        {
            if (sequence is { Rows: 0, Failure: null, IsReading: true } && (next is null || sequence.Served < next.Served))
            {
                next = sequence;
            }
        }

        return next;
    }

    private static void Add(Batch batch, Sequence sequence, in PassShare share)
    {
        var before = batch.Count;
        try
        {
            sequence.Generator.AddRows(batch, share);
        }
        catch (Exception e)
        {
            sequence.Failure = e;
        }

        sequence.Rows = batch.Count - before;
    }

    private void Advance(Batch batch)
    {
        foreach (var sequence in _running)
        {
            if (sequence.Rows > 0 && sequence.Failure is null)
            {
                try
                {
                    sequence.Generator.Advance(batch);
                    KeepPrompt(sequence);
                }
                catch (Exception e)
                {
                    sequence.Failure = e;
                }
            }
        }
    }

    // Once it has been read: others that begin like it may be waiting.
    private static void KeepPrompt(Sequence sequence)
    {
        if (!sequence.PromptKept && sequence.State.Session.Position >= sequence.Ticket.Prepared!.Tokens.Length)
        {
            sequence.PromptKept = true;
            sequence.State.KeepPrompt(sequence.Generator.Tokens);
        }
    }
}
