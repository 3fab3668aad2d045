using System.ComponentModel.DataAnnotations;

namespace RyzenLlm.Mcp.Settings;

/// <summary>The MCP server.</summary>
public sealed record ServerSettings
{
    /// <summary>Seconds after which a tool call answers with what there is, before clients give up waiting.</summary>
    [Range(0.05, 3600.0)]
    public double DeadlineSeconds { get; init; } = 45;

    /// <summary>Seconds between two progress notifications of a call.</summary>
    [Range(0.001, 60.0)]
    public double ProgressSeconds { get; init; } = 1;

    /// <summary>Characters that an answer may have; of a longer text it shows the beginning and links to the rest.</summary>
    [Range(4_000, 10_000_000)]
    public int InlineCharacters { get; init; } = 60_000;

    /// <summary>Over standard input: end also when the process that started the server has ended, though the input is still open.</summary>
    public bool ExitWithParent { get; init; } = true;

    /// <summary>One server for all local clients, with <c>serve --shared</c>.</summary>
    public SharedSettings Shared { get; init; } = new();

    /// <summary>Addresses of the HTTP server, separated by semicolons; port 0 takes any free one.</summary>
    public string Urls { get; init; } = "http://127.0.0.1:8484";

    /// <summary>How HTTP clients show who they are: a token of <see cref="TokenFile"/>, an access token of <see cref="OAuth"/>, or not at all (loopback only).</summary>
    [AllowedValues("token", "oauth", "none")]
    public string Auth { get; init; } = "token";

    /// <summary>File of the tokens; empty takes tokens.json in the user's configuration folder. Made with one token where there is none.</summary>
    public string TokenFile { get; init; } = "";

    /// <summary>Host names by which clients may address the server, besides those of <see cref="Urls"/> and this computer's own.</summary>
    public string[] AllowedHosts { get; init; } = [];

    /// <summary>Origins of web pages of other servers that may call this one, such as https://app.example.</summary>
    public string[] AllowedOrigins { get; init; } = [];

    /// <summary>Who issues access tokens, with Server:Auth oauth.</summary>
    public OAuthSettings OAuth { get; init; } = new();

    /// <summary>The certificate of https addresses.</summary>
    public TlsSettings Tls { get; init; } = new();

    /// <summary>How much one client may ask of the HTTP server.</summary>
    public LimitSettings Limits { get; init; } = new();
}

/// <summary>One server for all local clients, with <c>serve --shared</c>.</summary>
public sealed record SharedSettings
{
    /// <summary>Minutes without a client after which the shared server ends.</summary>
    [Range(0.001, 10_080.0)]
    public double IdleMinutes { get; init; } = 10;

    /// <summary>Folder of its socket, lock and log, for the user alone; empty takes ryzenllm in XDG_RUNTIME_DIR, or else ryzenllm/run in the user's cache.</summary>
    public string Folder { get; init; } = "";
}

/// <summary>Who issues access tokens.</summary>
public sealed record OAuthSettings
{
    /// <summary>Address of the authorization server, whose OpenID configuration names its keys.</summary>
    public string Authority { get; init; } = "";

    /// <summary>What tokens for this server carry as audience.</summary>
    public string Audience { get; init; } = "";

    /// <summary>Claim that names the tenant.</summary>
    public string TenantClaim { get; init; } = "sub";
}

/// <summary>A certificate.</summary>
public sealed record TlsSettings
{
    /// <summary>File of the certificate: PEM, or PKCS #12 (.pfx, .p12).</summary>
    public string Certificate { get; init; } = "";

    /// <summary>File of its key where the certificate is PEM and does not hold it.</summary>
    public string Key { get; init; } = "";

    /// <summary>Password of the key.</summary>
    public string Password { get; init; } = "";
}

/// <summary>How much one client may ask of the HTTP server.</summary>
public sealed record LimitSettings
{
    /// <summary>Bytes of a request's body.</summary>
    [Range(1_024, int.MaxValue)]
    public int RequestBytes { get; init; } = 16 * 1024 * 1024;

    /// <summary>Bytes of a request's headers.</summary>
    [Range(4_096, 1_048_576)]
    public int HeaderBytes { get; init; } = 16 * 1024;

    /// <summary>Connections open at once, of all clients.</summary>
    [Range(1, 1_000_000)]
    public int Connections { get; init; } = 1_000;

    /// <summary>Sessions without a request in work that are kept, of all clients.</summary>
    [Range(1, 1_000_000)]
    public int IdleSessions { get; init; } = 1_000;

    /// <summary>Minutes after which a session without requests ends.</summary>
    [Range(1, 10_080)]
    public int SessionMinutes { get; init; } = 120;

    /// <summary>Requests of one tenant in a minute; 0 is without limit.</summary>
    [Range(0, 1_000_000)]
    public int RequestsPerMinute { get; init; } = 1_200;

    /// <summary>Tool calls of one tenant in work or waiting at once.</summary>
    [Range(1, 100_000)]
    public int ConcurrentCalls { get; init; } = 32;

    /// <summary>Tokens that one tenant may generate in a day (UTC); 0 is without limit.</summary>
    [Range(0.0, 9007199254740991.0)]
    public long TokensPerDay { get; init; }
}
