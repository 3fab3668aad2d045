using Microsoft.AspNetCore.Http;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Http;

/// <summary>
/// Refuses what a browser sends on behalf of a page of another server: such a page could otherwise use a server on its visitor's computer.
/// Requests without an Origin come from programs, not pages.
/// </summary>
internal sealed class OriginCheck(RequestDelegate next, AppSettings settings)
{
    private readonly HashSet<string> _allowed = new(settings.Server.AllowedOrigins.Select(o => o.TrimEnd('/')), StringComparer.OrdinalIgnoreCase);

    public Task InvokeAsync(HttpContext context)
    {
        var origin = context.Request.Headers.Origin.ToString();
        return origin.Length == 0 || _allowed.Contains(origin) || IsOwn(origin, context.Request.Host)
            ? next(context)
            : Refusal.WriteAsync(context, StatusCodes.Status403Forbidden, "Requests from pages of this origin are not allowed; Server:AllowedOrigins lists those that are.");
    }

    // The host was checked before, so a page of the same host and port is one of this server. The scheme may differ behind a proxy.
    private static bool IsOwn(string origin, HostString host) =>
        Uri.TryCreate(origin, UriKind.Absolute, out var page) && page.Scheme is ("http" or "https")
        && page.Authority.Equals(host.Value, StringComparison.OrdinalIgnoreCase);
}
