using RyzenLlm.Engine.Sessions.Reuse;

namespace RyzenLlm.Engine.Decoding.Scheduling;

/// <summary>A request that runs.</summary>
/// <param name="ticket">The request.</param>
/// <param name="tenant">Whose it is.</param>
/// <param name="state">Its session, and what is kept of it.</param>
/// <param name="generator">Its text.</param>
/// <param name="started">When it was taken up.</param>
internal sealed class Sequence(Ticket ticket, Tenant tenant, PrefixReuse state, TextGenerator generator, long started)
{
    // So many tokens at once, known beforehand since a constraint forced them, are no more than a drafted tree.
    private const int MostForced = 4;

    /// <summary>The request.</summary>
    public Ticket Ticket { get; } = ticket;

    /// <summary>Whose it is.</summary>
    public Tenant Tenant { get; } = tenant;

    /// <summary>Its session, and what is kept of it.</summary>
    public PrefixReuse State { get; } = state;

    /// <summary>Whether the state of its prompt was offered to others.</summary>
    public bool PromptKept { get; set; }

    /// <summary>Its text.</summary>
    public TextGenerator Generator { get; } = generator;

    /// <summary>When it was taken up.</summary>
    public long Started { get; } = started;

    /// <summary>Rows in the present step.</summary>
    public int Rows { get; set; }

    /// <summary>Why it cannot go on, or null.</summary>
    public Exception? Failure { get; set; }

    /// <summary>Whether there is more to compute than the next token needs: a prompt, or a long stretch that a constraint forced.</summary>
    public bool IsReading => Generator.PendingTokens > MostForced;

    /// <summary>What was read for its tenant at its priority.</summary>
    public double Served => Tenant.Served[(int)Ticket.Request.Priority];
}
