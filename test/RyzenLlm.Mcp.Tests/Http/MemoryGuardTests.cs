using System.Globalization;
using ModelContextProtocol.Protocol;
using RyzenLlm.Engine.Files;

namespace RyzenLlm.Mcp.Tests.Http;

/// <summary>The built program under a tiny memory limit and more models than fit: it answers or refuses, and never takes more.</summary>
public sealed class MemoryGuardTests
{
    private const long Limit = 420_000_000;

    [Test]
    public async Task TheProcessStaysWithinItsLimitWhateverIsAsked()
    {
        if (!OperatingSystem.IsLinux())
        {
            Assert.Ignore("The peak of a process's memory is read from /proc.");
        }

        await using var program = await HttpProgram.StartAsync(
            $"Engine:MemoryLimit={Limit}", "Models:KeepLoaded=64", "States:Memory=100%", "States:Disk=0", "Server:Limits:RequestsPerMinute=0", "Server:Limits:ConcurrentCalls=64");
        await using var client = await program.ConnectAsync("2025-11-25");
        string[] models = [.. Directory.EnumerateFiles(Repository.Models, "*.gguf").Where(HasVocabulary).Select(f => Path.GetFileNameWithoutExtension(f)!).Order(StringComparer.Ordinal)];
        var random = new Random(1);
        var (answered, refused) = (0, 0);
        for (var round = 0; round < 8; round++)
        {
            var results = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => client.CallToolAsync("generate", new Dictionary<string, object?>
            {
                ["prompt"] = string.Concat(Enumerable.Range(0, random.Next(2, 60)).Select(i => $"word {random.Next(1000)} ")),
                ["model"] = models[random.Next(models.Length)],
                ["session"] = $"talk {random.Next(4)}",
                ["max_tokens"] = 8,
            }).AsTask()));
            answered += results.Count(r => r.IsError != true);
            foreach (var result in results.Where(r => r.IsError == true))
            {
                var text = ((TextContentBlock)result.Content[0]).Text;
                Assert.That(text, Does.Contain("Engine:MemoryLimit").Or.Contain("shorten the prompt"), text);
                refused += text.Contains("Engine:MemoryLimit", StringComparison.Ordinal) ? 1 : 0;
            }
        }

        var peak = File.ReadLines($"/proc/{program.ProcessId}/status").First(l => l.StartsWith("VmHWM:", StringComparison.Ordinal));
        var bytes = long.Parse(peak["VmHWM:".Length..^2], NumberStyles.AllowLeadingWhite | NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture) * 1024;
        TestContext.Out.WriteLine($"{answered} answered, {refused} refused, peak {bytes / 1e6:0} of {Limit / 1e6:0} MB");
        Assert.That(answered, Is.GreaterThan(24));
        Assert.That(bytes, Is.LessThanOrEqualTo(Limit));
    }

    private static bool HasVocabulary(string path)
    {
        using var file = GgufFile.Open(path);
        return file.Metadata.ContainsKey("tokenizer.ggml.model");
    }
}
