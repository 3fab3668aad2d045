using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;
using ModelContextProtocol.Client;

namespace RyzenLlm.Mcp.Tests.Http;

/// <summary>The built program as a resource server of an authorization server that lives in the tests.</summary>
public sealed class OAuthTests
{
    private const string Audience = "https://ryzen.example/mcp";
    private static readonly RsaSecurityKey Key = new(RSA.Create(2048)) { KeyId = "one" };
    private WebApplication _authority = null!;
    private string _issuer = null!;
    private HttpProgram _program = null!;

    [OneTimeSetUp]
    public async Task Start()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        _authority = builder.Build();
        _authority.MapGet("/.well-known/openid-configuration", async context => await context.Response.WriteAsync(
            JsonSerializer.Serialize(new { issuer = _issuer, jwks_uri = $"{_issuer}/keys", authorization_endpoint = $"{_issuer}/a", token_endpoint = $"{_issuer}/t" })));
        _authority.MapGet("/keys", async context =>
        {
            var key = JsonWebKeyConverter.ConvertFromRSASecurityKey(new RsaSecurityKey(Key.Rsa.ExportParameters(includePrivateParameters: false)) { KeyId = Key.KeyId });
            await context.Response.WriteAsync(JsonSerializer.Serialize(new { keys = new[] { new { kty = key.Kty, n = key.N, e = key.E, kid = key.Kid, use = "sig" } } }));
        });
        await _authority.StartAsync();
        _issuer = _authority.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();
        _program = await HttpProgram.StartAsync("Server:Auth=oauth", $"Server:OAuth:Authority={_issuer}", $"Server:OAuth:Audience={Audience}", "Server:OAuth:TenantClaim=org");
    }

    [OneTimeTearDown]
    public async Task Stop()
    {
        await _program.DisposeAsync();
        await _authority.DisposeAsync();
    }

    [Test]
    public async Task AClientIsToldWhereToGetTokens()
    {
        using var answer = await _program.Http.SendAsync(HttpProgram.Post(new StringContent("{}", Encoding.UTF8, "application/json"), token: null));
        Assert.That(answer.StatusCode, Is.EqualTo(HttpStatusCode.Unauthorized));
        var challenge = answer.Headers.WwwAuthenticate.ToString();
        Assert.That(challenge, Does.Contain("resource_metadata="));
        var metadata = JsonDocument.Parse(await _program.Http.GetStringAsync(challenge.Split('"').Single(part => part.StartsWith("http", StringComparison.Ordinal)))).RootElement;
        Assert.That(metadata.GetProperty("authorization_servers")[0].GetString()!.TrimEnd('/'), Is.EqualTo(_issuer));
        Assert.That(metadata.GetProperty("scopes_supported").EnumerateArray().Select(s => s.GetString()), Is.EqualTo(new[] { "generate", "recall", "store", "forget", "share", "models" }));
    }

    [TestCase("2025-11-25", false)]
    [TestCase("2026-07-28", false)]
    [TestCase("2025-11-25", true)]
    public async Task ATokenGivesItsTenantAndItsScopes(string era, bool sse)
    {
        // What an issuer writes under the server's own claim names means nothing.
        var token = Token(new() { ["org"] = "acme", ["tenant"] = "other", ["scope"] = "store recall unknown" });
        await using var client = await _program.ConnectAsync(era, token, sse);
        Assert.That((await client.ListToolsAsync()).Select(t => t.Name), Is.EquivalentTo(new[] { "store-context", "recall-context" }));
        Assert.That((await client.CallToolAsync("store-context", new Dictionary<string, object?> { ["text"] = $"Acme keeps bees, {era} {sse}." })).IsError, Is.Not.True);
        Assert.That((await _program.StatusAsync(token)).GetProperty("tenant").GetString(), Is.EqualTo("acme"));
        await using var other = await _program.ConnectAsync(era, Token(new() { ["org"] = "other", ["scp"] = new[] { "recall" } }), sse);
        var found = await other.CallToolAsync("recall-context", new Dictionary<string, object?> { ["query"] = "who keeps bees" });
        Assert.That(found.StructuredContent!.Value.GetProperty("text").GetString(), Is.Empty);
    }

    [Test]
    public async Task OtherTokensAreRefused()
    {
        using var rsa = RSA.Create(2048);
        var claims = new Dictionary<string, object> { ["org"] = "acme", ["scope"] = "recall" };
        var wrong = new Dictionary<string, string>
        {
            ["audience"] = Token(claims, audience: "https://elsewhere.example"),
            ["issuer"] = Token(claims, issuer: "https://elsewhere.example"),
            ["key"] = Token(claims, key: new RsaSecurityKey(rsa) { KeyId = "one" }),
            ["expired"] = Token(claims, expires: DateTime.UtcNow.AddHours(-1)),
            ["no tenant"] = Token(new() { ["scope"] = "recall" }),
            ["unsigned"] = $"{Part("""{"alg":"none"}""")}.{Part($$"""{"iss":"{{_issuer}}","aud":"{{Audience}}","org":"acme","exp":4102444800}""")}.",
            ["no token at all"] = HttpProgram.Owner,
        };
        foreach (var (what, token) in wrong)
        {
            using var answer = await _program.Http.SendAsync(HttpProgram.Post(new StringContent("{}", Encoding.UTF8, "application/json"), token));
            Assert.That(answer.StatusCode, Is.EqualTo(HttpStatusCode.Unauthorized), what);
        }
    }

    private static string Part(string json) => Base64UrlEncoder.Encode(json);

    private string Token(Dictionary<string, object> claims, string? audience = null, string? issuer = null, RsaSecurityKey? key = null, DateTime? expires = null) =>
        new JsonWebTokenHandler { SetDefaultTimesOnTokenCreation = false }.CreateToken(new SecurityTokenDescriptor
        {
            Issuer = issuer ?? _issuer,
            Audience = audience ?? Audience,
            Claims = new Dictionary<string, object>(claims) { ["sub"] = "someone" },
            NotBefore = DateTime.UtcNow.AddHours(-2),
            Expires = expires ?? DateTime.UtcNow.AddHours(1),
            SigningCredentials = new(key ?? Key, SecurityAlgorithms.RsaSha256),
        });
}
