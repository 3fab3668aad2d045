using System.Data.Common;
using Microsoft.Extensions.VectorData;
using RyzenLlm.Engine.Decoding;
using RyzenLlm.Engine.Files;
using RyzenLlm.Engine.Sessions;
using RyzenLlm.Mcp.Downloads;
using RyzenLlm.Mcp.Settings;
using RyzenLlm.Memory.Stores;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>Tells failures whose message helps whoever asked from defects of the program.</summary>
internal static class Failures
{
    /// <summary>One line that says what is wrong and what to do, or null for a defect.</summary>
    public static string? Describe(Exception e) => e switch
    {
        ModelNotFoundException or SettingsException or MissingScopeException or LimitReachedException or ModelFormatException or QueueFullException or StepFailedException
            or MemoryLimitException or DownloadException => OneLine(e.Message),
        VectorStoreException or EmbedderMismatchException or DbException => OneLine(e.Message),
        ArgumentException argument => OneLine(WithoutParameter(argument)),
        FileNotFoundException { FileName: { } file } => $"There is no file {file}.",
        IOException or UnauthorizedAccessException or InvalidDataException => OneLine(e.Message),
        AggregateException { InnerExceptions: [var inner] } => Describe(inner),
        _ => null,
    };

    // ArgumentException appends " (Parameter 'x')", which means nothing to a user.
    private static string WithoutParameter(ArgumentException e) =>
        e.ParamName is { } name ? e.Message.Replace($" (Parameter '{name}')", "", StringComparison.Ordinal) : e.Message;

    private static string OneLine(string message) => message.ReplaceLineEndings(" ").Trim();
}
