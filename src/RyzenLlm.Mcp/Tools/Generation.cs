using RyzenLlm.Engine.Decoding;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Tools;

/// <summary>A generation, from its first call to the last one that continues it.</summary>
/// <param name="Model">Model that writes.</param>
/// <param name="Draft">Model that guesses ahead, or null.</param>
/// <param name="Asked">What is asked for, and where the call before stopped.</param>
/// <param name="Prompt">The prompt as it was given.</param>
/// <param name="Memory">What is remembered, or null.</param>
/// <param name="Session">Conversation that it is a turn of, or null.</param>
/// <param name="Reason">With model auto: why this model.</param>
internal sealed record Generation(
    ModelEntry Model, ModelEntry? Draft, GenerationRequest Asked, string Prompt, GenerationMemory? Memory, string? Session, string? Reason)
{
    /// <summary>What earlier calls wrote.</summary>
    public string Written { get; init; } = "";

    // Copies made with "with" keep the stamp of the first call.
    private readonly (long Bytes, DateTime Written) _stamp = StampOf(Model);

    /// <summary>Tokens that earlier calls generated.</summary>
    public int Tokens => Asked.From is { } from ? from.Tokens.Length - from.PromptTokens : 0;

    /// <summary>Whether the model's file is still the one of the first call; another one would go on differently.</summary>
    public bool IsCurrent => StampOf(Model) == _stamp;

    private static (long Bytes, DateTime Written) StampOf(ModelEntry model)
    {
        try
        {
            return (model.Bytes, File.GetLastWriteTimeUtc(model.Path));
        }
        catch (IOException)
        {
            return default; // it is gone; the call that loads it says so
        }
    }
}
