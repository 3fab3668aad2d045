namespace RyzenLlm.Mcp.Hosting;

/// <summary>Everything that outlives a call beside the memory: conversations and the states of models. What a tenant forgets goes from here too.</summary>
internal sealed class KeptStates(LoadedModels models, Conversations conversations)
{
    /// <summary>
    /// Deletes conversations of a tenant, and all its states of models, in memory and on disk: a state may hold any text of a prompt, and costs no more than
    /// reading it again.
    /// </summary>
    /// <param name="tenant">Whose.</param>
    /// <param name="sessions">Conversations; null for all of them.</param>
    /// <returns>How many conversations and states there were.</returns>
    public int Forget(string tenant, IReadOnlyCollection<string>? sessions) =>
        (sessions is null ? conversations.Forget(tenant) : sessions.Distinct().Sum(session => conversations.Forget(tenant, session))) + models.ForgetStates(tenant);
}
