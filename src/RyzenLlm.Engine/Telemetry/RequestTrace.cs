using System.Diagnostics;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Models;

namespace RyzenLlm.Engine.Telemetry;

/// <summary>
/// Metrics and span of one request, written when it ends. Its phases (queue, prompt, decode) become child spans from the times that the result
/// carries anyway, so the model's thread does nothing for them.
/// </summary>
internal sealed class RequestTrace
{
    private readonly ModelInfo _model;
    private readonly string _operation;
    private readonly Activity? _span;
    private readonly long _began;

    /// <summary>A request that was accepted; the span continues the caller's trace.</summary>
    public RequestTrace(ModelInfo model, GenerationRequest request)
        : this(model, request.Template is { Name: not "plain" } || (request.Template is null && model.ChatTemplate is not null) || request.Turns.Count > 1 ? "chat" : "text_completion")
    {
        var sampling = request.Sampling;
        _span?.SetTag("gen_ai.request.max_tokens", request.MaxTokens)
            .SetTag("gen_ai.request.temperature", (double)sampling.Temperature)
            .SetTag("gen_ai.request.top_p", (double)sampling.TopP)
            .SetTag("gen_ai.request.top_k", (double)sampling.TopK)
            .SetTag("gen_ai.request.seed", (long)sampling.Seed)
            .SetTag("gen_ai.output.type", request.Constraint is null ? "text" : "json");
    }

    /// <summary>A request that was accepted, by its operation alone.</summary>
    public RequestTrace(ModelInfo model, string operation)
    {
        _model = model;
        _operation = operation;
        _began = Stopwatch.GetTimestamp();
        Instruments.Pending.Add(1, new KeyValuePair<string, object?>(Instruments.RequestModel, model.Name));
        if (!Instruments.Activities.HasListeners())
        {
            return;
        }

        // Started and not left current: what the caller does next is no part of it.
        var caller = Activity.Current;
        _span = Instruments.Activities.StartActivity($"{_operation} {model.Name}", ActivityKind.Internal);
        Activity.Current = caller;
        _span?.SetTag(Instruments.OperationName, _operation)
            .SetTag(Instruments.Provider, Instruments.ProviderName)
            .SetTag(Instruments.RequestModel, model.Name);
    }

    /// <summary>An embedding request was answered.</summary>
    public void Complete(int tokens)
    {
        Count(tokens, "input", End(Stopwatch.GetElapsedTime(_began), null));
        _span?.SetTag("gen_ai.usage.input_tokens", tokens);
        _span?.Dispose();
    }

    /// <summary>The request was answered; deadline and cancellation are answers too.</summary>
    public void Complete(GenerationResult result)
    {
        var elapsed = Stopwatch.GetElapsedTime(_began);
        var tags = End(elapsed, null);
        var queue = result.PromptTokens == 0 ? elapsed : result.QueueTime; // it never left the queue
        Instruments.QueueDuration.Record(queue.TotalSeconds, tags);
        if (result.TimeToFirstToken is { } first)
        {
            Instruments.TimeToFirstToken.Record(first.TotalSeconds, tags);
        }

        if (result.GeneratedTokens > 1)
        {
            Instruments.TimePerOutputToken.Record(result.DecodeTime.TotalSeconds / (result.GeneratedTokens - 1), tags);
        }

        if (result.Speculation is { Drafted: > 0 } speculation)
        {
            Instruments.Drafted.Add(speculation.Drafted, tags);
            Instruments.Accepted.Add(speculation.Accepted, tags);
        }

        Count(result.PromptTokens, "input", tags);
        Count(result.GeneratedTokens, "output", tags);
        if (_span is not null)
        {
            Write(_span, result, queue);
        }
    }

    /// <summary>The request could not be served.</summary>
    public void Fail(Exception e)
    {
        End(Stopwatch.GetElapsedTime(_began), e.GetType().Name);
        _span?.SetTag(Instruments.ErrorType, e.GetType().Name).SetStatus(ActivityStatusCode.Error, e.Message);
        _span?.Dispose();
    }

    private TagList End(TimeSpan elapsed, string? error)
    {
        var model = new KeyValuePair<string, object?>(Instruments.RequestModel, _model.Name);
        Instruments.Pending.Add(-1, model);
        var tags = new TagList { { Instruments.OperationName, _operation }, { Instruments.Provider, Instruments.ProviderName }, model };
        var outcome = tags;
        if (error is not null)
        {
            outcome.Add(Instruments.ErrorType, error);
        }

        Instruments.RequestDuration.Record(elapsed.TotalSeconds, outcome);
        return tags;
    }

    private static void Write(Activity span, GenerationResult result, TimeSpan queue)
    {
        span.SetTag("gen_ai.usage.input_tokens", result.PromptTokens)
            .SetTag("gen_ai.usage.output_tokens", result.GeneratedTokens)
            .SetTag("gen_ai.response.finish_reasons", new[] { result.FinishReason.ToString().ToLowerInvariant() });
        var at = span.StartTimeUtc;
        Phase(span, "queue", ref at, queue, []);
        if (result.PromptTokens > 0)
        {
            Phase(span, "prompt", ref at, result.PromptTime, [new("gen_ai.usage.input_tokens", result.PromptTokens)]);
        }

        if (result.GeneratedTokens > 0)
        {
            Phase(span, "decode", ref at, result.DecodeTime, [
                new("gen_ai.usage.output_tokens", result.GeneratedTokens),
                new("ryzenllm.speculation.drafted", result.Speculation?.Drafted ?? 0),
                new("ryzenllm.speculation.accepted", result.Speculation?.Accepted ?? 0)]);
        }

        span.Dispose();
    }

    // A phase that is over already.
    private static void Phase(Activity parent, string name, ref DateTime at, TimeSpan length, KeyValuePair<string, object?>[] tags)
    {
        using var phase = Instruments.Activities.StartActivity(name, ActivityKind.Internal, parent.Context, tags, startTime: at);
        at += length;
        phase?.SetEndTime(at);
    }

    private static void Count(int tokens, string type, TagList tags)
    {
        tags.Add("gen_ai.token.type", type);
        Instruments.TokenUsage.Record(tokens, tags);
    }
}
