using System.Text;
using System.Text.Json;
using System.Threading.Channels;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;
using RyzenLlm.Mcp.Tools;

namespace RyzenLlm.Mcp.Http.Page;

/// <summary><c>POST /api/generate</c>: text as server-sent events while it is written; it ends when the reader goes away.</summary>
internal static class GenerateApi
{
    private const int LongestPrompt = 100_000;
    private static readonly TimeSpan Deadline = TimeSpan.FromMinutes(10);

    /// <summary>What is asked.</summary>
    internal sealed record Question(string Prompt, string? Model = null, string? System = null, int? MaxTokens = null, double? Temperature = null, long? Seed = null);

    /// <summary>What is told at the end.</summary>
    internal sealed record Answer(string Model, string? ModelReason, string StopReason, int PromptTokens, int CompletionTokens, double TokensPerSecond, double? TimeToFirstTokenSeconds);

    public static async Task GenerateAsync(HttpContext context)
    {
        var (services, cancel) = (context.RequestServices, context.RequestAborted);
        var caller = PageApi.CallerOf(context);
        caller.Require(Scopes.Generate);
        var question = await ReadAsync(context).ConfigureAwait(false);
        var limits = services.GetRequiredService<TenantLimits>();
        limits.CheckTokens(caller.Tenant);
        using var entered = limits.Enter(caller.Tenant);
        var request = Request(services.GetRequiredService<AppSettings>().Generation, question) with { Tenant = caller.Tenant };
        var selection = services.GetRequiredService<ModelSelection>();
        var (entry, reason) = ModelSelection.IsAuto(question.Model)
            ? selection.Choose(caller, task: "", selection.RequestFor(request, moreTokens: 0, draft: null))
            : (services.GetRequiredService<ModelLibrary>().Resolve(question.Model, caller), null);
        using var lease = await services.GetRequiredService<LoadedModels>().AcquireAsync(entry, cancel).ConfigureAwait(false);
        var pieces = Channel.CreateUnbounded<string>(new() { SingleReader = true, SingleWriter = true });
        var generating = lease.Scheduler.GenerateAsync(request, piece =>
        {
            if (piece.Text.Length > 0)
            {
                pieces.Writer.TryWrite(piece.Text.ToString());
            }
        }, cancel);
        _ = generating.ContinueWith(_ => pieces.Writer.TryComplete(), CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        await SendAsync(context, pieces.Reader, generating, result => Told(entry, reason, result)).ConfigureAwait(false);
        await ((Task)generating).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // the reader has been told
        if (generating.IsCompletedSuccessfully)
        {
            limits.Charge(caller.Tenant, generating.Result.GeneratedTokens);
            services.GetRequiredService<ServerActivity>().Answered(generating.Result);
            services.GetRequiredService<AutoModel>().Used(entry);
        }
    }

    private static async Task<Question> ReadAsync(HttpContext context)
    {
        var question = await JsonSerializer.DeserializeAsync(context.Request.Body, PageJson.Default.Question, context.RequestAborted).ConfigureAwait(false)
            ?? throw new JsonException();
        return string.IsNullOrWhiteSpace(question.Prompt) || question.Prompt.Length > LongestPrompt || question.System?.Length > LongestPrompt
            ? throw new ArgumentException($"prompt must be a text of 1 to {LongestPrompt} characters.")
            : question;
    }

    private static GenerationRequest Request(GenerationSettings settings, Question question)
    {
        if (question.MaxTokens is < 1 or > 1_000_000 || question.Temperature is < 0 or > 10 || question.Seed is < 0)
        {
            throw new ArgumentException("max_tokens must be from 1 to 1000000, temperature from 0 to 10, and seed 0 or more.");
        }

        var request = Prompts.Request(settings, question.Prompt, question.System);
        return request with
        {
            MaxTokens = question.MaxTokens ?? request.MaxTokens,
            Deadline = Deadline,
            Sampling = request.Sampling with
            {
                Temperature = (float?)question.Temperature ?? request.Sampling.Temperature,
                Seed = (ulong?)question.Seed ?? request.Sampling.Seed,
            },
        };
    }

    private static Answer Told(ModelEntry entry, string? reason, GenerationResult result) => new(
        entry.Name, reason, result.FinishReason.ToString().ToLowerInvariant(), result.PromptTokens, result.GeneratedTokens, Math.Round(result.DecodeTokensPerSecond, 2),
        result.TimeToFirstToken is { } first ? Math.Round(first.TotalSeconds, 4) : null);

    private static async Task SendAsync(HttpContext context, ChannelReader<string> pieces, Task<GenerationResult> generating, Func<GenerationResult, Answer> told)
    {
        var cancel = context.RequestAborted;

        // A request that cannot be served at all is refused as such, before a stream begins.
        if (!await pieces.WaitToReadAsync(cancel).ConfigureAwait(false))
        {
            await generating.ConfigureAwait(false);
        }

        context.Response.ContentType = "text/event-stream";
        context.Response.Headers.CacheControl = "no-store";
        try
        {
            var text = new StringBuilder();
            while (await pieces.WaitToReadAsync(cancel).ConfigureAwait(false))
            {
                // All that has gathered while the last event was sent.
                text.Clear();
                while (pieces.TryRead(out var piece))
                {
                    text.Append(piece);
                }

                await EventAsync(context, "text", text.ToString()).ConfigureAwait(false);
            }

            await EventAsync(context, "done", told(await generating.ConfigureAwait(false))).ConfigureAwait(false);
        }
        catch (Exception e) when (!cancel.IsCancellationRequested && Failures.Describe(e) is { } message)
        {
            await EventAsync(context, "problem", message).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // The reader is gone, and the generation ends with it.
        }
    }

    private static async Task EventAsync<T>(HttpContext context, string name, T value)
    {
        byte[] bytes = [.. Encoding.ASCII.GetBytes($"event: {name}\ndata: "), .. PageJson.Bytes(value), (byte)'\n', (byte)'\n'];
        await context.Response.Body.WriteAsync(bytes, context.RequestAborted).ConfigureAwait(false);
        await context.Response.Body.FlushAsync(context.RequestAborted).ConfigureAwait(false);
    }
}
