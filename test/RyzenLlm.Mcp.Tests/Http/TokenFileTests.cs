using System.Runtime.Versioning;
using RyzenLlm.Mcp.Http;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Http;

public sealed class TokenFileTests
{
    private const string Token = "0123456789abcdef0123456789abcdef";
    private string _path = null!;

    [SetUp]
    public void Create() => _path = Path.Combine(Directory.CreateTempSubdirectory("ryzenllm-tokens-").FullName, "new", "tokens.json");

    [TearDown]
    public void Delete() => Directory.Delete(Path.GetDirectoryName(Path.GetDirectoryName(_path))!, recursive: true);

    [Test]
    public void TheFirstStartMakesOneThatOnlyItsOwnerMayRead()
    {
        var made = Open();
        Assert.That(made.IsNew, Is.True);
        if (!OperatingSystem.IsWindows())
        {
            Assert.That(File.GetUnixFileMode(_path), Is.EqualTo(UnixFileMode.UserRead | UnixFileMode.UserWrite));
        }

        var token = File.ReadAllText(_path).Split('"').Single(word => word.Length == 64);
        var again = Open();
        Assert.That(again.IsNew, Is.False);
        var owner = again.Find(token)!;
        Assert.That((owner.Name, owner.Tenant), Is.EqualTo(("owner", "mine")));
        Assert.That(owner.Scopes, Is.EqualTo(new[] { "generate", "recall", "store", "forget", "share", "models" }));
        Assert.That(again.Find(token[..^1]), Is.Null);
        Assert.That(again.Find(""), Is.Null);
    }

    [Test]
    [Platform(Exclude = "Win", Reason = "Files have no modes there.")]
    [UnsupportedOSPlatform("windows")]
    public void AFileThatOthersMayReadIsRefused()
    {
        Open();
        File.SetUnixFileMode(_path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.OtherRead);
        Assert.That(Open, Throws.InstanceOf<SettingsException>().With.Message.Contains("chmod 600"));
    }

    [TestCase("""{"tokens":[]}""", "holds no token")]
    [TestCase("""{"tokens":[{"name":"a","token":"short","tenant":"t","scopes":[]}]}""", "22 or more characters")]
    [TestCase("""{"tokens":[{"name":"a","token":"TOKEN x","tenant":"t","scopes":[]}]}""", "without spaces")]
    [TestCase("""{"tokens":[{"name":"a","token":"TOKEN","tenant":"","scopes":[]}]}""", "tenant must be")]
    [TestCase("""{"tokens":[{"name":"a","token":"TOKEN","tenant":"t","scopes":["admin"]}]}""", "no scope 'admin'; scopes are: generate, recall")]
    [TestCase("""{"tokens":[{"name":"a","token":"TOKEN","tenant":"t"}]}""", "it must be")]
    [TestCase("""{"tokens":[{"name":"a","token":"TOKEN","tenant":"t","scopes":[],"admin":true}]}""", "it must be")]
    [TestCase("""{"tokens":[{"name":"a","token":"TOKEN","tenant":"t","scopes":[]},{"name":"a","token":"TOKENb","tenant":"t","scopes":[]}]}""", "a name of its own")]
    [TestCase("""{"tokens":[{"name":"a","token":"TOKEN","tenant":"t","scopes":[]},{"name":"b","token":"TOKEN","tenant":"u","scopes":[]}]}""", "another entry")]
    [TestCase("""nonsense""", "it must be")]
    public void WhatIsWrongIsSaid(string content, string message)
    {
        Open();
        File.WriteAllText(_path, content.Replace("TOKEN", Token));
        Assert.That(Open, Throws.InstanceOf<SettingsException>().With.Message.Contains(message).And.Message.Contains(_path).And.Message.Not.Contains(Token));
    }

    [Test]
    public void ChangesTakeEffectAndAWrongFileLetsNobodyIn()
    {
        var tokens = Open();
        File.WriteAllText(_path, $$"""{"tokens":[{"name":"a","token":"{{Token}}","tenant":"t","scopes":["recall"]}]}""");
        Assert.That(tokens.Find(Token)!.Tenant, Is.EqualTo("t"));
        File.WriteAllText(_path, "{}");
        Assert.That(() => tokens.Find(Token), Throws.InstanceOf<SettingsException>());
        Assert.That(() => tokens.Find(Token), Throws.InstanceOf<SettingsException>(), "each time");
        File.WriteAllText(_path, $$"""{"tokens":[{"name":"b","token":"{{Token}}","tenant":"u","scopes":[]}]}""");
        Assert.That(tokens.Find(Token)!.Tenant, Is.EqualTo("u"));
    }

    private TokenFile Open() => TokenFile.Open(new() { Server = new() { TokenFile = _path }, Memory = new() { Tenant = "mine" } });
}
