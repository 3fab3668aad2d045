using System.Reflection;

namespace RyzenLlm.Mcp.Hosting;

/// <summary>What the program calls itself.</summary>
internal static class ProductInfo
{
    /// <summary>Name as server and command.</summary>
    public const string Name = "ryzenllm";

    /// <summary>Name for people.</summary>
    public const string Title = "RyzenLlm";

    /// <summary>Version of this build, with source revision where it was built in a repository.</summary>
    public static string Build { get; } = typeof(ProductInfo).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion;

    /// <summary>Version of this build, without source revision.</summary>
    public static string Version { get; } = Build.Split('+')[0];
}
