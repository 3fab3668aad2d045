using System.Security.Claims;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// Who makes a request. Everything that outlives a call (memory, conversations, saved states, feedback) belongs to a tenant and is looked up by it.
/// </summary>
/// <param name="Tenant">Whose data the call reads and writes.</param>
internal sealed record Caller(string Tenant)
{
    /// <summary>Claim of an authenticated user that names the tenant.</summary>
    public const string TenantClaim = "tenant";

    /// <summary>The caller of a request: the tenant of its credentials, or that of the settings where the transport has none (standard input).</summary>
    public static Caller Of(MessageContext request, AppSettings settings) => Of(request.User, settings);

    /// <summary>As <see cref="Of(MessageContext, AppSettings)"/>, by the user of a request.</summary>
    public static Caller Of(ClaimsPrincipal? user, AppSettings settings) => new(user?.FindFirst(TenantClaim)?.Value ?? settings.Memory.Tenant);
}
