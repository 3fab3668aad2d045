using System.Security.Claims;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Http;

/// <summary>What the server keeps of credentials once it has verified them.</summary>
internal static class CallerIdentity
{
    /// <summary>Characters of a tenant's name at most.</summary>
    public const int LongestTenant = 200;

    /// <summary>
    /// An authenticated user with these claims and no others: nothing that an issuer writes into a token for other readers means anything here.
    /// The transport binds sessions to the name.
    /// </summary>
    public static ClaimsPrincipal Create(string scheme, string name, string tenant, IEnumerable<string> scopes) => new(new ClaimsIdentity(
        [
            new Claim("sub", name),
            new Claim(Caller.TenantClaim, tenant),
            .. scopes.Where(Scopes.All.Contains).Distinct().Select(scope => new Claim(Caller.ScopeClaim, scope)),
        ],
        scheme,
        "sub",
        roleType: null));
}
