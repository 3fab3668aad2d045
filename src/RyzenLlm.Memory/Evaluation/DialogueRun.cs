namespace RyzenLlm.Memory.Evaluation;

/// <summary>Puts dialogue files into a memory and asks it questions, each conversation being a tenant of its own in one shared store.</summary>
public static class DialogueRun
{
    /// <summary>Stores every turn; the unit's source is <c>conversation/turn</c>.</summary>
    /// <returns>How many turns were stored.</returns>
    public static async Task<int> IngestAsync(RsuMemory memory, IEnumerable<DialogueTurn> turns, Func<string, string> tenantOf, CancellationToken cancellationToken = default)
    {
        int ordinal = 0, stored = 0;
        foreach (var session in turns.GroupBy(t => (t.Conversation, t.Session)))
        {
            Utterance[] items = [.. session.Select(t => new Utterance
            {
                Text = t.Text, Speaker = t.Speaker, At = t.At, Attachment = t.Caption, Source = $"{t.Conversation}/{t.Id}", Ordinal = ordinal++ * 1000L,
            })];
            StoreResult result = await memory.StoreAsync(
                tenantOf(session.Key.Conversation),
                new StoreRequest { Items = items, Session = $"{session.Key.Conversation}/{session.Key.Session}" },
                cancellationToken).ConfigureAwait(false);
            stored += result.Stored;
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
            run.Add(new RunLine(question.Id, [.. hits.SelectMany(h => Places(h.Record)).Distinct()]));
        }

        return run;
    }

    private static IEnumerable<string> Places(Rsu unit) => unit.Sources.Prepend(unit.Source);
}
