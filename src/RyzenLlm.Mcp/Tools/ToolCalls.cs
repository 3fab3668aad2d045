using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using ModelContextProtocol;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Tools;

/// <summary>What holds for calls of all tools.</summary>
internal static class ToolCalls
{
    /// <summary>
    /// Understands names written with _ for - or in camelCase, and turns failures that the caller can do something about into results that
    /// its model reads; the SDK would only say that an error occurred.
    /// </summary>
    public static McpRequestHandler<CallToolRequestParams, CallToolResult> Filter(McpRequestHandler<CallToolRequestParams, CallToolResult> next) =>
        async (context, cancel) =>
        {
            if (context.MatchedPrimitive is null && context.Params is { } call && context.Services is { } services)
            {
                context.MatchedPrimitive = services.GetServices<McpServerTool>()
                    .FirstOrDefault(tool => ToolArguments.Plain(tool.ProtocolTool.Name) == ToolArguments.Plain(call.Name));
            }

            var activity = context.Services?.GetService<ServerActivity>();
            var failed = true;
            try
            {
                var result = await next(context, cancel).ConfigureAwait(false);
                failed = result.IsError is true;
                return result;
            }
            catch (Exception e) when (Failures.Describe(e) is { } message)
            {
                return Error(message);
            }
            catch (Exception e) when (e is not (OperationCanceledException or McpException or InputRequiredException))
            {
                context.Services?.GetService<ILoggerFactory>()?.CreateLogger(typeof(ToolCalls)).LogError(e, "Tool {Tool} failed", context.Params?.Name);
                return Error("The server failed on this call; its standard error says why. The same call will probably fail again.");
            }
            finally
            {
                activity?.Called(failed);
            }
        };

    private static CallToolResult Error(string message) => new() { IsError = true, Content = [new TextContentBlock { Text = message }] };
}
