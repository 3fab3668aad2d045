namespace RyzenLlm.Mcp.Downloads;

/// <summary>A download that cannot be completed; the message says why and what to do. Nothing that looks like a model was left behind.</summary>
public sealed class DownloadException(string message, Exception? inner = null) : Exception(message, inner);
