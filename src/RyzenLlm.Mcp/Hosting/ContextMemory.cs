using Microsoft.Extensions.Logging;
using ModelContextProtocol.Server;
using RyzenLlm.Engine.Tokenizers;
using RyzenLlm.Mcp.Settings;
using RyzenLlm.Memory;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>
/// The memory as the tools use it: opened by the first call that needs it. A store that could not be opened is tried again by the
/// next call.
/// </summary>
internal sealed partial class ContextMemory(
    AppSettings settings, ModelLibrary library, LoadedModels models, KeptStates states, TimeProvider clock, ILogger<ContextMemory>? log = null) : IDisposable
{
    private readonly SemaphoreSlim _opening = new(1, 1);
    private readonly DateTimeOffset _started = clock.GetUtcNow();
    private RsuMemory? _memory;

    /// <summary>Whose memory a call reads and writes.</summary>
    public Caller CallerOf(MessageContext request) => Caller.Of(request, settings);

    /// <summary>Conversation that turns belong to where the call names none: one for each run of the server.</summary>
    public string Session => $"chat {_started:yyyy-MM-dd HH:mm:ss}";

    /// <summary>The memory of some settings, opened; what it forgets is forgotten by the kept states too, if there are any.</summary>
    /// <param name="options">The settings.</param>
    /// <param name="embedders">Makes its vectors.</param>
    /// <param name="cancel">Gives up.</param>
    /// <param name="states">States to be forgotten with units.</param>
    public static async Task<RsuMemory> OpenAsync(MemoryOptions options, MemoryModels embedders, CancellationToken cancel, KeptStates? states = null)
    {
        var memory = RsuMemory.Create(options, embedders with
        {
            ForgetStates = states is null ? null : (tenant, names, _) => Task.FromResult(states.Forget(tenant, names)),
        });
        try
        {
            await memory.OpenAsync(cancel).ConfigureAwait(false);
            return memory;
        }
        catch
        {
            memory.Dispose();
            throw;
        }
    }

    /// <summary>The open memory.</summary>
    public async ValueTask<RsuMemory> OpenAsync(CancellationToken cancel)
    {
        if (_memory is { } open)
        {
            return open;
        }

        await _opening.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            if (_memory is null)
            {
                var embedders = ModelEmbedder.ModelsFor(settings.Memory, library, models) with { Clock = clock };
                _memory = await OpenAsync(settings.Memory, embedders, cancel, states).ConfigureAwait(false);
                _memory.StartReembedding(ReembeddingEnded);
            }

            return _memory;
        }
        finally
        {
            _opening.Release();
        }
    }

    /// <summary>Recalls; the budget is counted by the default model's vocabulary if that model is in memory.</summary>
    public async Task<RecallResult> RecallAsync(Caller caller, RecallRequest request, CancellationToken cancel)
    {
        var memory = await OpenAsync(cancel).ConfigureAwait(false);
        using var lease = library.TryDefault(caller.Tenant) is { } entry ? models.TryAcquire(entry) : null;
        var counted = request with { CountTokens = CounterOf(lease?.Scheduler.Model.Tokenizer) };
        return await ServerInstruments.RecallingAsync(() => memory.RecallAsync(caller.Tenant, counted, cancel)).ConfigureAwait(false);
    }

    /// <summary>Length of a text by a vocabulary; null, which is the memory's own counter, for none.</summary>
    public static Func<string, int>? CounterOf(ITokenizer? tokenizer) =>
        tokenizer is null ? null : text => tokenizer.Encode(text, addBos: false, parseSpecial: false).Length;

    private void ReembeddingEnded(Exception e)
    {
        if (log is not null)
        {
            LogReembeddingEnded(log, e);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Re-embedding the memory ended early; the old vectors stay in use, and the next start goes on.")]
    private static partial void LogReembeddingEnded(ILogger logger, Exception exception);

    /// <inheritdoc/>
    public void Dispose()
    {
        _memory?.Dispose();
        _opening.Dispose();
    }
}
