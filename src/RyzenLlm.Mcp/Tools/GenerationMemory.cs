using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;
using RyzenLlm.Engine.Tokenizers;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Memory;

namespace RyzenLlm.Mcp.Tools;

/// <summary>
/// What a generation with memory does besides: before it, what the memory holds on the prompt is put between the instruction, which stays the
/// same from call to call, and the prompt; after it, prompt and answer are stored.
/// </summary>
/// <param name="memory">The memory.</param>
/// <param name="caller">Whose memory.</param>
/// <param name="scope">Shelf to read and write; null reads all and writes the usual one.</param>
/// <param name="session">Conversation that is continued and that the new turns belong to; null for that of this run of the server, which is not continued.</param>
/// <param name="budget">Tokens of recalled text at most.</param>
internal sealed class GenerationMemory(ContextMemory memory, Caller caller, string? scope, string? session, int budget)
{
    /// <summary>A pack smaller than this holds nothing but its own frame.</summary>
    private const int SmallestPack = 64;

    /// <summary>Tokens set aside for the chat form.</summary>
    private const int ChatForm = 32;

    /// <summary>Longer than a healthy memory takes; longer than <c>Memory:Qdrant:PatienceSeconds</c>, so that an outbox is asked first.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(8);

    private bool _promptStored;

    /// <summary>Tokens of recalled text at most.</summary>
    public int Budget => budget;

    /// <summary>Units put into the prompt.</summary>
    public string[] Recalled { get; private set; } = [];

    /// <summary>Why the memory was not read or not written; null if it was.</summary>
    public string? Problem { get; private set; }

    /// <summary>The request with the pack before its last turn, the prompt.</summary>
    public async Task<GenerationRequest> AddPackAsync(GenerationRequest asked, LanguageModel model, CancellationToken cancel)
    {
        var prompt = asked.Turns[^1];
        var count = ContextMemory.CounterOf(model.Tokenizer);
        var room = model.Info.IsRecurrent || count is null ? budget : Math.Min(budget, Room(asked, model.Info, count));
        if (room < SmallestPack)
        {
            Problem = $"The context of {model.Info.Name} has no room for recalled text beside the prompt and max_tokens.";
            return asked;
        }

        var question = new RecallRequest { Query = prompt.Content, Scope = scope, Budget = room, CountTokens = count };
        if (await RecallAsync(question, cancel).ConfigureAwait(false) is not { } found)
        {
            return asked;
        }

        Recalled = [.. found.Hits.Where(h => h.Packed).Select(h => $"{h.Unit.Id}")];
        return found.Text.Length == 0 ? asked : asked with { Turns = [.. asked.Turns.SkipLast(1), new ChatTurn(prompt.Role, $"{found.Text}\n{prompt.Content}")] };
    }

    // An answer without memory is better than none: a memory that fails or is slow is noted. A store may block its thread, hence one of its own.
    private async Task<RecallResult?> RecallAsync(RecallRequest question, CancellationToken cancel)
    {
        using var late = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        late.CancelAfter(Patience);
        try
        {
            var found = await Task.Run(() => FindAsync(question, late.Token), CancellationToken.None).WaitAsync(late.Token).ConfigureAwait(false);
            Problem = found.Degraded ? "The memory's server is away: only what was stored since was looked at." : null;
            return found;
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            Problem = $"Nothing was recalled: the memory did not answer in {Patience.TotalSeconds:F0} s.";
        }
        catch (Exception e) when (Failures.Describe(e) is { } problem)
        {
            Problem = $"Nothing was recalled: {problem}";
        }

        return null;
    }

    private async Task<RecallResult> FindAsync(RecallRequest question, CancellationToken cancel)
    {
        var open = await memory.OpenAsync(cancel).ConfigureAwait(false);
        return await ServerInstruments.RecallingAsync(() => open.RecallAsync(caller.Tenant, question, cancel)).ConfigureAwait(false);
    }

    /// <summary>
    /// Keeps the new turns; of a continued answer, the prompt once and every part. The answer is there already, so a failure is noted, not thrown.
    /// </summary>
    public async Task StoreAsync(string prompt, string model, string answer, CancellationToken cancel)
    {
        if (string.IsNullOrWhiteSpace(answer))
        {
            return;
        }

        try
        {
            var said = new Utterance { Text = answer, Speaker = "assistant", Source = $"model:{model}", State = session };
            var open = await memory.OpenAsync(cancel).ConfigureAwait(false);
            var turns = new StoreRequest
            {
                Items = _promptStored ? [said] : [new Utterance { Text = prompt, Speaker = "user", State = session }, said],
                Session = session ?? memory.Session,
                Scope = scope ?? "private",
            };
            await ServerInstruments.StoringAsync(() => open.StoreAsync(caller.Tenant, turns, cancel)).ConfigureAwait(false);
            _promptStored = true;
        }
        catch (Exception e) when (Failures.Describe(e) is { } problem)
        {
            Problem = $"The new turns were not stored: {problem}";
        }
    }

    private static int Room(GenerationRequest asked, ModelInfo info, Func<string, int> count) =>
        info.ContextLength - Math.Min(asked.MaxTokens, info.ContextLength / 2) - asked.Turns.Sum(t => count(t.Content)) - ChatForm;
}
