using Microsoft.Extensions.DependencyInjection;
using ModelContextProtocol.Protocol;
using ModelContextProtocol.Server;

namespace RyzenLlm.Mcp.Resources;

/// <summary>
/// How long clients may keep what they were told (protocol 2026-07-28). Nothing is marked as public: what a caller sees may depend on who it is.
/// </summary>
internal static class CacheHints
{
    // What changes with the program only.
    private static readonly TimeSpan Fixed = TimeSpan.FromHours(1);

    // What changes with the model folders; clients that listen are told at once.
    private static readonly TimeSpan Models = TimeSpan.FromMinutes(1);

    /// <summary>Adds the hints to lists and reads, and has the list of resources made anew for every request.</summary>
    public static void Add(IMcpRequestFilterBuilder filters)
    {
        filters.AddListToolsFilter(next => async (request, cancel) => Mark(await next(request, cancel).ConfigureAwait(false), Fixed));
        filters.AddListPromptsFilter(next => async (request, cancel) => Mark(await next(request, cancel).ConfigureAwait(false), Fixed));
        filters.AddListResourceTemplatesFilter(next => async (request, cancel) => Mark(await next(request, cancel).ConfigureAwait(false), Fixed));
        filters.AddListResourcesFilter(next => async (request, cancel) =>
        {
            request.Services!.GetRequiredService<ServerResources>().TryRefresh();
            return Mark(await next(request, cancel).ConfigureAwait(false), Models);
        });
        filters.AddReadResourceFilter(next => async (request, cancel) =>
        {
            var ofModel = request.Params?.Uri.StartsWith(ServerResources.ModelScheme, StringComparison.OrdinalIgnoreCase) is true;
            return Mark(await next(request, cancel).ConfigureAwait(false), ofModel ? Models : TimeSpan.Zero);
        });
    }

    private static T Mark<T>(T result, TimeSpan time)
        where T : ICacheableResult
    {
        result.TimeToLive = time;
        result.CacheScope = CacheScope.Private;
        return result;
    }
}
