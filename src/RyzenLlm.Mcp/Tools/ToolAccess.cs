using Microsoft.Extensions.DependencyInjection;
using ModelContextProtocol;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tools;

/// <summary>Tools and resources that the credentials of a request do not allow are neither listed nor called nor read.</summary>
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

    /// <summary>Refuses to read what the caller may not read.</summary>
    public static McpRequestHandler<ReadResourceRequestParams, ReadResourceResult> Read(McpRequestHandler<ReadResourceRequestParams, ReadResourceResult> next) =>
        (context, cancel) =>
        {
            var scope = Scopes.OfResource(context.Params?.Uri ?? "");
            return CallerOf(context).Allows(scope)
                ? next(context, cancel)
                : throw new McpProtocolException(new MissingScopeException(scope ?? string.Join(' ', Scopes.All)).Message, McpErrorCode.InvalidRequest);
        };

    /// <summary>Leaves out of a list what its reader may not read.</summary>
    public static McpRequestHandler<ListResourcesRequestParams, ListResourcesResult> ListResources(
        McpRequestHandler<ListResourcesRequestParams, ListResourcesResult> next) =>
        async (context, cancel) =>
        {
            var result = await next(context, cancel).ConfigureAwait(false);
            var caller = CallerOf(context);
            result.Resources = [.. result.Resources.Where(resource => caller.Allows(Scopes.OfResource(resource.Uri)))];
            return result;
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
