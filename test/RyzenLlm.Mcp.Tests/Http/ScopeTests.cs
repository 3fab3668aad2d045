using System.Security.Claims;
using RyzenLlm.Mcp.Hosting;
using RyzenLlm.Mcp.Http;
using RyzenLlm.Mcp.Settings;
using RyzenLlm.Mcp.Tests.Server;

namespace RyzenLlm.Mcp.Tests.Http;

public sealed class ScopeTests
{
    private static readonly AppSettings Settings = new() { Memory = new() { Tenant = "mine" } };

    [Test]
    public void EveryToolNeedsAScopeThatExists() =>
        Assert.That(ToolTests.Tools.Select(Scopes.Of), Is.All.Not.Null.And.All.AnyOf([.. Scopes.All]));

    [Test]
    public void CredentialsAllowWhatTheyNameAndAnUnknownToolNeedsAll()
    {
        var reader = Caller.Of(CallerIdentity.Create("test", "r", "home", ["recall", "admin"]), Settings);
        Assert.That(reader.Tenant, Is.EqualTo("home"));
        Assert.That(reader.Scopes, Is.EqualTo(new[] { "recall" }));
        Assert.That(reader.Allows("recall"), Is.True);
        Assert.That(reader.Allows("store"), Is.False);
        Assert.That(reader.Allows(Scopes.Of("unknown")), Is.False);
        Assert.That(() => reader.Require("store"), Throws.InstanceOf<MissingScopeException>());
        var owner = Caller.Of(CallerIdentity.Create("test", "o", "home", Scopes.All), Settings);
        Assert.That(owner.Allows(Scopes.Of("unknown")), Is.True);
    }

    [Test]
    public void WithoutCredentialsTheSettingsNameTheTenantButCredentialsWithoutOneAreNobodys()
    {
        Assert.That(Caller.Of(user: null, Settings), Is.EqualTo(new Caller("mine")));
        Assert.That(Caller.Of(new ClaimsPrincipal(new ClaimsIdentity()), Settings), Is.EqualTo(new Caller("mine")));
        Assert.That(
            () => Caller.Of(new ClaimsPrincipal(new ClaimsIdentity([new Claim("sub", "x")], "test")), Settings), Throws.InstanceOf<UnauthorizedAccessException>());
    }
}
