using System.Diagnostics;
using System.Globalization;

namespace RyzenLlm.Endurance;

/// <summary>How long a refusal for want of memory takes, from the call to its answer over the protocol.</summary>
internal static class Refusals
{
    private const double Longest = 50;

    /// <summary>Makes calls that cannot have the memory they need and prints their times; 1 if the usual one took too long or gave no numbers.</summary>
    public static async Task<int> RunAsync(int calls)
    {
        var folder = Directory.CreateTempSubdirectory("ryzenllm-refusals-").FullName;
        using var server = await ServerProcess.StartAsync(folder, "Engine:MemoryLimit=1MB");
        var times = new List<double>();
        var text = "";
        for (var i = 0; i < calls; i++)
        {
            var began = Stopwatch.GetTimestamp();
            var answer = await server.CallAsync("generate", new { prompt = "The van", max_tokens = 4 });
            times.Add(Stopwatch.GetElapsedTime(began).TotalMilliseconds);
            text = answer?.GetProperty("result").GetProperty("content")[0].GetProperty("text").GetString() ?? "";
        }

        await server.CloseAsync();
        Directory.Delete(folder, recursive: true);
        var first = times[0];
        times.Sort();
        double At(double part) => times[(int)Math.Min(times.Count - 1, part * times.Count)];
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{calls} refusals: first {first:0.0} ms, p50 {At(0.5):0.00} ms, p99 {At(0.99):0.00} ms, longest {times[^1]:0.0} ms"));
        Console.WriteLine(text);
        var numbers = text.Contains("Engine:MemoryLimit", StringComparison.Ordinal) && text.Any(char.IsAsciiDigit);
        return numbers && At(0.5) < Longest ? 0 : 1;
    }
}
