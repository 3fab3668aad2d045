using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using RyzenLlm.Bench;
using RyzenLlm.Kernels;

// Memory-bound kernels are judged against what this process can read at this moment, so both are printed together.
foreach (var threads in new[] { 1, MachineInfo.Processors }.Distinct())
{
    Console.WriteLine($"// read bandwidth, {threads} thread(s): {MachineInfo.MeasureReadBandwidth(threads):F1} GB/s");
}

var config = DefaultConfig.Instance
    .AddJob(Job.Default.WithToolchain(InProcessEmitToolchain.Instance).WithWarmupCount(3).WithIterationCount(15))
    .AddColumn(new RateColumn("GB/s", "Weights read per second", b => b.BytesPerCall))
    .AddColumn(new RateColumn("GMAC/s", "Multiply-adds per second", b => b.MultiplyAddsPerCall));
BenchmarkSwitcher.FromAssembly(typeof(RateColumn).Assembly).Run(args, config);
