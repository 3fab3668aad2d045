namespace RyzenLlm.Mcp.Settings;

/// <summary>A setting is unknown or has a value that is not allowed; the message names the key, where it was set and what is allowed.</summary>
public sealed class SettingsException(string message) : Exception(message);
