using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Http;

/// <summary>For whoever keeps the server running: /health/live says that it answers, /health/ready that it can do its work. Neither tells anything else.</summary>
internal static class Health
{
    /// <summary>Adds the two addresses, open to all and not counted.</summary>
    public static void Map(IEndpointRouteBuilder app)
    {
        app.MapGet("/health/live", static context => context.Response.WriteAsync("live")).DisableRateLimiting();
        app.MapGet("/health/ready", ReadyAsync).DisableRateLimiting();
    }

    private static async Task ReadyAsync(HttpContext context)
    {
        var services = context.RequestServices;
        var problem = services.GetRequiredService<ModelLibrary>().TryDefault() is null ? "no model" : null;
        try
        {
            await services.GetRequiredService<ContextMemory>().OpenAsync(context.RequestAborted).ConfigureAwait(false);
        }
        catch (Exception e) when (Failures.Describe(e) is not null)
        {
            problem = "no memory";
        }

        context.Response.StatusCode = problem is null ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable;
        await context.Response.WriteAsync(problem ?? "ready", context.RequestAborted).ConfigureAwait(false);
    }
}
