using System.Security.Claims;
using Microsoft.AspNetCore.Authentication.JwtBearer;
using Microsoft.Extensions.DependencyInjection;
using ModelContextProtocol.AspNetCore.Authentication;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Http;

/// <summary>
/// The server as an OAuth 2.1 resource server: JWT access tokens of one issuer, and metadata (RFC 9728) that tells clients where to get them.
/// </summary>
internal static class OAuth
{
    /// <summary>Adds verification of access tokens.</summary>
    /// <exception cref="SettingsException">The settings do not say whose tokens.</exception>
    public static void Add(IServiceCollection services, OAuthSettings settings)
    {
        var authority = Uri.TryCreate(settings.Authority, UriKind.Absolute, out var uri) && (uri.Scheme == Uri.UriSchemeHttps || (uri.Scheme == Uri.UriSchemeHttp && uri.IsLoopback))
            ? uri
            : throw new SettingsException($"Setting Server:OAuth:Authority is '{settings.Authority}' but must be the https address of the authorization server (with Server:Auth oauth).");
        if (settings.Audience.Length == 0)
        {
            throw new SettingsException("Setting Server:OAuth:Audience is empty but must be what access tokens for this server carry as audience (with Server:Auth oauth).");
        }

        services
            .AddAuthentication(options =>
            {
                options.DefaultScheme = JwtBearerDefaults.AuthenticationScheme;
                options.DefaultChallengeScheme = McpAuthenticationDefaults.AuthenticationScheme;
            })
            .AddJwtBearer(options =>
            {
                options.Authority = settings.Authority;
                options.Audience = settings.Audience;
                options.RequireHttpsMetadata = authority.Scheme == Uri.UriSchemeHttps;
                options.MapInboundClaims = false;
                options.Events = new() { OnTokenValidated = context => Narrow(context, settings.TenantClaim) };
            })
            .AddMcp(options => options.ResourceMetadata = new()
            {
                AuthorizationServers = { settings.Authority },
                ScopesSupported = [.. Scopes.All],
                BearerMethodsSupported = { "header" },
            });
    }

    private static Task Narrow(TokenValidatedContext context, string tenantClaim)
    {
        var user = context.Principal!;
        var tenant = user.FindFirst(tenantClaim)?.Value;
        if (string.IsNullOrWhiteSpace(tenant) || tenant.Length > CallerIdentity.LongestTenant)
        {
            context.Fail($"The access token has no claim {tenantClaim} that names a tenant (Server:OAuth:TenantClaim).");
            return Task.CompletedTask;
        }

        // One claim with spaces between (RFC 9068), or an array, as some issuers write it.
        var scopes = user.Claims.Where(claim => claim.Type is "scope" or "scp").SelectMany(claim => claim.Value.Split(' ', StringSplitOptions.RemoveEmptyEntries));
        context.Principal = CallerIdentity.Create(JwtBearerDefaults.AuthenticationScheme, user.FindFirst("sub")?.Value ?? tenant, tenant, scopes);
        return Task.CompletedTask;
    }
}
