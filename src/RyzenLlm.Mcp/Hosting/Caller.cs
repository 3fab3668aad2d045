using System.Security.Claims;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// Who makes a request. Everything that outlives a call (memory, conversations, saved states, feedback) belongs to a tenant and is looked up by it.
/// </summary>
/// <param name="Tenant">Whose data the call reads and writes.</param>
/// <param name="Scopes">What the credentials allow (<see cref="Hosting.Scopes"/>); null, where there are no credentials, allows everything.</param>
internal sealed record Caller(string Tenant, IReadOnlyCollection<string>? Scopes = null)
{
    /// <summary>Claim of an authenticated user that names the tenant.</summary>
    public const string TenantClaim = "tenant";

    /// <summary>Claim of an authenticated user that names a scope; one claim each.</summary>
    public const string ScopeClaim = "scope";

    /// <summary>The caller of a request: the tenant of its credentials, or that of the settings where the transport has none (standard input).</summary>
    public static Caller Of(MessageContext request, AppSettings settings) => Of(request.User, settings);

    /// <summary>The caller behind credentials, or, without any, the tenant of the settings with all rights.</summary>
    public static Caller Of(ClaimsPrincipal? user, AppSettings settings)
    {
        if (user?.Identity is not { IsAuthenticated: true })
        {
            return new(settings.Memory.Tenant);
        }

        var tenant = user.FindFirst(TenantClaim) ?? throw new UnauthorizedAccessException("These credentials name no tenant.");
        return new(tenant.Value, [.. user.FindAll(ScopeClaim).Select(claim => claim.Value)]);
    }

    /// <summary>Whether the credentials allow it; null asks for every scope there is.</summary>
    public bool Allows(string? scope) => Scopes is null || (scope is null ? Hosting.Scopes.All.All(Scopes.Contains) : Scopes.Contains(scope));

    /// <summary>Refuses a caller whose credentials do not allow it.</summary>
    /// <exception cref="MissingScopeException">They do not.</exception>
    public void Require(string scope)
    {
        if (!Allows(scope))
        {
            throw new MissingScopeException(scope);
        }
    }
}
