using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Http.Page;

/// <summary>What the status page asks the server: the same callers, rights and limits as the protocol's, in plain JSON.</summary>
internal static class PageApi
{
    /// <summary>Why a request failed.</summary>
    internal sealed record Problem(string Error);

    /// <summary>Adds its addresses, to a part of the server that asks who calls.</summary>
    public static void Map(IEndpointRouteBuilder callers)
    {
        var api = callers.MapGroup("/api");
        api.MapGet("/status", Answering(StatusApi.ReadAsync));
        api.MapPost("/generate", Answering(GenerateApi.GenerateAsync));
        api.MapGet("/memory", Answering(MemoryApi.FindAsync));
        api.MapGet("/memory/map", Answering(MemoryApi.MapAsync));
        api.MapGet("/memory/{id}", Answering(MemoryApi.ShowAsync));
        api.MapDelete("/memory/{id}", Answering(MemoryApi.ForgetAsync));
    }

    /// <summary>Who asks.</summary>
    public static Caller CallerOf(HttpContext context) => Caller.Of(context.User, context.RequestServices.GetRequiredService<AppSettings>());

    /// <summary>A whole number of the query, or what stands for none.</summary>
    /// <exception cref="ArgumentException">It is none, or out of range.</exception>
    public static int Number(HttpContext context, string name, int low, int high, int missing) => context.Request.Query[name].ToString() switch
    {
        "" => missing,
        var text when int.TryParse(text, out var number) && number >= low && number <= high => number,
        _ => throw new ArgumentException($"{name} must be a whole number from {low} to {high}."),
    };

    private static RequestDelegate Answering(Func<HttpContext, Task> work) => async context =>
    {
        try
        {
            await work(context).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (context.RequestAborted.IsCancellationRequested)
        {
            // Nobody waits for the answer.
        }
        catch (Exception e) when (!context.Response.HasStarted && (e is JsonException || Failures.Describe(e) is not null))
        {
            context.Response.StatusCode = e switch
            {
                MissingScopeException => StatusCodes.Status403Forbidden,
                LimitReachedException => StatusCodes.Status429TooManyRequests,
                QueueFullException => StatusCodes.Status503ServiceUnavailable,
                _ => StatusCodes.Status400BadRequest,
            };
            await PageJson.WriteAsync(context, new Problem(Failures.Describe(e) ?? "The request is not the JSON that it must be.")).ConfigureAwait(false);
        }
    };
}
