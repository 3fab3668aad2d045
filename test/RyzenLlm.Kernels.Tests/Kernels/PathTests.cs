using System.Runtime.Intrinsics.X86;

namespace RyzenLlm.Kernels.Tests.Kernels;

/// <summary>Choice of the kernel path.</summary>
public sealed class PathTests
{
    [Test]
    public void Available_FollowsTheProcessorAndTheSwitches()
    {
        var names = KernelSet.Available.Select(k => k.Name).ToArray();
        TestContext.Out.WriteLine($"paths: {string.Join(", ", names)}; features: {string.Join(", ", MachineInfo.Features)}");
        Assert.That(names[0], Is.EqualTo("portable"));
        Assert.That(names.Contains("avx2"), Is.EqualTo(Avx2.IsSupported && Fma.IsSupported));
        Assert.That(names.Contains("avx512"), Is.EqualTo(Avx512BW.IsSupported && Avx512DQ.IsSupported && Avx512F.VL.IsSupported));
    }

    // The runtime ignores switches that it does not know; a run with one of these set must really be without the path.
    [TestCase("DOTNET_EnableAVX512", "avx512")]
    [TestCase("DOTNET_EnableAVX2", "avx512")]
    [TestCase("DOTNET_EnableAVX2", "avx2")]
    [TestCase("DOTNET_EnableHWIntrinsic", "avx512")]
    [TestCase("DOTNET_EnableHWIntrinsic", "avx2")]
    public void Switch_TakesThePathAway(string variable, string path)
    {
        if (Environment.GetEnvironmentVariable(variable) != "0")
        {
            Assert.Ignore($"{variable}=0 is not set in this run.");
        }

        Assert.That(KernelSet.Available.Select(k => k.Name), Has.No.Member(path));
        Assert.That(() => KernelSet.Select(path), Throws.ArgumentException);
    }

    [Test]
    public void Select_TakesANameOrTheFastest()
    {
        Assert.That(KernelSet.Select(), Is.SameAs(KernelSet.Available[^1]));
        Assert.That(KernelSet.Select("AUTO"), Is.SameAs(KernelSet.Available[^1]));
        Assert.That(KernelSet.Select("Portable"), Is.SameAs(KernelSet.Portable));
        Assert.That(() => KernelSet.Select("neon"), Throws.ArgumentException.With.Message.Contains("portable"));
    }

    [Test]
    public void MachineInfo_SeesThisMachine()
    {
        Assert.That(MachineInfo.Processors, Is.GreaterThan(0));
        Assert.That(MachineInfo.MemoryBytes, Is.GreaterThan(64L << 20));
        Assert.That(MachineInfo.MeasureReadBandwidth(1, 8 << 20), Is.GreaterThan(0.01).And.LessThan(100_000));
        Assert.That(MachineInfo.MeasureReadBandwidth(3, (1 << 20) + 100), Is.GreaterThan(0.01));
        Assert.That(() => MachineInfo.MeasureReadBandwidth(1, 5), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }
}
