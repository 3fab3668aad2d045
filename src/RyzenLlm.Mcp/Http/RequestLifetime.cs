using Microsoft.AspNetCore.Http;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Http;

/// <summary>
/// Ends calls whose answer nobody can receive any more. In a session the transport lets a call run on when the connection that asked for it
/// breaks, for a client that would come back for the answer; this server keeps no answers, and a model would work for nothing.
/// </summary>
internal static class RequestLifetime
{
    private static readonly AsyncLocal<CancellationToken> Aborted = new();

    /// <summary>Remembers, for all that a request sets off, how to know that its connection has broken.</summary>
    public static Task FollowAsync(HttpContext context, RequestDelegate next)
    {
        // Messages of the older transport are answered on another connection, whose end ends its session.
        Aborted.Value = context.Request.Path.Value?.EndsWith("/message", StringComparison.Ordinal) == true ? CancellationToken.None : context.RequestAborted;
        return next(context);
    }

    /// <summary>Cancels a call when the connection that asked for it breaks.</summary>
    public static McpRequestHandler<CallToolRequestParams, CallToolResult> Call(McpRequestHandler<CallToolRequestParams, CallToolResult> next) =>
        async (context, cancel) =>
        {
            if (CallTasks.Of(context) is not null)
            {
                return await next(context, cancel).ConfigureAwait(false); // meant to go on after its request was answered
            }

            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancel, Aborted.Value);
            return await next(context, either.Token).ConfigureAwait(false);
        };
}
