using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Microsoft.Extensions.AI;
using RyzenLlm.Engine.Decoding;

namespace RyzenLlm.Engine.Chat;

/// <summary>
/// A loaded model as the chat client of Microsoft.Extensions.AI, so that everything written for that seam (function invocation, caching,
/// Semantic Kernel, agent frameworks) runs on it.
/// </summary>
/// <remarks>
/// Options are mapped one to one where the engine has them (temperature, top-p, top-k, seed, penalties, stop texts, token limit, JSON and JSON
/// schema output); what it does not have is ignored, as other clients do. <see cref="ChatOptions.RawRepresentationFactory"/> may return a
/// <see cref="GenerationRequest"/> to start from, for everything else. Functions are offered in the system message; a call that is required is
/// held to the schemas of the functions while it is written, so its arguments always parse.
/// </remarks>
public sealed class EngineChatClient : IChatClient
{
    /// <summary>Finish reason of an answer that was cut by <see cref="GenerationRequest.Deadline"/>.</summary>
    public static readonly ChatFinishReason Deadline = new("deadline");

    private readonly Scheduler _scheduler;
    private readonly ChatClientMetadata _metadata;

    /// <summary>A client of a loaded model.</summary>
    /// <param name="scheduler">Serves the model; whoever made it disposes of it.</param>
    public EngineChatClient(Scheduler scheduler)
    {
        ArgumentNullException.ThrowIfNull(scheduler);
        _scheduler = scheduler;
        _metadata = new ChatClientMetadata("ryzenllm", providerUri: null, scheduler.Model.Info.Name);
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">The conversation or the options cannot be served; the message says what to change.</exception>
    /// <exception cref="QueueFullException">Too many requests wait already.</exception>
    public async Task<ChatResponse> GetResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default) =>
        await GetStreamingResponseAsync(messages, options, cancellationToken).ToChatResponseAsync(cancellationToken).ConfigureAwait(false);

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">The conversation or the options cannot be served; the message says what to change.</exception>
    /// <exception cref="QueueFullException">Too many requests wait already.</exception>
    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        var request = ChatRequest.Of(messages, options, _scheduler.Model.Info.Name, () => options?.RawRepresentationFactory?.Invoke(this) as GenerationRequest);
        var reader = new ToolCallReader(ChatRequest.Functions(options));
        var id = Guid.NewGuid().ToString("N");
        var pieces = Channel.CreateUnbounded<string>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });

        // A caller that stops listening ends the generation.
        using var stopping = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var running = Run(request, pieces.Writer, stopping.Token);
        try
        {
            await foreach (var piece in pieces.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false))
            {
                foreach (var content in reader.Push(piece))
                {
                    yield return Update(id, content);
                }
            }

            var result = await running.ConfigureAwait(false);
            cancellationToken.ThrowIfCancellationRequested();
            foreach (var content in reader.Flush())
            {
                yield return Update(id, content);
            }

            var last = Update(id, new UsageContent(Usage(result)));
            last.FinishReason = reader.CallCount > 0 ? ChatFinishReason.ToolCalls : Reason(result.FinishReason);
            last.RawRepresentation = result;
            yield return last;
        }
        finally
        {
            await stopping.CancelAsync().ConfigureAwait(false);
            await ((Task)running).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        return serviceKey is not null ? null
            : serviceType == typeof(ChatClientMetadata) ? _metadata
            : serviceType.IsInstanceOfType(_scheduler) ? _scheduler
            : serviceType.IsInstanceOfType(this) ? this : null;
    }

    /// <summary>Nothing: the model belongs to its scheduler.</summary>
    public void Dispose()
    {
    }

    private async Task<GenerationResult> Run(GenerationRequest request, ChannelWriter<string> pieces, CancellationToken cancel)
    {
        try
        {
            return await _scheduler.GenerateAsync(request, Take, cancel).ConfigureAwait(false);
        }
        finally
        {
            pieces.TryComplete();
        }

        void Take(GeneratedPiece piece)
        {
            if (!piece.Text.IsEmpty)
            {
                pieces.TryWrite(piece.Text.ToString());
            }
        }
    }

    private ChatResponseUpdate Update(string id, AIContent content) =>
        new(ChatRole.Assistant, [content]) { ResponseId = id, MessageId = id, ModelId = _metadata.DefaultModelId };

    private static UsageDetails Usage(GenerationResult result) => new()
    {
        InputTokenCount = result.PromptTokens,
        OutputTokenCount = result.GeneratedTokens,
        TotalTokenCount = result.PromptTokens + result.GeneratedTokens,
    };

    private static ChatFinishReason Reason(FinishReason reason) => reason switch
    {
        FinishReason.Length => ChatFinishReason.Length,
        FinishReason.Deadline => Deadline,
        _ => ChatFinishReason.Stop,
    };
}
