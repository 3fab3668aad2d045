using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Microsoft.Net.Http.Headers;
using RyzenLlm.Mcp.Settings;

namespace RyzenLlm.Mcp.Http;

/// <summary>Bearer tokens of the <see cref="TokenFile"/>.</summary>
internal sealed class TokenAuthentication(
    IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory loggers, UrlEncoder encoder, TokenFile tokens)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, loggers, encoder)
{
    /// <summary>Name of the scheme.</summary>
    public const string SchemeName = "Token";

    private const string Prefix = "Bearer ";

    /// <inheritdoc/>
    protected override Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var header = Request.Headers.Authorization.ToString();
        if (!header.StartsWith(Prefix, StringComparison.OrdinalIgnoreCase))
        {
            return Task.FromResult(AuthenticateResult.NoResult());
        }

        try
        {
            return Task.FromResult(tokens.Find(header[Prefix.Length..].Trim()) is { } entry
                ? AuthenticateResult.Success(new(CallerIdentity.Create(SchemeName, entry.Name, entry.Tenant, entry.Scopes), SchemeName))
                : AuthenticateResult.Fail("There is no such token."));
        }
        catch (Exception e) when (e is SettingsException or IOException or UnauthorizedAccessException)
        {
            Logger.LogError("{Problem}", e.Message);
            return Task.FromResult(AuthenticateResult.Fail("The server cannot read its tokens."));
        }
    }

    /// <inheritdoc/>
    protected override async Task HandleChallengeAsync(AuthenticationProperties properties)
    {
        var given = (await HandleAuthenticateOnceSafeAsync().ConfigureAwait(false)).Failure;
        Response.Headers[HeaderNames.WWWAuthenticate] = given is null ? "Bearer realm=\"ryzenllm\"" : "Bearer realm=\"ryzenllm\", error=\"invalid_token\"";
        var message = given?.Message ?? "This server asks for a token: send the header 'Authorization: Bearer TOKEN' with one of its token file.";
        await Refusal.WriteAsync(Context, StatusCodes.Status401Unauthorized, message).ConfigureAwait(false);
    }
}
