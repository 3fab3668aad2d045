using Microsoft.Extensions.DependencyInjection;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tools;

/// <summary>Tools that the credentials of a request do not allow are neither listed nor called.</summary>
internal static class ToolAccess
{
    /// <summary>Leaves out of a list what its reader may not call.</summary>
    public static McpRequestHandler<ListToolsRequestParams, ListToolsResult> List(McpRequestHandler<ListToolsRequestParams, ListToolsResult> next) =>
        async (context, cancel) =>
        {
            var result = await next(context, cancel).ConfigureAwait(false);
            var caller = CallerOf(context);
            result.Tools = [.. result.Tools.Where(tool => caller.Allows(Scopes.Of(tool.Name)))];
            return result;
        };

    /// <summary>Refuses what the caller may not call.</summary>
    public static McpRequestHandler<CallToolRequestParams, CallToolResult> Call(McpRequestHandler<CallToolRequestParams, CallToolResult> next) =>
        async (context, cancel) =>
        {
            var caller = CallerOf(context);
            var scope = Scopes.Of(context.Params?.Name ?? "");
            if (!caller.Allows(scope))
            {
                throw new MissingScopeException(scope ?? string.Join(' ', Scopes.All));
            }

            return await next(context, cancel).ConfigureAwait(false);
        };

    /// <summary>Refuses a call beyond those that a tenant may have in work at once.</summary>
    public static McpRequestHandler<CallToolRequestParams, CallToolResult> Limit(McpRequestHandler<CallToolRequestParams, CallToolResult> next) =>
        async (context, cancel) =>
        {
            using var entered = context.Services!.GetRequiredService<TenantLimits>().Enter(CallerOf(context).Tenant);
            return await next(context, cancel).ConfigureAwait(false);
        };

    private static Caller CallerOf(MessageContext context) => Caller.Of(context, context.Services!.GetRequiredService<AppSettings>());
}
