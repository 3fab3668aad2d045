using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Reflection;
using System.Text.Json;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Settings;

[NonParallelizable]
public sealed class SettingsTests
{
    private const string Variable = "RYZENLLM__GENERATION__TOPK";

    [Test]
    public void TheFileHoldsEveryKeyWithItsDefaultAndNoOther()
    {
        var file = JsonDocument.Parse(File.ReadAllText(Path.Combine(Repository.Root, "appsettings.json"))).RootElement;
        var known = SettingsReader.Keys().Select(k => (k.Key, JsonSerializer.Serialize(k.Default is Enum name ? name.ToString() : k.Default)));
        Assert.That(Written(file, ""), Is.EqualTo(known));
    }

    // What the file says as it ships is not looked at twice.
    [Test]
    public void EveryDefaultIsAllowed() => Assert.Multiple(() =>
    {
        foreach (var (key, value) in SettingsReader.Keys())
        {
            var (type, property) = (typeof(AppSettings), (PropertyInfo?)null);
            foreach (var name in key.Split(':'))
            {
                property = type.GetProperty(name)!;
                type = property.PropertyType;
            }

            object? wide = value is float or long or double ? (double)Convert.ToDecimal(value, CultureInfo.InvariantCulture) : value;
            Assert.That(property!.GetCustomAttributes<ValidationAttribute>().All(a => a.IsValid(wide)), $"{key} = {value}");
        }
    });

    private static IEnumerable<(string Key, string Value)> Written(JsonElement section, string prefix) =>
        section.EnumerateObject().SelectMany(s => s.Value.ValueKind == JsonValueKind.Object
            ? Written(s.Value, $"{prefix}{s.Name}:")
            : [($"{prefix}{s.Name}", s.Value.GetRawText())]);

    [Test]
    public void EachSourceOverridesTheOneBefore()
    {
        var folder = Folder("""{"Generation":{"TopK":5,"TopP":0.5,"Seed":12},"Models":{"Folders":["/a","/b"]}}""");
        Environment.SetEnvironmentVariable(Variable, "6");
        try
        {
            var settings = SettingsReader.Read([new("generation:topp", "0.25")], folder);
            Assert.That(settings.Generation.Seed, Is.EqualTo(12));
            Assert.That(settings.Generation.TopK, Is.EqualTo(6));
            Assert.That(settings.Generation.TopP, Is.EqualTo(0.25f));
            Assert.That(settings.Generation.MinP, Is.EqualTo(0.05f), "the default");
            Assert.That(settings.Models.Folders, Is.EqualTo(new[] { "/a", "/b" }));
        }
        finally
        {
            Environment.SetEnvironmentVariable(Variable, null);
        }
    }

    [TestCase("Engine:Kernel", "avx2", "Unknown setting Engine:Kernel (on the command line). Settings here are: Threads, Kernels, KvType, Window, Sinks, Precision, TernaryLayout, MemoryLimit, MaxSequences, QueueLimit, StepTokens.")]
    [TestCase("Motor:Threads", "1", "Unknown setting Motor (on the command line). Sections are: Models, Engine, States, Generation, Memory, Server, Telemetry, Log.")]
    [TestCase("Engine:Kernels", "sse", "Setting Engine:Kernels (on the command line) is 'sse' but must be one of: auto, portable, avx2, avx512.")]
    [TestCase("Engine:Threads", "many", "must be a whole number from 0, at most 1024")]
    [TestCase("Engine:MemoryLimit", "much", "must be a size such as 500MB or 2GB, or a share such as 80%")]
    [TestCase("States:Memory", "120%", "States:Memory (on the command line) is '120%' but must be a size")]
    [TestCase("Generation:TopP", "0", "must be a number above 0, at most 1")]
    [TestCase("Generation:TopP", "1.01", "must be a number above 0, at most 1")]
    [TestCase("Generation:TopK", "-1", "must be a whole number from 0.")]
    [TestCase("Generation:Seed", "-1", "Generation:Seed")]
    [TestCase("Memory:Embedder", "model:", "Memory:Embedder (on the command line) is 'model:' but must be builtin, none or model:NAME.")]
    [TestCase("Memory:Secrets", "hide", "must be one of: Redact, Refuse, Keep")]
    [TestCase("Memory:Qdrant:AllowSharedIdf", "perhaps", "must be true or false")]
    [TestCase("Memory:Ranking:B", "2", "must be a number from 0, at most 1")]
    [TestCase("Memory:Ranking:Bm25:K1", "1", "Unknown setting Memory:Ranking:Bm25")]
    [TestCase("Engine", "2", "a section with settings, not a value")]
    [TestCase("Models:Folders", "/a", "must be a list: Models:Folders:0")]
    [TestCase("Generation:TopK:0", "1", "a single value")]
    public void WhatIsUnknownOrNotAllowedIsNamed(string key, string value, string message) =>
        Assert.That(() => SettingsReader.Read([new(key, value)]), Throws.InstanceOf<SettingsException>().With.Message.Contains(message));

    [TestCase("1048576", 1 << 20)]
    [TestCase("2KB", 2000)]
    [TestCase("1.5 MiB", 3 << 19)]
    [TestCase("3gb", 3_000_000_000L)]
    [TestCase("25%", 100)]
    [TestCase("0", 0)]
    [TestCase("-1", null)]
    [TestCase("5 apples", null)]
    [TestCase("", null)]
    [TestCase("9999999999TB", null)]
    public void SizesHaveUnitsOrAreShares(string text, long? bytes) => Assert.That(MemorySize.TryParse(text, 400), Is.EqualTo(bytes));

    [Test]
    public void ASourceIsNamedWithTheProblem()
    {
        Assert.That(
            () => SettingsReader.Read(folder: Folder("""{"Log":{"Level":"loud"}}""")),
            Throws.InstanceOf<SettingsException>().With.Message.Contains("Log:Level (in appsettings.json) is 'loud'"));
        Assert.That(
            () => SettingsReader.Read(folder: Folder("""{"Log":""")),
            Throws.InstanceOf<SettingsException>().With.Message.Contains("appsettings.json is not valid"));
        Environment.SetEnvironmentVariable(Variable, "x");
        try
        {
            Assert.That(() => SettingsReader.Read(), Throws.InstanceOf<SettingsException>().With.Message.Contains(Variable));
        }
        finally
        {
            Environment.SetEnvironmentVariable(Variable, null);
        }
    }

    [Test]
    public void AnAbsentFileMeansDefaults() =>
        Assert.That(SettingsReader.Read(folder: Path.GetTempPath()).Engine, Is.EqualTo(new EngineSettings()));

    private static string Folder(string json)
    {
        var folder = Directory.CreateTempSubdirectory("ryzenllm-settings-").FullName;
        File.WriteAllText(Path.Combine(folder, "appsettings.json"), json);
        return folder;
    }
}
