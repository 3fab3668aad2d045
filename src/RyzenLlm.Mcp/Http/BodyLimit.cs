using Microsoft.AspNetCore.Http;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Http;

/// <summary>
/// Says what is wrong with a request whose body cannot be read: one that is longer than allowed, whether it says so beforehand or not, or broken.
/// The connection ends with the answer, since what follows on it is the rest of that body.
/// </summary>
internal sealed class BodyLimit(RequestDelegate next, AppSettings settings)
{
    public async Task InvokeAsync(HttpContext context)
    {
        var limit = settings.Server.Limits.RequestBytes;
        var (status, message) = (StatusCodes.Status413PayloadTooLarge, $"The request is larger than {limit} bytes (Server:Limits:RequestBytes): send less at once.");
        if (!(context.Request.ContentLength > limit))
        {
            try
            {
                await next(context).ConfigureAwait(false);
                return;
            }
            catch (BadHttpRequestException e)
            {
                (status, message) = e.StatusCode == status ? (status, message) : (e.StatusCode, "The request cannot be read.");
            }
        }

        if (!context.Response.HasStarted)
        {
            context.Response.Headers.Connection = "close";
            await Refusal.WriteAsync(context, status, message).ConfigureAwait(false);
        }
    }
}
