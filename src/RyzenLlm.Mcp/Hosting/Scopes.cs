using RyzenLlm.Mcp.Tools;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>What credentials may allow. A token that names no scope allows nothing.</summary>
internal static class Scopes
{
    /// <summary>Generate text.</summary>
    public const string Generate = "generate";

    /// <summary>Read the memory.</summary>
    public const string Recall = "recall";

    /// <summary>Add to the memory.</summary>
    public const string Store = "store";

    /// <summary>Delete from the memory.</summary>
    public const string Forget = "forget";

    /// <summary>Let other tenants read units of the memory.</summary>
    public const string Share = "share";

    /// <summary>See the models and choose the default.</summary>
    public const string Models = "models";

    private static readonly Dictionary<string, string> Tools = new()
    {
        [ToolArguments.Plain("generate")] = Generate,
        [ToolArguments.Plain("recall-context")] = Recall,
        [ToolArguments.Plain("store-context")] = Store,
        [ToolArguments.Plain("forget-context")] = Forget,
        [ToolArguments.Plain("share-context")] = Share,
        [ToolArguments.Plain("model-select")] = Models,
    };

    /// <summary>All of them.</summary>
    public static IReadOnlyList<string> All { get; } = [Generate, Recall, Store, Forget, Share, Models];

    /// <summary>What reading a resource of this address needs; null for one that only credentials with every scope may read.</summary>
    public static string? OfResource(string uri) => uri.Split(':')[0].ToLowerInvariant() switch
    {
        "rsu" => Recall,
        "model" or "metrics" => Models,
        "result" => Generate,
        _ => null,
    };

    /// <summary>What a call of this tool needs; null for a tool that only credentials with every scope may call.</summary>
    public static string? Of(string tool) => Tools.GetValueOrDefault(ToolArguments.Plain(tool));
}

/// <summary>The credentials of a request do not allow what it asks.</summary>
internal sealed class MissingScopeException(string scope)
    : Exception($"These credentials do not allow this: it needs the scope '{scope}'. Ask whoever runs the server for a token with it.");
