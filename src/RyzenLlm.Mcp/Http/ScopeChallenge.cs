using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Net.Http.Headers;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Http;

/// <summary>
/// Tells a client that names its tool in headers (2026-07-28) which scope it lacks, in the way of OAuth, so that it can ask for it. Others learn it
/// from the result of the call.
/// </summary>
internal static class ScopeChallenge
{
    /// <summary>Answers 403 where a scope is missing.</summary>
    public static Task CheckAsync(HttpContext context, RequestDelegate next)
    {
        if (context.Request.Headers["Mcp-Method"] != "tools/call"
            || context.Request.Headers["Mcp-Name"].ToString() is not { Length: > 0 } tool
            || Scopes.Of(tool) is not { } scope
            || Caller.Of(context.User, context.RequestServices.GetRequiredService<AppSettings>()).Allows(scope))
        {
            return next(context);
        }

        context.Response.Headers[HeaderNames.WWWAuthenticate] = $"Bearer error=\"insufficient_scope\", scope=\"{scope}\"";
        return Refusal.WriteAsync(context, StatusCodes.Status403Forbidden, new MissingScopeException(scope).Message);
    }
}
