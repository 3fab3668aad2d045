namespace RyzenLlm.Memory.Evaluation;

/// <summary>Puts dialogue files into a memory and asks it questions, each conversation being a tenant of its own in one shared store.</summary>
public static class DialogueRun
{
    /// <summary>Stores every turn; the unit's source is <c>conversation/turn</c>.</summary>
    /// <returns>How many turns were stored.</returns>
    public static async Task<int> IngestAsync(RsuMemory memory, IEnumerable<DialogueTurn> turns, Func<string, string> tenantOf, CancellationToken cancellationToken = default)
    {
        int stored = 0;
        foreach (var (conversation, request) in Transcript.Dialogues(turns))
        {
            stored += (await memory.StoreAsync(tenantOf(conversation), request, cancellationToken).ConfigureAwait(false)).Stored;
        }

        return stored;
    }

    /// <summary>Ranks the turns for every question.</summary>
    public static async Task<IReadOnlyList<RunLine>> RankAsync(
        RsuMemory memory, IEnumerable<Question> questions, Func<string, string> tenantOf, int top, CancellationToken cancellationToken = default)
    {
        var run = new List<RunLine>();
        foreach (Question question in questions)
        {
            var hits = await memory.SearchAsync(
                tenantOf(question.Conversation), new RecallRequest { Query = question.Text, Top = top }, cancellationToken).ConfigureAwait(false);
            run.Add(new RunLine(question.Id, [.. hits.SelectMany(h => h.Record.Sources.Prepend(h.Record.Source)).Distinct()]));
        }

        return run;
    }
}
