using System.Threading.RateLimiting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>What one tenant may use of a server that several share: calls at once, and tokens generated in a day.</summary>
internal sealed class TenantLimits(AppSettings settings, TimeProvider clock) : IDisposable
{
    private readonly LimitSettings _limits = settings.Server.Limits;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, long> _used = [];
    // With the first call: it looks ten times a second whether a tenant has gone.
    private readonly Lazy<PartitionedRateLimiter<string>> _calls = new(() => PartitionedRateLimiter.Create<string, string>(tenant => RateLimitPartition.GetConcurrencyLimiter(
        tenant, _ => new() { PermitLimit = settings.Server.Limits.ConcurrentCalls, QueueLimit = 0 })));

    private DateOnly _day;

    /// <summary>Admits a call until the lease is disposed of.</summary>
    /// <exception cref="LimitReachedException">As many calls as allowed are in work already.</exception>
    public IDisposable Enter(string tenant)
    {
        var lease = _calls.Value.AttemptAcquire(tenant);
        if (lease.IsAcquired)
        {
            return lease;
        }

        lease.Dispose();
        throw new LimitReachedException($"{_limits.ConcurrentCalls} calls of this tenant are in work already: wait for one to end, or raise Server:Limits:ConcurrentCalls.");
    }

    /// <summary>Refuses a tenant that has generated its tokens of this day.</summary>
    /// <exception cref="LimitReachedException">It has.</exception>
    public void CheckTokens(string tenant)
    {
        if (_limits.TokensPerDay > 0 && Used(tenant) >= _limits.TokensPerDay)
        {
            throw new LimitReachedException($"This tenant has generated its {_limits.TokensPerDay} tokens of today (Server:Limits:TokensPerDay); it may go on at 00:00 UTC.");
        }
    }

    /// <summary>Counts generated tokens.</summary>
    public void Charge(string tenant, long tokens)
    {
        lock (_lock)
        {
            Roll();
            _used[tenant] = _used.GetValueOrDefault(tenant) + tokens;
        }
    }

    /// <summary>Tokens generated for a tenant today.</summary>
    public long Used(string tenant)
    {
        lock (_lock)
        {
            Roll();
            return _used.GetValueOrDefault(tenant);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_calls.IsValueCreated)
        {
            _calls.Value.Dispose();
        }
    }

    private void Roll()
    {
        if (DateOnly.FromDateTime(clock.GetUtcNow().UtcDateTime) is var today && today != _day)
        {
            _used.Clear();
            _day = today;
        }
    }
}

/// <summary>A tenant has used what it may.</summary>
internal sealed class LimitReachedException(string message) : Exception(message);
