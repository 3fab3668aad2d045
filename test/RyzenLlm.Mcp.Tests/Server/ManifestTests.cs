using System.Text.Json;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Resources;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>mcp-manifest.json says what the server is.</summary>
public sealed class ManifestTests
{
    private static readonly JsonElement Manifest = JsonDocument.Parse(File.ReadAllText(Path.Combine(Repository.Root, "mcp-manifest.json"))).RootElement;

    [Test]
    public async Task TheManifestListsTheToolsOfTheServer()
    {
        await using var server = await InProcessServer.StartAsync("2025-11-25");
        var listed = (await server.Client.ListToolsAsync()).Select(t => t.Name);
        var declared = Manifest.GetProperty("tools").EnumerateArray().Select(t => t.GetProperty("name").GetString());
        Assert.That(declared, Is.EqualTo(listed));
    }

    [Test]
    public void ThePromptsAreThoseOfTheServer()
    {
        var declared = Manifest.GetProperty("prompts").EnumerateArray().Select(p => (
            p.GetProperty("name").GetString(),
            p.GetProperty("description").GetString(),
            string.Join(' ', p.GetProperty("arguments").EnumerateArray().Select(a => a.GetString())),
            p.GetProperty("text").GetString()));
        Assert.That(declared, Is.EqualTo(TextPrompt.All.Select(p => (
            p.ProtocolPrompt.Name, p.ProtocolPrompt.Description, string.Join(' ', p.ProtocolPrompt.Arguments!.Select(a => a.Name)), p.Text))));
    }

    [Test]
    public void NameAndVersionAreThoseOfTheProgram()
    {
        Assert.That(Manifest.GetProperty("name").GetString(), Is.EqualTo(ProductInfo.Name));
        Assert.That(Manifest.GetProperty("version").GetString(), Is.EqualTo(ProductInfo.Version));
    }

    [Test]
    public void TheSettingsItPassesOnExist()
    {
        var keys = Mcp.Settings.SettingsReader.Keys().Select(k => "RYZENLLM__" + k.Key.Replace(":", "__").ToUpperInvariant());
        var passed = Manifest.GetProperty("server").GetProperty("mcp_config").GetProperty("env").EnumerateObject().Select(e => e.Name);
        Assert.That(passed, Is.SubsetOf(keys));
    }
}
