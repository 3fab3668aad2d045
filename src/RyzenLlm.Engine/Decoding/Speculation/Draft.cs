namespace RyzenLlm.Engine.Decoding.Speculation;

/// <summary>A way to guess how one sequence goes on. Guesses may be wrong and cost time, but never change the text.</summary>
public abstract class Draft : IDisposable
{
    /// <summary>What it is called in settings and reports.</summary>
    public abstract string Name { get; }

    /// <summary>Adds guesses to a tree. Called before every step, also where they will not be verified.</summary>
    /// <param name="tokens">The sequence so far, prompt included; since the last call it only grew.</param>
    /// <param name="tree">Receives the guesses, beside those of other drafts.</param>
    /// <param name="budget">What guesses are worth.</param>
    public abstract void Propose(ReadOnlySpan<int> tokens, DraftTree tree, in DraftBudget budget);

    /// <summary>How many of the largest logits <see cref="Observe"/> looks at.</summary>
    public virtual int ObservedLogits => 0;

    /// <summary>Learns from the target itself.</summary>
    /// <param name="token">A token of the sequence.</param>
    /// <param name="logits">The target's logits after it; those beyond the <see cref="ObservedLogits"/> largest may be negative infinity.</param>
    public virtual void Observe(int token, ReadOnlySpan<float> logits)
    {
    }

    /// <inheritdoc/>
    public virtual void Dispose() => GC.SuppressFinalize(this);
}

/// <summary>What guesses are worth at this step.</summary>
/// <param name="TokenSeconds">What a token takes without them.</param>
/// <param name="RowSeconds">What verifying one adds to the pass.</param>
/// <param name="Unlimited">Draft to the full depth whatever it costs.</param>
/// <param name="Suspended">Guesses will not be verified: only those that cost next to nothing are of use, to see whether they would be right.</param>
public readonly record struct DraftBudget(double TokenSeconds, double RowSeconds, bool Unlimited, bool Suspended)
{
    /// <summary>Whether a guess that takes <paramref name="draftSeconds"/> to make is worth it.</summary>
    public bool Pays(double probability, double draftSeconds) =>
        Unlimited || (!Suspended && Pace.Pays(probability, draftSeconds, RowSeconds, TokenSeconds));
}
