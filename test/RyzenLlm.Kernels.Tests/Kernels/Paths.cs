namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>The kernel paths by name. Every kernel test runs once per name, and is skipped with the reason where the processor, or the run, lacks the path.</summary>
internal static class Paths
{
    public static readonly string[] All = ["portable", "avx2", "avx512"];

    public static KernelSet Get(string name)
    {
        var kernels = KernelSet.Available.FirstOrDefault(k => k.Name == name);
        if (kernels is null)
        {
            Assert.Ignore($"The {name} path is not available: the processor lacks it or DOTNET_Enable* switched it off.");
        }

        return kernels!;
    }
}
