using Microsoft.Extensions.DependencyInjection;
using ModelContextProtocol;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Resources;

/// <summary>Resources that the credentials of a request do not allow are neither listed nor read, nor are names in them completed.</summary>
internal static class ResourceAccess
{
    /// <summary>Leaves out of a list what its reader may not read.</summary>
    public static McpRequestHandler<ListResourcesRequestParams, ListResourcesResult> List(McpRequestHandler<ListResourcesRequestParams, ListResourcesResult> next) =>
        async (context, cancel) =>
        {
            var result = await next(context, cancel).ConfigureAwait(false);
            if (!CallerOf(context).Allows(Scopes.Models))
            {
                result.Resources = [.. result.Resources.Where(r => !r.Uri.StartsWith(ServerResources.ModelScheme, StringComparison.Ordinal))];
            }

            return result;
        };

    /// <summary>Refuses what the reader may not read, and says what is wrong where reading fails.</summary>
    public static McpRequestHandler<ReadResourceRequestParams, ReadResourceResult> Read(McpRequestHandler<ReadResourceRequestParams, ReadResourceResult> next) =>
        (context, cancel) => SayWhyAsync(async () =>
        {
            if (context.MatchedPrimitive is TextResource { Scope: { } scope })
            {
                CallerOf(context).Require(scope);
            }

            return await next(context, cancel).ConfigureAwait(false);
        });

    /// <summary>Says what is wrong where completing fails.</summary>
    public static McpRequestHandler<CompleteRequestParams, CompleteResult> Complete(McpRequestHandler<CompleteRequestParams, CompleteResult> next) =>
        (context, cancel) => SayWhyAsync(() => next(context, cancel));

    private static async ValueTask<T> SayWhyAsync<T>(Func<ValueTask<T>> handle)
    {
        try
        {
            return await handle().ConfigureAwait(false);
        }
        catch (Exception e) when (e is not McpException && Failures.Describe(e) is { } message)
        {
            throw new McpProtocolException(message, McpErrorCode.InvalidRequest);
        }
    }

    private static Caller CallerOf(MessageContext context) => Caller.Of(context, context.Services!.GetRequiredService<AppSettings>());
}
