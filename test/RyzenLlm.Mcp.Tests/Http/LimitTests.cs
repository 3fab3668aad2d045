using System.Net;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using RyzenLlm.Mcp.Hosting;

namespace RyzenLlm.Mcp.Tests.Http;

/// <summary>Rates, quotas, TLS, and a server that asks for nothing; the built program serves.</summary>
public sealed class LimitTests
{
    [Test]
    public async Task ATenantThatAsksTooOftenIsToldWhenToComeBack()
    {
        await using var program = await HttpProgram.StartAsync("Server:Limits:RequestsPerMinute=5");
        HttpResponseMessage answer;
        var answered = 0;
        while ((answer = await StatusAsync(program, HttpProgram.Owner)).StatusCode == HttpStatusCode.OK && answered < 1000)
        {
            answered++;
        }

        Assert.That(answer.StatusCode, Is.EqualTo(HttpStatusCode.TooManyRequests));
        Assert.That(answered, Is.GreaterThanOrEqualTo(5));
        Assert.That(answer.Headers.RetryAfter!.Delta, Is.InRange(TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(12)));
        Assert.That(await answer.Content.ReadAsStringAsync(), Does.Contain("Server:Limits:RequestsPerMinute"));
        using var other = await StatusAsync(program, HttpProgram.Guest);
        Assert.That(other.StatusCode, Is.EqualTo(HttpStatusCode.OK), "another tenant has its own rate");
        Assert.That(await program.Http.GetStringAsync("/health/live"), Is.EqualTo("live"), "health is not counted");
    }

    [Test]
    public async Task ATenantThatHasWrittenItsTokensOfTheDayIsRefused()
    {
        await using var program = await HttpProgram.StartAsync("Server:Limits:TokensPerDay=5");
        await using var client = await program.ConnectAsync("2026-07-28");
        var arguments = new Dictionary<string, object?> { ["prompt"] = "The wheel", ["max_tokens"] = 8, ["temperature"] = 0, ["regex"] = "a{8}" };
        Assert.That((await client.CallToolAsync("generate", arguments)).IsError, Is.Not.True);
        var refused = await client.CallToolAsync("generate", arguments);
        Assert.That(refused.IsError, Is.True);
        Assert.That(JsonSerializer.Serialize(refused.Content), Does.Contain("Server:Limits:TokensPerDay"));
        using var page = await program.Http.SendAsync(HttpProgram.Post(new StringContent("""{"prompt":"x"}""", Encoding.UTF8, "application/json"), path: "/api/generate"));
        Assert.That(page.StatusCode, Is.EqualTo(HttpStatusCode.TooManyRequests));
        await using var other = await program.ConnectAsync("2026-07-28", HttpProgram.Guest);
        Assert.That((await other.CallToolAsync("generate", arguments)).IsError, Is.Not.True, "another tenant has its own");
    }

    [Test]
    public void TokensOfADayAreForgottenWithIt()
    {
        var clock = new Clock();
        using var limits = new TenantLimits(new() { Server = new() { Limits = new() { TokensPerDay = 10 } } }, clock);
        limits.Charge("a", 10);
        Assert.That(() => limits.CheckTokens("a"), Throws.InstanceOf<LimitReachedException>());
        Assert.That(() => limits.CheckTokens("b"), Throws.Nothing);
        clock.Now = clock.Now.AddDays(1);
        Assert.That(() => limits.CheckTokens("a"), Throws.Nothing);
    }

    [Test]
    public async Task ACertificateMakesItSecure()
    {
        var folder = Directory.CreateTempSubdirectory("ryzenllm-tls-").FullName;
        using var rsa = RSA.Create(2048);
        var request = new CertificateRequest("CN=localhost", rsa, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        File.WriteAllText(Path.Combine(folder, "cert.pem"), certificate.ExportCertificatePem());
        File.WriteAllText(Path.Combine(folder, "key.pem"), rsa.ExportPkcs8PrivateKeyPem());
        await using var program = await HttpProgram.StartAsync(
            "Server:Urls=https://127.0.0.1:0", $"Server:Tls:Certificate={Path.Combine(folder, "cert.pem")}", $"Server:Tls:Key={Path.Combine(folder, "key.pem")}");
        Assert.That(program.Address.Scheme, Is.EqualTo("https"));
        string? shown = null;
        using var client = new HttpClient(new SocketsHttpHandler
        {
            SslOptions = new SslClientAuthenticationOptions
            {
                RemoteCertificateValidationCallback = (_, other, _, _) => (shown = other!.GetCertHashString()) is not null,
            },
        });
        Assert.That(await client.GetStringAsync(new Uri(program.Address, "/health/live")), Is.EqualTo("live"));
        Assert.That(shown, Is.EqualTo(certificate.Thumbprint));
        Directory.Delete(folder, recursive: true);
    }

    [Test]
    public async Task WithoutAuthenticationTheSettingsNameTheTenant()
    {
        await using var program = await HttpProgram.StartAsync("Server:Auth=none", "Memory:Tenant=lone");
        Assert.That(program.Errors, Has.Some.Contains("Server:Auth is none"));
        var status = JsonDocument.Parse(await program.Http.GetStringAsync("/api/status")).RootElement;
        Assert.That(status.GetProperty("tenant").GetString(), Is.EqualTo("lone"));
        var request = new HttpRequestMessage(HttpMethod.Get, "/api/status");
        request.Headers.TryAddWithoutValidation("Origin", "http://evil.example");
        using var evil = await program.Http.SendAsync(request);
        Assert.That(evil.StatusCode, Is.EqualTo(HttpStatusCode.Forbidden));
    }

    [TestCase("Server:Auth=none", "--urls=http://0.0.0.0:0", "Server:Auth is 'none' but must be one of: token, oauth")]
    [TestCase("Server:Auth=oauth", "--urls=http://127.0.0.1:0", "Server:OAuth:Authority")]
    [TestCase("Server:Auth=open", "--http", "one of: token, oauth, none")]
    [TestCase("Server:Limits:RequestBytes=1", "--http", "Server:Limits:RequestBytes (on the command line) is '1' but must be a whole number from 1024")]
    public async Task WhatTheServerMustNotDoEndsItAtOnce(string setting, string option, string message)
    {
        var (code, output, error) = await BuiltProgram.RunAsync(["serve", option, "--set", setting]);
        Assert.That((code, output), Is.EqualTo((1, "")));
        Assert.That(error, Does.Contain(message));
    }

    private static Task<HttpResponseMessage> StatusAsync(HttpProgram program, string token)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, "/api/status");
        request.Headers.Authorization = new("Bearer", token);
        return program.Http.SendAsync(request);
    }

    private sealed class Clock : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = new(2026, 5, 1, 12, 0, 0, TimeSpan.Zero);

        public override DateTimeOffset GetUtcNow() => Now;
    }
}
