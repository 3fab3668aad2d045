using System.Text.Json;
using System.Text.RegularExpressions;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Server;

/// <summary>.mcp/server.json, by which registries and NuGet know the server, says what the program and its bundle say.</summary>
public sealed partial class ServerDescriptionTests
{
    private static readonly JsonElement Description = JsonElement.Parse(File.ReadAllText(Path.Combine(Repository.Root, ".mcp", "server.json")));
    private static readonly JsonElement Package = Description.GetProperty("packages").EnumerateArray().Single();

    [Test]
    public void VersionsAreThatOfTheProgram()
    {
        Assert.That(Description.GetProperty("version").GetString(), Is.EqualTo(ProductInfo.Version));
        Assert.That(Package.GetProperty("version").GetString(), Is.EqualTo(ProductInfo.Version));
    }

    [Test]
    public void ItKeepsTheRulesOfTheRegistry()
    {
        Assert.That(Description.GetProperty("$schema").GetString(), Is.EqualTo("https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"));
        Assert.That(Description.GetProperty("name").GetString(), Does.Match(@"^[A-Za-z0-9.-]+/[A-Za-z0-9._-]+$"));
        Assert.That(Description.GetProperty("description").GetString(), Has.Length.InRange(1, 100));
        Assert.That(Package.GetProperty("registryType").GetString(), Is.EqualTo("nuget"));
        Assert.That(Package.GetProperty("transport").GetProperty("type").GetString(), Is.EqualTo("stdio"));
        Assert.That(Description.EnumerateObject().Select(p => p.Name), Is.SubsetOf(new[] { "$schema", "name", "title", "description", "version", "packages", "repository", "websiteUrl", "remotes", "icons", "_meta" }));
    }

    [Test]
    public void ThePackageIsTheOneThatIsBuilt()
    {
        var project = File.ReadAllText(Path.Combine(Repository.Root, "src", "RyzenLlm.Mcp", "RyzenLlm.Mcp.csproj"));
        Assert.That(PackageId().Match(project).Groups[1].Value, Is.EqualTo(Package.GetProperty("identifier").GetString()));
        Assert.That(Package.GetProperty("packageArguments").EnumerateArray().Single().GetProperty("value").GetString(), Is.EqualTo("serve"));
    }

    [Test]
    public void TheSettingsItOffersExist()
    {
        var keys = SettingsReader.Keys().Select(k => "RYZENLLM__" + k.Key.Replace(":", "__").ToUpperInvariant());
        var offered = Package.GetProperty("environmentVariables").EnumerateArray().Select(v => v.GetProperty("name").GetString());
        Assert.That(offered, Is.SubsetOf(keys));
    }

    [GeneratedRegex("<PackageId>(.+)</PackageId>")]
    private static partial Regex PackageId();
}
