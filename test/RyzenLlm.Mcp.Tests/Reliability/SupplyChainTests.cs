using System.Text.Json;
using System.Xml.Linq;

namespace RyzenLlm.Mcp.Tests.Reliability;

/// <summary>What the program is made of is locked, audited and listed.</summary>
public sealed class SupplyChainTests
{
    [Test]
    public void The_bill_of_materials_lists_every_locked_package_with_its_digest()
    {
        var bill = JsonDocument.Parse(File.ReadAllText(Path.Combine(Repository.Root, "sbom.cdx.json"))).RootElement;
        var listed = bill.GetProperty("components").EnumerateArray()
            .Select(c => (c.GetProperty("name").GetString(), c.GetProperty("version").GetString(), c.GetProperty("hashes")[0].GetProperty("content").GetString()));
        var lockFile = JsonDocument.Parse(File.ReadAllText(Path.Combine(Repository.Root, "src", "RyzenLlm.Mcp", "packages.lock.json"))).RootElement;
        var locked = lockFile.GetProperty("dependencies").GetProperty("net10.0").EnumerateObject().Where(p => p.Value.GetProperty("type").GetString() != "Project")
            .Select(p => (p.Name, p.Value.GetProperty("resolved").GetString(), Convert.ToHexStringLower(Convert.FromBase64String(p.Value.GetProperty("contentHash").GetString()!))));
        Assert.That(listed, Is.EquivalentTo(locked), "run eng/sbom.py");
        Assert.That(Path.Combine(AppContext.BaseDirectory, "sbom.cdx.json"), Does.Exist, "it goes out with the program");
    }

    [Test]
    public void Every_project_is_locked_and_vulnerable_packages_fail_the_build()
    {
        var properties = XDocument.Load(Path.Combine(Repository.Root, "Directory.Build.props")).Descendants().Where(e => !e.HasElements)
            .GroupBy(e => e.Name.LocalName).ToDictionary(g => g.Key, g => g.First().Value);
        Assert.That(properties["RestorePackagesWithLockFile"], Is.EqualTo("true"));
        Assert.That((properties["NuGetAudit"], properties["NuGetAuditMode"], properties["NuGetAuditLevel"]), Is.EqualTo(("true", "all", "low")));
        Assert.That(properties["WarningsAsErrors"], Does.Contain("NU1901").And.Contain("NU1902").And.Contain("NU1903").And.Contain("NU1904"));
        var projects = Directory.EnumerateFiles(Repository.Root, "*.csproj", SearchOption.AllDirectories).Where(p => !p.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}"));
        Assert.That(projects.Where(p => !File.Exists(Path.Combine(Path.GetDirectoryName(p)!, "packages.lock.json"))), Is.Empty);
    }
}
