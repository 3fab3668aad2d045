namespace RyzenLlm.Engine.Decoding.Scheduling;

/// <summary>What one tenant has waiting and running, and what it was served.</summary>
internal sealed class Tenant(string name)
{
    /// <summary>Name in the requests.</summary>
    public string Name { get; } = name;

    /// <summary>Requests that wait, by priority, in the order they came.</summary>
    public Queue<Ticket>[] Waiting { get; } = [new(), new()];

    /// <summary>Sequences that run.</summary>
    public int Running { get; set; }

    /// <summary>Prompt tokens read for it, by priority, those of background requests weighing more. Only differences mean anything.</summary>
    public double[] Served { get; } = new double[2];
}

/// <summary>
/// Who goes next. A free place goes to the tenant with the fewest running sequences, interactive requests before those in the background;
/// prompts are read for the tenant that was served least (virtual-time fair queueing, Demers et al. 1989), so that neither many requests nor long
/// prompts of one tenant hold up another's. Within a tenant and priority, first come, first served.
/// </summary>
/// <remarks>For the model's thread.</remarks>
internal sealed class WaitingLine(int queueLimit)
{
    /// <summary>What a prompt token of a background request counts as many of.</summary>
    public const double BackgroundWeight = 8;

    private readonly Dictionary<string, Tenant> _byName = [];
    private readonly List<Tenant> _tenants = [];
    private double _served; // what the tenant read for last had been served before

    /// <summary>Adds a request at the end of its tenant's queue.</summary>
    public void Add(Ticket ticket)
    {
        var name = ticket.Request.Tenant;
        if (!_byName.TryGetValue(name, out var tenant))
        {
            tenant = new(name);
            _byName.Add(name, tenant);
            _tenants.Add(tenant);
        }

        var queue = tenant.Waiting[(int)ticket.Request.Priority];
        if (queue.Count >= 2 * queueLimit)
        {
            for (var i = queue.Count; i > 0; i--)
            {
                if (queue.Dequeue() is { IsWaiting: true } waiting)
                {
                    queue.Enqueue(waiting); // those that left are forgotten, and the order stays
                }
            }
        }

        queue.Enqueue(ticket);
    }

    /// <summary>Takes the request that goes next, of those that are prepared; null if there is none.</summary>
    /// <param name="background">Whether background requests may go.</param>
    /// <param name="tenant">Its tenant, which now has one more running.</param>
    public Ticket? Next(bool background, out Tenant? tenant)
    {
        for (var priority = RequestPriority.Interactive; priority <= (background ? RequestPriority.Background : RequestPriority.Interactive); priority++)
        {
            while (Choose((int)priority) is { } chosen)
            {
                var ticket = chosen.Waiting[(int)priority].Dequeue();
                if (ticket.TryStart())
                {
                    chosen.Running++;
                    ref var served = ref chosen.Served[(int)priority];
                    served = Math.Max(served, _served); // no credit from the time when it wanted nothing
                    tenant = chosen;
                    return ticket;
                }
            }
        }

        tenant = null;
        return null;
    }

    /// <summary>Prompt tokens are read for a tenant, the one that was served least of those that have any.</summary>
    public void Charge(Tenant tenant, RequestPriority priority, int tokens)
    {
        ref var served = ref tenant.Served[(int)priority];
        _served = Math.Max(_served, served);
        served += priority == RequestPriority.Background ? BackgroundWeight * tokens : tokens;
    }

    /// <summary>A sequence of a tenant has ended.</summary>
    public void Release(Tenant tenant)
    {
        tenant.Running--;
        Forget(tenant);
    }

    // The tenant whose oldest request of a priority goes next, or null.
    private Tenant? Choose(int priority)
    {
        Tenant? best = null;
        for (var i = _tenants.Count - 1; i >= 0; i--)
        {
            var tenant = _tenants[i];
            var queue = tenant.Waiting[priority];
            while (queue.TryPeek(out var head) && !head.IsWaiting)
            {
                queue.Dequeue();
            }

            if (queue.TryPeek(out var next))
            {
                if (next.Prepared is not null && (best is null || IsBefore(tenant, next, best, best.Waiting[priority].Peek())))
                {
                    best = tenant;
                }
            }
            else
            {
                Forget(tenant);
            }
        }

        return best;
    }

    private static bool IsBefore(Tenant a, Ticket ticketA, Tenant b, Ticket ticketB) =>
        a.Running != b.Running ? a.Running < b.Running : ticketA.Submitted < ticketB.Submitted;

    private void Forget(Tenant tenant)
    {
        if (tenant.Running == 0 && tenant.Waiting[0].Count == 0 && tenant.Waiting[1].Count == 0)
        {
            _byName.Remove(tenant.Name);
            _tenants.Remove(tenant);
        }
    }
}
