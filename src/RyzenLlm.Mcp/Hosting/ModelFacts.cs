using RyzenLlm.Engine.Models;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>Reads what models say about themselves where one bad file must not spoil a whole list.</summary>
internal static class ModelFacts
{
    /// <summary>The description, or why there is none.</summary>
    public static (ModelInfo? Info, string? Problem) TryRead(ModelEntry entry)
    {
        try
        {
            var metadata = ModelMetadata.Read(entry.Path);
            return metadata.IsSupported
                ? (metadata.Info, null)
                : (metadata.Info, $"architecture {metadata.Info.Architecture} cannot be run; those that can: {string.Join(", ", ModelLoader.Supported)}");
        }
        catch (Exception e) when (Failures.Describe(e) is { } problem)
        {
            return (null, problem);
        }
    }
}
