using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Http;

/// <summary>
/// Says what is wrong with a request whose body cannot be read: one that is longer than allowed, whether it says so beforehand or not, not JSON, or broken.
/// That only JSON is taken also keeps forms of other sites out.
/// The connection ends with the answer, since what follows on it is the rest of that body.
/// </summary>
internal sealed class BodyCheck(RequestDelegate next, AppSettings settings)
{
    public async Task InvokeAsync(HttpContext context)
    {
        var limit = settings.Server.Limits.RequestBytes;
        var (status, message) = (StatusCodes.Status413PayloadTooLarge, $"The request is larger than {limit} bytes (Server:Limits:RequestBytes): send less at once.");
        if (HttpMethods.IsPost(context.Request.Method) && !context.Request.HasJsonContentType())
        {
            (status, message) = (StatusCodes.Status415UnsupportedMediaType, "The content type must be application/json.");
        }
        else if (!(context.Request.ContentLength > limit))
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
            catch (Exception e) when (e is JsonException or InvalidOperationException { InnerException: DecoderFallbackException })
            {
                // The protocol library answers most of these itself, but not a broken first message, nor text that is no UTF-8.
                (status, message) = (StatusCodes.Status400BadRequest, "The request is not a message of the protocol.");
            }
        }

        if (!context.Response.HasStarted)
        {
            context.Response.Headers.Connection = "close";
            await Refusal.WriteAsync(context, status, message).ConfigureAwait(false);
        }
    }
}
