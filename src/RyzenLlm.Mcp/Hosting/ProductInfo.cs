using System.Reflection;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>What the program calls itself.</summary>
internal static class ProductInfo
{
    /// <summary>Name as server and command.</summary>
    public const string Name = "ryzenllm";

    /// <summary>Name for people.</summary>
    public const string Title = "RyzenLlm";

    /// <summary>Version of this build, without source revision.</summary>
    public static string Version { get; } =
        typeof(ProductInfo).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0];
}
