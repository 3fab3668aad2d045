namespace RyzenLlm.Engine.Sessions.Reuse;

/// <summary>
/// The session of one request, which begins where a kept state ends, and what of it is kept in turn. For the thread of the model.
/// </summary>
public sealed class PrefixReuse : IDisposable
{
    private readonly PrefixStates _states;
    private readonly TenantStates? _tenant;
    private readonly int _promptEnd;
    private readonly bool _persist;

    internal PrefixReuse(PrefixStates states, TenantStates? tenant, Session session, int promptEnd, int[] marks, bool persist)
    {
        (_states, _tenant, _promptEnd, _persist) = (states, tenant, promptEnd, persist);
        Session = session;
        ReusedTokens = session.Position;
        Marks = marks;
    }

    /// <summary>The session; the first <see cref="ReusedTokens"/> tokens of the prompt are in it.</summary>
    public Session Session { get; }

    /// <summary>Tokens of the prompt that need not be computed.</summary>
    public int ReusedTokens { get; }

    /// <summary>Positions, ascending, whose states are worth keeping: the rows before them are to be marked. Empty for transformers, which go back anywhere.</summary>
    public IReadOnlyList<int> Marks { get; }

    /// <summary>
    /// Keeps the states at the marks passed so far, and of a transformer the one where the session stands. To be called when the prompt has been read, so that others
    /// that begin like it gain while the answer is still being written.
    /// </summary>
    /// <param name="tokens">The sequence; at least as long as the session.</param>
    public void KeepPrompt(ReadOnlySpan<int> tokens)
    {
        foreach (var mark in Marks)
        {
            if (mark <= Session.Position && Session.CanRewind(mark))
            {
                _states.Keep(_tenant, tokens[..mark], Session, persist: false);
            }
        }

        if (!Session.Model.Info.IsRecurrent && !Session.HasPendingTree)
        {
            _states.Keep(_tenant, tokens[..Session.Position], Session, persist: false);
        }
    }

    /// <summary>Keeps the state where the session stands: at the end of the answer, or wherever the request was ended.</summary>
    /// <param name="tokens">The sequence; at least as long as the session.</param>
    public void Keep(ReadOnlySpan<int> tokens)
    {
        KeepPrompt(tokens);
        if (_persist && _promptEnd <= Session.Position && Session.CanRewind(_promptEnd))
        {
            // The next turn may not repeat the answer to the letter (a template trims it, a stop text was cut off): then it goes on from the end of the prompt.
            _states.Keep(_tenant, tokens[.._promptEnd], Session, persist: true);
        }

        if (!Session.HasPendingTree)
        {
            _states.Keep(_tenant, tokens[..Session.Position], Session, _persist);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Session.Dispose();
}
