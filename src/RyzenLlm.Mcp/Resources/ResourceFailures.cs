using ModelContextProtocol;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Resources;

/// <summary>Says what is wrong where reading or completing fails by something that the reader can change; the SDK would only say that an error occurred.</summary>
internal static class ResourceFailures
{
    /// <summary>For reading.</summary>
    public static McpRequestHandler<ReadResourceRequestParams, ReadResourceResult> Read(McpRequestHandler<ReadResourceRequestParams, ReadResourceResult> next) =>
        (context, cancel) => SayWhyAsync(next(context, cancel));

    /// <summary>For completing.</summary>
    public static McpRequestHandler<CompleteRequestParams, CompleteResult> Complete(McpRequestHandler<CompleteRequestParams, CompleteResult> next) =>
        (context, cancel) => SayWhyAsync(next(context, cancel));

    private static async ValueTask<T> SayWhyAsync<T>(ValueTask<T> handling)
    {
        try
        {
            return await handling.ConfigureAwait(false);
        }
        catch (Exception e) when (e is not McpException && Failures.Describe(e) is { } message)
        {
            throw new McpProtocolException(message, McpErrorCode.InvalidRequest);
        }
    }
}
