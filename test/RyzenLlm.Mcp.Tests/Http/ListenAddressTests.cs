using RyzenLlm.Mcp.Http;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Tests.Http;

public sealed class ListenAddressTests
{
    [TestCase("http://127.0.0.1:8484", "127.0.0.1", true)]
    [TestCase("http://localhost:80/", "localhost", true)]
    [TestCase("http://[::1]:0", "[::1]", true)]
    [TestCase("http://192.0.2.7:8484", "192.0.2.7", false)]
    public void AddressesAreRead(string url, string host, bool loopback)
    {
        var address = ListenAddress.Read(new() { Urls = url }).Single();
        Assert.That((address.Host, address.IsLoopback, address.IsSecure), Is.EqualTo((host, loopback, false)));
    }

    [TestCase("", "Server:Urls is empty")]
    [TestCase("http://127.0.0.1", "Server:Urls holds 'http://127.0.0.1' but must be")]
    [TestCase("http://ryzen.example:80", "an IP address, localhost or *")]
    [TestCase("unix:/tmp/x", "Server:Urls holds")]
    [TestCase("http://127.0.0.1:70000", "Server:Urls holds")]
    [TestCase("http://127.0.0.1:80/path", "Server:Urls holds")]
    [TestCase("http://localhost:0", "port 0 goes with an address")]
    [TestCase("https://127.0.0.1:8443", "Server:Tls:Certificate must name a file")]
    [TestCase("http://*:8484", "Server:AllowedHosts is empty but must list")]
    [TestCase("http://127.0.0.1:1;http://0.0.0.0:8484", "Server:AllowedHosts is empty but must list")]
    public void WhatCannotOrMustNotBeListenedOnIsNamed(string url, string message) =>
        Assert.That(() => ListenAddress.Read(new() { Urls = url }), Throws.InstanceOf<SettingsException>().With.Message.Contains(message));

    [Test]
    public void NobodyElseMayReachAServerThatAsksForNothing()
    {
        Assert.That(
            () => ListenAddress.Read(new() { Urls = "http://192.0.2.7:8484", Auth = "none" }),
            Throws.InstanceOf<SettingsException>().With.Message.Contains("Server:Auth is 'none' but must be one of: token, oauth"));
        Assert.That(ListenAddress.Read(new() { Urls = "http://127.0.0.1:8484", Auth = "none" }), Has.Length.EqualTo(1));
    }

    [Test]
    public void ACertificateThatCannotBeReadIsNamed() => Assert.That(
        () => ListenAddress.Certificate(new() { Certificate = "/nowhere/cert.pem" }),
        Throws.InstanceOf<SettingsException>().With.Message.Contains("Server:Tls:Certificate names /nowhere/cert.pem"));
}
