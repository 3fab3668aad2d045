namespace RyzenLlm.Engine.Sessions.Reuse;

/// <summary>The state after a token sequence, kept for those that begin like it. All fields belong to the lock of its <see cref="PrefixStates"/>.</summary>
internal sealed class KeptState
{
    /// <summary>The state; only ever copied.</summary>
    public required Session Session { get; init; }

    /// <summary>Whose.</summary>
    public required TenantStates Tenant { get; init; }

    /// <summary>Place in the tenant's tree.</summary>
    public required PrefixTree<KeptState>.Node Place { get; init; }

    /// <summary>Place in the order of use.</summary>
    public LinkedListNode<KeptState>? Use { get; set; }

    /// <summary>How often it waits to be written to disk: its memory is needed until that is done.</summary>
    public int Writers { get; set; }

    /// <summary>Whether it was taken out of the tree.</summary>
    public bool Dropped { get; set; }
}

/// <summary>The states of one tenant.</summary>
internal sealed class TenantStates(string name)
{
    /// <summary>The tenant.</summary>
    public string Name { get; } = name;

    /// <summary>States by token sequence.</summary>
    public PrefixTree<KeptState> Tree { get; } = new();

    /// <summary>Set when the tenant asked to forget: what was begun before keeps nothing afterwards.</summary>
    public bool Forgotten { get; set; }
}
